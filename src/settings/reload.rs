//! What a configuration that is read again changes of the one in force. Pure.

use super::check::check;
use super::difference::{Difference, compare};
use super::problems::{Problem, Problems, join};
use super::section::SECTIONS;
use super::{Settings, SettingsError};
use serde_json::Value;
use std::collections::BTreeSet;

/// What a configuration changes of the one that is in force.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is to be in force: the new configuration, with the present values of all keys that need a restart.
    pub settings: Settings,
    /// What that changes.
    pub changed: Vec<Difference>,
    /// What else is new, and waits for a restart.
    pub needs_restart: Vec<Difference>,
}

impl Settings {
    /// What `wanted` changes of this configuration, which is in force.
    ///
    /// # Errors
    /// When what can be changed at once does not go with what cannot, such as tokens that are no longer asked for at an
    /// address that is still open to others.
    pub fn plan(&self, wanted: &Self) -> Result<Plan, SettingsError> {
        let mut settings = wanted.clone();
        SECTIONS.iter().for_each(|section| section.keep(self, &mut settings));
        let (changed, needs_restart) = (differences(self, &settings), differences(&settings, wanted));
        let mut problems = Problems::default();
        check(&settings, &mut problems);
        problems.finish().map_err(|error| error.map(|problem| without_restart(problem, &needs_restart)))?;
        Ok(Plan { settings, changed, needs_restart })
    }
}

/// A problem that the new configuration by itself does not have.
fn without_restart(problem: Problem, needs_restart: &[Difference]) -> Problem {
    let keys: Vec<_> = needs_restart.iter().map(|difference| difference.key.as_str()).collect();
    let message =
        format!("{}; as {} cannot change without a restart: restart the daemon", problem.message, keys.join(", "));
    Problem { message, ..problem }
}

fn differences(from: &Settings, to: &Settings) -> Vec<Difference> {
    let mut found = Vec::new();
    SECTIONS.iter().for_each(|section| section.compare(from, to, &mut found));
    for id in from.tenants.keys().chain(to.tenants.keys()).collect::<BTreeSet<_>>() {
        let table = join("tenants", id.as_str());
        match (from.tenants.get(id), to.tenants.get(id)) {
            (Some(old), Some(new)) => {
                compare(&table, old, new, &mut found);
                compare(&table, &old.own.limits, &new.own.limits, &mut found);
                compare(&table, &old.own.journal, &new.own.journal, &mut found);
            }
            (old, new) => {
                let [old, new] = [old, new].map(|tenant| tenant.map(|tenant| tenant.printed().into_iter().collect()));
                found.push(Difference::new(table, old, new));
            }
        }
    }
    let (old, new) = (from.sites_to_json(), to.sites_to_json());
    for site in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let (table, old, new) = (join("datadog.sites", site), old.get(site), new.get(site));
        if let (Some(Value::Object(old)), Some(new)) = (old, new) {
            let hosts = old.iter().filter(|(host, value)| new.get(host) != Some(value));
            let difference = |(host, value): (&String, &Value)| {
                Difference::new(join(&table, host), Some(value.clone()), new.get(host).cloned())
            };
            found.extend(hosts.map(difference));
        } else {
            found.push(Difference::new(table, old.cloned(), new.cloned()));
        }
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found
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

    /// Values that a key may have, by its schema.
    fn candidates(schema: &Value, pem: &str) -> Vec<Value> {
        let mut values =
            vec![true.into(), false.into(), "another".into(), pem.into(), "512MiB".into(), "3s".into(), 3.into()];
        values.extend(["minimum", "maximum"].iter().filter_map(|bound| schema.get(*bound).cloned()));
        values.extend(["enum", "examples"].iter().filter_map(|list| schema[*list].as_array()).flatten().cloned());
        values
    }

    #[test]
    fn every_key_is_live_unless_it_says_restart() {
        let dir = tempfile::tempdir().unwrap();
        let pem = dir.path().join("ca.pem");
        std::fs::write(&pem, "-----BEGIN CERTIFICATE-----").unwrap();
        // Values that are given, so that none of them follows another.
        let base: toml::Table = toml::from_str(
            "oauth = { client_id = \"c\", client_secret = \"s\", redirect_uri = \"https://a.example/\" }\n\
             admin = { tls_cert_file = \"a.crt\", tls_key_file = \"a.key\" }\n\
             ingest.max_body = \"1MiB\"\njournal.max_bytes_per_tenant = \"1GiB\"\n\
             delivery = { retry_initial = \"1s\", retry_max = \"5m\", concurrency_per_tenant = 4 }",
        )
        .unwrap();
        let running = settings(&base.to_string());
        let names = |differences: &[Difference]| differences.iter().map(|one| one.key.clone()).collect::<Vec<_>>();
        for (section, key) in
            SECTIONS.iter().flat_map(|section| section.keys().into_iter().map(|key| (section.name(), key)))
        {
            let name = join(section, key.name);
            let changed = |value: Value| {
                let mut table = base.clone();
                let section = table.entry(section).or_insert_with(|| toml::Table::new().into());
                section.as_table_mut().unwrap().insert(key.name.into(), toml::Value::try_from(value).unwrap());
                let wanted = Settings::from_toml(&table.to_string()).ok()?;
                let plan = running.plan(&wanted).ok()?;
                (!plan.changed.is_empty() || !plan.needs_restart.is_empty()).then_some((wanted, plan))
            };
            let found = candidates(&key.schema, pem.to_str().unwrap()).into_iter().find_map(changed);
            let (wanted, plan) = found.unwrap_or_else(|| panic!("no other value of {name} is known"));
            let expected = if key.restart { (vec![], vec![name.clone()]) } else { (vec![name.clone()], vec![]) };
            assert_eq!((names(&plan.changed), names(&plan.needs_restart)), expected);
            let left = names(&plan.settings.plan(&wanted).unwrap().needs_restart);
            assert_eq!(left, expected.1, "what is in force differs from what is wanted in what needs a restart");
        }
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
            (plan.settings.log.level.as_str(), plan.settings.ingest.listen[0].as_str()),
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
