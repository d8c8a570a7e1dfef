//! The JSON Schema of the configuration file, for editors and for whoever writes the file by program.

use super::key::{Description, Table, describe, one_line};
use super::section::{SECTIONS, Section};
use super::{OwnLimits, OwnQuota, Settings, SiteHosts, StaticTenant};
use serde_json::{Map, Value, json};

impl Settings {
    /// The JSON Schema (draft 2020-12) of the configuration file.
    pub fn schema() -> Value {
        let section =
            |section: &&dyn Section| (section.name().to_owned(), table(&section.about(), properties(section.keys())));
        let mut sections: Map<_, _> = SECTIONS.iter().map(section).collect();
        let hosts = SiteHosts::standard("datadoghq.com", "app.datadoghq.com");
        let hosts = hosts
            .by_name()
            .into_iter()
            .map(|(key, host)| (key.to_owned(), json!({ "type": "string", "format": "uri", "examples": [host] })));
        sections["datadog"]["properties"]["sites"] =
            json!({ "type": "object", "additionalProperties": table("A site.", hosts.collect()) });
        let keys = describe::<StaticTenant>().into_iter().chain(describe::<OwnLimits>()).chain(describe::<OwnQuota>());
        let tenant = table(&one_line(StaticTenant::ABOUT), properties(keys));
        let id = json!({ "pattern": "^[A-Za-z0-9._-]{1,100}$" });
        sections.insert(
            "tenants".into(),
            json!({
                "type": "object",
                "propertyNames": id,
                "additionalProperties": tenant,
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

fn table(about: &str, properties: Map<String, Value>) -> Value {
    json!({ "type": "object", "description": about, "additionalProperties": false, "properties": properties })
}

fn properties(keys: impl IntoIterator<Item = Description>) -> Map<String, Value> {
    let mut properties = Map::new();
    for Description { name, help, file, default, mut schema, .. } in keys {
        schema["description"] = help.into();
        if !default.is_null() {
            schema["default"] = default;
        }
        properties.insert(name.to_owned(), schema);
        if let Some(file) = file {
            let help = format!("A file with the value of {name}.");
            properties.insert(file.to_owned(), json!({ "type": "string", "description": help }));
        }
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::annotate::tests::{ANNOTATED, examples, with_all_keys};
    use proptest::prelude::*;

    /// What a JSON Schema has against a value, of the keywords that this one uses; patterns are tested by themselves.
    fn violation(schema: &Value, value: &Value, path: &str) -> Option<String> {
        let form = match value {
            Value::String(_) => "string",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
            Value::Null => "null",
        };
        let says = |what: &str| Some(format!("{path}: {what}"));
        let forms = &schema["type"];
        if forms != form && !forms.as_array().is_some_and(|forms| forms.contains(&form.into())) {
            return says("type");
        }
        if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
            return says("enum");
        }
        if let Some(number) = value.as_i64()
            && (schema["minimum"].as_i64().is_some_and(|least| number < least)
                || schema["maximum"].as_i64().is_some_and(|most| number > most))
        {
            return says("range");
        }
        for (key, value) in value.as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            let schema = schema["properties"].get(key).unwrap_or(&schema["additionalProperties"]);
            if schema == false {
                return Some(format!("{path}: unknown"));
            }
            if let Some(violation) = violation(schema, value, &path) {
                return Some(violation);
            }
        }
        None
    }

    #[test]
    fn the_json_schema_fits_good_files_and_refuses_wrong_ones() {
        let schema = Settings::schema();
        let check = |text: &str| {
            violation(&schema, &serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap(), "")
        };
        for good in
            [ANNOTATED, &with_all_keys(), &examples(), "ingest.max_body = 5000000", "tenants.a.ingest_tokens = []"]
        {
            assert_eq!(check(good), None, "{good}");
        }
        for (wrong, expected) in [
            ("ingest.max_boddy = 1", ".ingest.max_boddy: unknown"),
            ("[lgo]", ".lgo: unknown"),
            ("ingest.listen = 8282", ".ingest.listen: type"),
            ("ingest.max_connections = 0", ".ingest.max_connections: range"),
            ("batch.compression = \"lz4\"", ".batch.compression: enum"),
            ("tenants.acme.max_bytes = 1", ".tenants.acme.max_bytes: range"),
            ("tenants.acme.site = 5", ".tenants.acme.site: type"),
            ("datadog.sites.a.api = 5", ".datadog.sites.a.api: type"),
        ] {
            assert_eq!(check(wrong).as_deref(), Some(expected));
        }
        for section in schema["properties"].as_object().unwrap().values() {
            let keys = section.get("properties").unwrap_or(&section["additionalProperties"]["properties"]);
            for (key, schema) in keys.as_object().unwrap().iter().filter(|(key, _)| *key != "sites") {
                assert!(
                    schema["description"].as_str().is_some_and(|help| help.ends_with(['.', ')', '!'])),
                    "{key}: {schema}"
                );
            }
        }
    }

    /// Text of the form that the schema of a key has.
    fn of_pattern(section: &str, key: &str) -> impl Strategy<Value = String> {
        let schema = Settings::schema();
        let pattern = schema["properties"][section]["properties"][key]["pattern"].as_str().unwrap();
        proptest::string::string_regex(pattern.trim_matches(['^', '$'])).unwrap()
    }

    proptest! {
        #[test]
        fn values_of_the_schemas_patterns_are_read(size in of_pattern("ingest", "max_body"), age in of_pattern("batch", "max_age")) {
            // Only what is too large is refused.
            let is_long = |text: &str| text.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 6);
            prop_assert!(is_long(&size) || crate::settings::parse_size(&size).is_ok(), "{size}");
            prop_assert!(age.is_empty() || is_long(&age) || crate::settings::parse_duration(&age).is_ok(), "{age}");
        }
    }
}
