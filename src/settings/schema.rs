//! The JSON Schema of the configuration file, for editors and for whoever writes the file by program.

use super::key::{Key, one_line};
use super::{OwnLimits, OwnQuota, Settings, SiteHosts, StaticTenant};
use serde_json::{Map, Value, json};

impl Settings {
    /// The JSON Schema (draft 2020-12) of the configuration file.
    pub fn schema() -> Value {
        let defaults = Self::default();
        let mut sections: Map<_, _> = Self::SECTIONS
            .iter()
            .map(|section| (section.name.to_owned(), table(section.about, properties(&defaults, section.keys))))
            .collect();
        let hosts = SiteHosts::standard("datadoghq.com", "app.datadoghq.com");
        let hosts = hosts
            .by_name()
            .into_iter()
            .map(|(key, host)| (key.to_owned(), json!({ "type": "string", "format": "uri", "examples": [host] })));
        sections["datadog"]["properties"]["sites"] =
            json!({ "type": "object", "additionalProperties": table(&["A site."], hosts.collect()) });
        let mut tenant = properties(&StaticTenant::default(), StaticTenant::KEYS);
        tenant.append(&mut properties(&OwnLimits::default(), OwnLimits::KEYS));
        tenant.append(&mut properties(&OwnQuota::default(), OwnQuota::KEYS));
        let id = json!({ "pattern": "^[A-Za-z0-9._-]{1,100}$" });
        sections.insert(
            "tenants".into(),
            json!({
                "type": "object",
                "propertyNames": id,
                "additionalProperties": table(StaticTenant::ABOUT, tenant),
            }),
        );
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Dogsled's configuration",
            "type": "object",
            "additionalProperties": false,
            "properties": sections,
        })
    }
}

fn table(about: &[&str], properties: Map<String, Value>) -> Value {
    json!({ "type": "object", "description": one_line(about), "additionalProperties": false, "properties": properties })
}

fn properties<Root>(defaults: &Root, keys: &[Key<Root>]) -> Map<String, Value> {
    let mut properties = Map::new();
    for key in keys {
        let mut schema = (key.schema)();
        schema["description"] = key.help().into();
        let default = (key.print)(defaults);
        if !default.is_null() {
            schema["default"] = default;
        }
        properties.insert(key.name.to_owned(), schema);
        if let Some(file) = key.file {
            let help = format!("A file with the value of {}.", key.name);
            properties.insert(file.to_owned(), json!({ "type": "string", "description": help }));
        }
    }
    properties
}
