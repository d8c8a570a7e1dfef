//! Names of hosts, as lists of `allowed_hosts` hold them.

use super::address::is_host_name;
use super::form::Form;
use config::ValueKind;
use serde_json::{Value, json};

/// Names by which clients may ask, besides IP addresses and `localhost`.
pub(crate) struct HostNames;

impl Form for HostNames {
    type Value = Vec<String>;

    fn read(&self, value: &ValueKind) -> Result<Vec<String>, String> {
        let names: Vec<String> = match value {
            // As the environment gives it.
            ValueKind::String(text) => text.split([',', ' ']).map(str::to_owned).collect(),
            ValueKind::Array(names) => names.iter().map(ToString::to_string).collect(),
            _ => return Err("is not a list: write [\"…\", \"…\"]".into()),
        };
        let names = names.iter().map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty());
        names
            .map(|name| match is_host_name(&name) {
                true => Ok(name),
                false => Err(format!("{name:?} is no name of a host: write it without scheme and port")),
            })
            .collect()
    }

    fn print(&self, value: &Vec<String>) -> Value {
        value.as_slice().into()
    }

    fn schema(&self) -> Value {
        json!({ "type": "array", "items": { "type": "string" }, "examples": [["dogsled.internal"]] })
    }
}
