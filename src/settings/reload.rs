//! What becomes of a configuration that is read again while the daemon runs. Pure.

use super::problems::{Problem, Problems, join};
use super::{Datadog, Delivery, Ingest, Journal, Log, Oauth, Settings, SettingsError, StoreUrl, Tenancy, check};
use crate::types::Secret;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What a configuration changes of the one that is in force.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is to be in force: the new one, but for what cannot change without a restart.
    pub settings: Settings,
    /// What that changes.
    pub changed: Vec<Difference>,
    /// What else is new, and waits for a restart.
    pub needs_restart: Vec<Difference>,
}

/// A key, or a table that is only in one of two configurations. Secrets are `[redacted]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The key, as in `ingest.listen`.
    pub key: String,
    /// The value in force; none where there is none.
    pub from: Option<String>,
    /// The new value.
    pub to: Option<String>,
}

impl Settings {
    /// What `wanted` changes of this configuration, which is in force.
    ///
    /// # Errors
    /// When what can be changed at once does not go with what cannot, such as tokens that are no longer asked for at an
    /// address that is still open to others.
    pub fn plan(&self, wanted: &Self) -> Result<Plan, SettingsError> {
        let settings = self.as_far_as_possible(wanted);
        let (changed, needs_restart) = (differences(self, &settings), differences(&settings, wanted));
        let mut problems = Problems::default();
        check::check(&settings, &mut problems);
        problems.finish().map_err(|error| error.map(|problem| without_restart(problem, &needs_restart)))?;
        Ok(Plan { settings, changed, needs_restart })
    }

    /// The new configuration, with the present values of all that is looked at only when the daemon starts.
    fn as_far_as_possible(&self, wanted: &Self) -> Self {
        let (this, new) = (self.clone(), wanted.clone());
        Self {
            state: this.state,
            store: this.store,
            memory: this.memory,
            admin: this.admin,
            ingest: Ingest {
                require_token: new.ingest.require_token,
                allow_anonymous: new.ingest.allow_anonymous,
                header_timeout: new.ingest.header_timeout,
                body_timeout: new.ingest.body_timeout,
                ..this.ingest
            },
            tenancy: Tenancy { max_labels: this.tenancy.max_labels, ..new.tenancy },
            oauth: Oauth { listen: this.oauth.listen, ..new.oauth },
            delivery: Delivery {
                concurrency_per_tenant: this.delivery.concurrency_per_tenant,
                concurrency: this.delivery.concurrency,
                timeout: this.delivery.timeout,
                ..new.delivery
            },
            journal: Journal { dir: this.journal.dir, fsync: this.journal.fsync, ..new.journal },
            log: Log { format: this.log.format, ..new.log },
            datadog: Datadog { ca_file: this.datadog.ca_file, ..new.datadog },
            ..new
        }
    }

    /// What must not be shown, by its keys.
    fn secrets(&self) -> BTreeMap<String, Vec<&Secret>> {
        let mut secrets = BTreeMap::new();
        let mut add = |path: &str, key: &str, values: Vec<_>| {
            if !values.is_empty() {
                secrets.insert(join(path, key), values);
            }
        };
        for (id, tenant) in &self.tenants {
            let path = join("tenants", id.as_str());
            add(&path, "api_key", tenant.api_key.iter().collect());
            add(&path, "ingest_tokens", tenant.ingest_tokens.iter().collect());
        }
        add("oauth", "client_secret", self.oauth.client_secret.iter().collect());
        add("store", "master_key", self.store.master_key.iter().collect());
        if let StoreUrl::Postgres(url) = &self.store.url {
            add("store", "url", vec![url]);
        }
        secrets
    }
}

/// What was fine by itself.
fn without_restart(problem: Problem, needs_restart: &[Difference]) -> Problem {
    let keys: Vec<_> = needs_restart.iter().map(|difference| difference.key.as_str()).collect();
    let message =
        format!("{}; as {} cannot change without a restart: restart the daemon", problem.message, keys.join(", "));
    Problem { message, ..problem }
}

fn differences(from: &Settings, to: &Settings) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(String::new(), Some(&from.to_json()), Some(&to.to_json()), &mut found);
    // Printed, they are all alike.
    let (theirs, ours) = (from.secrets(), to.secrets());
    for (key, secret) in &ours {
        let known = found.iter().any(|difference| is_within(key, &difference.key));
        if !known && theirs.get(key).is_some_and(|other| other != secret) {
            let shown = Some("[redacted]".to_owned());
            found.push(Difference { key: key.clone(), from: shown.clone(), to: shown });
        }
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found
}

