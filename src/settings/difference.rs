//! What differs between two configurations.

use super::key::Table;
use super::problems::join;
use serde_json::Value;

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

impl Difference {
    pub(super) fn new(key: String, from: Option<Value>, to: Option<Value>) -> Self {
        let shown = |value: Value| match value {
            Value::String(text) if text.is_empty() => "\"\"".into(),
            Value::String(text) => text,
            other => other.to_string(),
        };
        Self { key, from: from.map(shown), to: to.map(shown) }
    }
}

/// Finds the keys whose values differ.
pub(super) fn compare<T: Table>(table: &str, from: &T, to: &T, found: &mut Vec<Difference>) {
    for key in T::KEYS.iter().filter(|key| !(key.same)(from, to)) {
        let [old, new] = [from, to].map(|table| Some((key.print)(table)).filter(|value| !value.is_null()));
        found.push(Difference::new(join(table, key.name), old, new));
    }
}
