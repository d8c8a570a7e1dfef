//! Printing the effective configuration, without secrets.

use super::problems::join;
use super::section::SECTIONS;
use super::{Settings, SiteHosts};
use serde_json::{Map, Value};
use std::fmt::Write;

impl Settings {
    /// The effective configuration as TOML, defaults included and secrets as `[redacted]`. Apart from those it reads
    /// back as the same configuration.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let tables = SECTIONS.iter().map(|section| (section.name().to_owned(), section.printed(self)));
        let tenants = self.tenants.iter().map(|(id, tenant)| (join("tenants", id.as_str()), tenant.printed()));
        let sites = self.datadog.sites.changed().map(|(name, site)| (join("datadog.sites", name), printed_hosts(site)));
        for (name, keys) in tables.chain(tenants).chain(sites) {
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
        let table = |keys: Vec<(String, Value)>| keys.into_iter().collect::<Value>();
        let sections = SECTIONS.iter().map(|section| (section.name().to_owned(), table(section.printed(self))));
        let mut all: Map<_, _> = sections.collect();
        if !self.tenants.is_empty() {
            let tenants = self.tenants.iter().map(|(id, tenant)| (id.to_string(), table(tenant.printed())));
            all.insert("tenants".into(), tenants.collect());
        }
        let sites = self.sites_to_json();
        if !sites.is_empty() {
            all["datadog"]["sites"] = sites.into();
        }
        all.into()
    }

    /// The sites that are not as Datadog has them.
    pub(super) fn sites_to_json(&self) -> Map<String, Value> {
        let hosts = |site| printed_hosts(site).into_iter().collect();
        self.datadog.sites.changed().map(|(name, site)| (name.clone(), hosts(site))).collect()
    }
}

fn printed_hosts(hosts: &SiteHosts) -> Vec<(String, Value)> {
    hosts.by_name().map(|(key, host)| (key.to_owned(), host.into())).to_vec()
}

/// A value as TOML writes it.
pub(super) fn toml_value(value: &Value) -> String {
    // No key is null, and TOML has a form for all else.
    toml::Value::try_from(value).map(|value| value.to_string()).unwrap_or_default()
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