fn is_within(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn compare(path: String, from: Option<&Value>, to: Option<&Value>, found: &mut Vec<Difference>) {
    // These are left out where there are none, and their tables are compared one by one.
    let is_map = ["tenants", "datadog.sites"].contains(&path.as_str());
    let none = Value::Object(Map::new());
    let [old, new] = [from, to].map(|value| value.or(is_map.then_some(&none)).and_then(Value::as_object));
    if let (Some(from), Some(to)) = (old, new) {
        for key in from.keys().chain(to.keys()).collect::<BTreeSet<_>>() {
            compare(join(&path, key), from.get(key), to.get(key), found);
        }
    } else if from != to {
        found.push(Difference { key: path, from: from.map(shown), to: to.map(shown) });
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::from_toml(text).unwrap()
    }

    fn told(differences: &[Difference]) -> Vec<String> {
        let one = |Difference { key, from, to }: &Difference| match (from, to) {
            (from, to) if from == to => format!("{key}: another one"),
            (None, to) => format!("{key}: {}", to.as_deref().unwrap()),
            (Some(from), None) => format!("{key}: no more {from}"),
            (Some(from), Some(to)) => format!("{key}: {to} instead of {from}"),
        };
        differences.iter().map(one).collect()
    }

    #[test]
    fn every_change_is_told_by_its_key_and_in_force_or_waiting_for_a_restart() {
        let running = settings("[log]\nlevel = \"info\"\n[tenants.gone]\nsite = \"datadoghq.eu\"\n[tenants.same]");
        let wanted = settings(
            "ingest.listen = \"127.0.0.1:1\"\ningest.body_timeout = \"5s\"\nlog.level = \"debug\"\nlog.format = \"json\"\n\
             limits.items_per_second = 5\njournal.max_age = \"1h\"\njournal.fsync = \"always\"\n[tenants.same]\n\
             max_bytes = \"2GiB\"\n[tenants.new]\n[datadog.sites.\"datadoghq.eu\"]\napi = \"https://eu.example\"",
        );
        let plan = running.plan(&wanted).unwrap();
        let changed = told(&plan.changed);
        for line in [
            "ingest.body_timeout: 5s instead of 30s",
            "journal.max_age: 1h instead of 48h",
            "limits.items_per_second: 5 instead of 0",
            "log.level: debug instead of info",
            "tenants.gone: no more {\"ingest_tokens\":[],\"site\":\"datadoghq.eu\"}",
            "tenants.new: {\"ingest_tokens\":[],\"site\":\"datadoghq.com\"}",
            "tenants.same.max_bytes: 2GiB",
        ] {
            assert!(changed.iter().any(|told| told == line), "{line} in {changed:#?}");
        }
        assert!(changed.iter().any(|line| line.starts_with("datadog.sites.\"datadoghq.eu\": {")), "{changed:#?}");
        assert_eq!(changed.len(), 8, "{changed:#?}");
        let expected = [
            "ingest.listen: 127.0.0.1:1 instead of 127.0.0.1:8282",
            "journal.fsync: always instead of interval",
            "log.format: json instead of auto",
        ];
        assert_eq!(told(&plan.needs_restart), expected);
        assert_eq!(
            (plan.settings.log.level.as_str(), plan.settings.ingest.listen.as_str()),
            ("debug", "127.0.0.1:8282")
        );

        let again = plan.settings.plan(&wanted).unwrap();
        assert_eq!((again.changed, again.needs_restart), (vec![], plan.needs_restart), "it still waits");
        let back = plan.settings.plan(&running).unwrap();
        assert_eq!((back.changed.len(), back.needs_restart), (8, vec![]));
    }

    #[test]
    fn a_secret_that_changes_is_told_without_being_shown() {
        let [one, two] = ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"];
        let of = |key: &str, token: &str, secret: &str| {
            settings(&format!(
                "store.url = \"postgres://u:{key}@localhost/d\"\n[oauth]\nclient_id = \"c\"\nclient_secret = \"{secret}\"\n\
                 redirect_uri = \"https://a.example/\"\n[tenants.acme]\napi_key = \"{key}\"\ningest_tokens = [\"{token}\"]"
            ))
        };
        let running = of(one, one, one);
        let plan = running.plan(&of(two, two, two)).unwrap();
        let keys = ["oauth.client_secret", "tenants.acme.api_key", "tenants.acme.ingest_tokens"];
        assert_eq!(told(&plan.changed), keys.map(|key| format!("{key}: another one")));
        assert_eq!(told(&plan.needs_restart), ["store.url: another one"]);
        assert_eq!(running.plan(&of(one, two, one)).unwrap().changed.len(), 1);
        let without = settings("store.url = \"postgres://u:x@localhost/d\"\n[tenants.acme]");
        for difference in [plan.changed, plan.needs_restart, running.plan(&without).unwrap().changed].concat() {
            let text = format!("{difference:?}");
            assert!(!text.contains(&one[..8]) && !text.contains(&two[..8]), "{text}");
        }
    }

    #[test]
    fn what_is_in_force_is_a_good_configuration_also_before_the_restart() {
        let running = settings("[ingest]\nlisten = \"0.0.0.0:8282\"\nrequire_token = true");
        let wanted = settings("[ingest]\nlisten = \"127.0.0.1:8282\"\nrequire_token = false");
        let error = running.plan(&wanted).unwrap_err().to_string();
        assert!(error.contains("would need no token") && error.contains("restart the daemon"), "{error}");
        assert!(error.contains("ingest.listen"), "{error}");
    }

    #[test]
    fn the_same_configuration_changes_nothing() {
        let text = include_str!("../../config/dogsled.toml");
        let plan = settings(text).plan(&settings(text)).unwrap();
        assert_eq!((plan.changed, plan.needs_restart), (vec![], vec![]));
    }
}
