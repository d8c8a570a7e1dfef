//! Printing the effective configuration, without secrets, and the annotated file.

use super::datadog::ABOUT_SITES;
use super::key::{Key, one_line};
use super::problems::join;
use super::{Overrides, OwnLimits, OwnQuota, Settings, SiteHosts, StaticTenant};
use serde_json::{Map, Value};
use std::fmt::Write;

/// How wide a comment of the annotated file may be, in characters.
const WIDTH: usize = 118;

const HEADER: &str = "\
# Dogsled's configuration: /etc/dogsled/dogsled.toml
#
# Every key is here with its default, commented out as `#key = value`: remove the # to change it.
# Each key can also be set by an environment variable, which wins: DOGSLED_INGEST__MAX_BODY=32MiB.
# Durations: 200ms, 10s, 5m, 1h30m. Sizes: 16KiB, 64MiB, 5MB, or plain bytes.
# `dogsled check` validates this file and prints the effective configuration. `systemctl reload dogsled`, or SIGHUP, has
# a running daemon read it again; keys marked (restart) wait for a restart, and the log says which have changed.
# `dogsled schema` prints a JSON Schema of this file, for editors.
";

impl Settings {
    /// The effective configuration as TOML, defaults included and secrets as `[redacted]`. Apart from those it reads
    /// back as the same configuration.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let tables = Self::SECTIONS.iter().map(|section| (section.name.to_owned(), printed(self, section.keys)));
        for (name, keys) in tables.chain(self.tenant_tables()).chain(self.site_tables()) {
            let blank = if text.is_empty() { "" } else { "\n" };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{blank}[{name}]");
            for (key, value) in keys {
                let _ = writeln!(text, "{key} = {}", toml_value(&value));
            }
        }
        text
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Value {
        let mut all: Map<_, _> = Self::SECTIONS
            .iter()
            .map(|section| (section.name.to_owned(), printed(self, section.keys).into_iter().collect()))
            .collect();
        let tenants = self.tenants.iter().map(|(id, tenant)| (id.to_string(), tenant.to_json()));
        let tenants: Map<_, _> = tenants.collect();
        if !tenants.is_empty() {
            all.insert("tenants".into(), tenants.into());
        }
        let sites = self.sites_to_json();
        if !sites.is_empty() {
            all["datadog"]["sites"] = sites.into();
        }
        all.into()
    }

    /// The sites that are not as Datadog has them.
    pub(super) fn sites_to_json(&self) -> Map<String, Value> {
        let hosts =
            |hosts: &SiteHosts| hosts.by_name().into_iter().map(|(key, host)| (key, Value::from(host))).collect();
        self.datadog.sites.changed().map(|(name, site)| (name.clone(), hosts(site))).collect()
    }

    fn tenant_tables(&self) -> impl Iterator<Item = (String, Vec<(String, Value)>)> {
        self.tenants.iter().map(|(id, tenant)| (join("tenants", id.as_str()), tenant.printed()))
    }

    fn site_tables(&self) -> impl Iterator<Item = (String, Vec<(String, Value)>)> {
        let hosts = |hosts: &SiteHosts| hosts.by_name().map(|(key, host)| (key.to_owned(), host.into())).to_vec();
        self.datadog.sites.changed().map(move |(name, site)| (join("datadog.sites", name), hosts(site)))
    }

    /// The configuration file with every key, its default and its help: `config/dogsled.toml`.
    pub fn annotated() -> String {
        let mut text = HEADER.to_owned();
        let defaults = Self::default();
        for section in &Self::SECTIONS {
            text.push('\n');
            comment(&mut text, "# ", &one_line(section.about));
            text += &format!("[{}]\n", section.name);
            for key in section.keys {
                let restart = if key.restart { " (restart)" } else { "" };
                comment(&mut text, "# ", &format!("{}{restart}", key.help()));
                let value = (key.print)(&defaults);
                if !value.is_null() {
                    text += &format!("#{} = {}\n", key.name, toml_value(&value));
                }
                if let Some(file) = key.file {
                    text += &format!("#{file} = \"\"\n");
                }
            }
            match section.name {
                "tenancy" => annotate_tenants(&mut text),
                "datadog" => annotate_sites(&mut text),
                _ => {}
            }
        }
        text
    }
}

