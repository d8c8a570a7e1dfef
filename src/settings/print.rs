//! Printing the effective configuration, without secrets.

use super::Settings;

impl Settings {
    /// The effective configuration as TOML, defaults included and secrets as `[redacted]`. Apart from those it reads
    /// back as the same configuration.
    pub fn to_toml(&self) -> String {
        // Fails only for forms that TOML does not have, and every form here is fixed; the tests print all of them.
        toml::to_string(self).unwrap_or_else(|error| format!("# cannot be printed: {error}\n"))
    }

    /// The same as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
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