impl StaticTenant {
    fn printed(&self) -> Vec<(String, Value)> {
        let limits = printed(&self.own.limits, OwnLimits::KEYS);
        [printed(self, Self::KEYS), limits, printed(&self.own.journal, OwnQuota::KEYS)].concat()
    }

    pub(super) fn to_json(&self) -> Value {
        self.printed().into_iter().collect()
    }
}

/// The keys that have a value.
fn printed<Root>(root: &Root, keys: &[Key<Root>]) -> Vec<(String, Value)> {
    let values = keys.iter().map(|key| (key.name.to_owned(), (key.print)(root)));
    values.filter(|(_, value)| !value.is_null()).collect()
}

fn toml_value(value: &Value) -> String {
    // No key is null, and TOML has a form for all else.
    toml::Value::try_from(value).map(|value| value.to_string()).unwrap_or_default()
}

fn annotate_tenants(text: &mut String) {
    text.push('\n');
    comment(text, "# ", &one_line(StaticTenant::ABOUT));
    *text += "#\n# [tenants.acme]\n";
    let default = Overrides::from(Settings::default().allowance());
    example(text, &StaticTenant::default(), StaticTenant::KEYS);
    example(text, &default.limits, OwnLimits::KEYS);
    example(text, &default.journal, OwnQuota::KEYS);
}

fn annotate_sites(text: &mut String) {
    text.push('\n');
    comment(text, "# ", ABOUT_SITES);
    let name = Settings::default().datadog.default_site;
    *text += &format!("#\n# [{}]\n", join("datadog.sites", &name));
    if let Some(site) = Settings::default().datadog.sites.get(&name) {
        for (key, host) in site.hosts.by_name() {
            *text += &format!("# {key} = {host:?}\n");
        }
    }
}

/// The keys of a table that is commented out as a whole, each with an example.
fn example<Root>(text: &mut String, root: &Root, keys: &[Key<Root>]) {
    for key in keys {
        comment(text, "# # ", &key.help());
        let value = match (key.schema)()["examples"].get(0) {
            Some(example) if (key.print)(root) == Value::from("") => example.clone(),
            _ => (key.print)(root),
        };
        *text += &match key.file {
            Some(file) => format!("# {file} = \"\"\n"),
            None => format!("# {} = {}\n", key.name, toml_value(&value)),
        };
    }
}

/// Writes a comment, broken into lines between words.
fn comment(text: &mut String, prefix: &str, comment: &str) {
    let mut line = String::new();
    for word in comment.split(' ') {
        if !line.is_empty() && prefix.len() + line.chars().count() + 1 + word.chars().count() > WIDTH {
            *text += &format!("{prefix}{line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    *text += &format!("{prefix}{line}\n");
}

#[cfg(test)]
mod tests {
    use crate::settings::{Settings, SiteHosts, StaticTenant};
    use crate::types::{Secret, TenantId};

    #[test]
    fn defaults_are_printed_in_human_units() {
        let text = Settings::default().to_toml();
        for line in ["[ingest]", "max_body = \"16MiB\"", "timeout = \"30s\"", "retry_max = \"5m\"", "default = \"\""] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("[tenants"), "{text}");
        assert!(!text.contains("sites"), "{text}");
    }

    #[test]
    fn secrets_are_not_printed() {
        let mut settings = Settings::default();
        let tenant = StaticTenant {
            site: "datadoghq.eu".into(),
            api_key: Some(Secret::new("0123456789abcdef0123456789abcdef")),
            ingest_tokens: vec![Secret::new("fedcba9876543210fedcba9876543210")],
            ..StaticTenant::default()
        };
        settings.tenants.insert(TenantId::new("a.b").unwrap(), tenant);
        settings.datadog.sites.insert("stand-in.test", SiteHosts::standard("stand-in.test", "app.stand-in.test"));
        for text in [settings.to_toml(), settings.to_json().to_string(), format!("{settings:?}")] {
            assert!(!text.contains("0123456789") && !text.contains("fedcba"), "{text}");
            assert!(text.contains("[redacted]") && text.contains("http-intake.logs.stand-in.test"), "{text}");
        }
        assert!(settings.to_toml().contains("[tenants.\"a.b\"]"));
    }
}
