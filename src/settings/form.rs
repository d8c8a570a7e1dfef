//! Forms of values: how each is read with its range, printed, and described in JSON Schema.
//!
//! An error shows the value and says what to write instead, and never shows what may be a secret.

use super::problems::without_keys;
use super::units::{format_duration, format_size, parse_duration, parse_size};
use crate::types::TenantId;
use config::ValueKind;
use serde::Serialize;
use serde_json::{Value, json};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// How the value of a key is written.
pub(crate) trait Form {
    /// What it is in the daemon.
    type Value;
    /// Whether it must not be shown.
    const SECRET: bool = false;
    /// Whether it may be in a file of its own, which another key names.
    const IN_FILE: bool = false;

    /// Reads a value.
    fn read(&self, value: &ValueKind) -> Result<Self::Value, String>;

    /// Writes a value as in the configuration file; null for none.
    fn print(&self, value: &Self::Value) -> Value;

    /// The JSON Schema of what a file may say.
    fn schema(&self) -> Value;

    /// Writes a value as the admin API does.
    fn to_api(&self, value: &Self::Value) -> Value {
        self.print(value)
    }

    /// The JSON Schema of what the admin API reads and writes.
    fn api_schema(&self) -> Value {
        self.schema()
    }
}

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// Whether a form is that of a secret.
pub(super) const fn is_secret<F: Form>(_: &F) -> bool {
    F::SECRET
}

/// The name of the key that names a file with the value, where the form has one.
pub(super) const fn file_of<F: Form>(_: &F, name: &'static str) -> Option<&'static str> {
    if F::IN_FILE { Some(name) } else { None }
}

/// What a text means: how it is read, how it is written, and an example.
pub(crate) struct Text<T>(pub fn(&str) -> Result<T, String>, pub fn(&T) -> String, pub &'static str);

impl<T> Form for Text<T> {
    type Value = T;

    fn read(&self, value: &ValueKind) -> Result<T, String> {
        match value {
            ValueKind::String(text) => (self.0)(text.trim()),
            other => Err(format!("{} is not text: put it in quotes", shown(other))),
        }
    }

    fn print(&self, value: &T) -> Value {
        (self.1)(value).into()
    }

    fn schema(&self) -> Value {
        json!({ "type": "string", "examples": [self.2] })
    }
}

/// Text as it is.
pub(super) const fn text(example: &'static str) -> Text<String> {
    Text(|text| Ok(text.to_owned()), String::clone, example)
}

/// A path, or "" for none.
pub(super) const fn optional_path(example: &'static str) -> Text<Option<PathBuf>> {
    Text(|text| Ok((!text.is_empty()).then(|| text.into())), path_or_empty, example)
}

pub(super) fn path_or_empty(path: &Option<PathBuf>) -> String {
    path.as_deref().map(|path| path.display().to_string()).unwrap_or_default()
}

/// Yes or no.
pub(crate) struct Switch;

impl Form for Switch {
    type Value = bool;

    fn read(&self, value: &ValueKind) -> Result<bool, String> {
        match value {
            ValueKind::Boolean(value) => Ok(*value),
            ValueKind::String(text) if text == "true" || text == "false" => Ok(text == "true"),
            other => Err(format!("{} is neither true nor false", shown(other))),
        }
    }

    fn print(&self, value: &bool) -> Value {
        (*value).into()
    }

    fn schema(&self) -> Value {
        json!({ "type": "boolean" })
    }
}

/// A whole number within a range.
pub(crate) struct Number<T>(pub RangeInclusive<T>);

impl<T: TryFrom<i64> + PartialOrd + Copy + Serialize + std::fmt::Display> Form for Number<T> {
    type Value = T;

    fn read(&self, value: &ValueKind) -> Result<T, String> {
        let (number, shown) = match value {
            ValueKind::I64(number) => (Some(*number), number.to_string()),
            ValueKind::U64(number) => (Some(i64::try_from(*number).unwrap_or(i64::MAX)), number.to_string()),
            ValueKind::String(text) => match text.trim().parse::<i64>() {
                Ok(number) => (Some(number), number.to_string()),
                Err(_) => (None, shown(value)),
            },
            other => (None, shown(other)),
        };
        let number = number.ok_or_else(|| format!("{shown} is not a whole number"))?;
        T::try_from(number)
            .ok()
            .filter(|number| self.0.contains(number))
            .ok_or_else(|| format!("{shown} is out of range: {} to {}", self.0.start(), self.0.end()))
    }

    fn print(&self, value: &T) -> Value {
        json!(value)
    }

    fn schema(&self) -> Value {
        json!({ "type": "integer", "minimum": self.0.start(), "maximum": self.0.end(), "examples": [self.0.start()] })
    }
}

/// A size in bytes within a range.
pub(crate) struct Size(pub RangeInclusive<u64>);

impl Form for Size {
    type Value = usize;

    fn read(&self, value: &ValueKind) -> Result<usize, String> {
        let bytes = match value {
            ValueKind::I64(number) => u64::try_from(*number).map_err(|_| "is negative".to_owned()),
            ValueKind::U64(number) => Ok(*number),
            ValueKind::String(text) => parse_size(text),
            _ => Err("is not a size: write bytes or a size such as 64MiB".to_owned()),
        };
        let bytes = bytes.map_err(|why| format!("{} {why}", shown(value)))?;
        usize::try_from(bytes).ok().filter(|_| self.0.contains(&bytes)).ok_or_else(|| {
            let (from, to) = (format_size(*self.0.start()), format_size(*self.0.end()));
            format!("{} is out of range: {from} to {to}", shown(value))
        })
    }

    fn print(&self, value: &usize) -> Value {
        // Zero needs no unit.
        if *value == 0 { 0.into() } else { format_size(*value as u64).into() }
    }

    fn schema(&self) -> Value {
        json!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]+ *([KkMmGgTt][Ii]?[Bb]|[Bb])?$",
            "minimum": self.0.start(),
            "maximum": self.0.end(),
            "examples": [format_size(1 << 30)],
        })
    }

    fn to_api(&self, value: &usize) -> Value {
        (*value).into()
    }

    fn api_schema(&self) -> Value {
        json!({ "type": "integer", "minimum": self.0.start(), "maximum": self.0.end() })
    }
}

/// A duration within a range.
pub(crate) struct Period(pub RangeInclusive<Duration>);

impl Form for Period {
    type Value = Duration;

    fn read(&self, value: &ValueKind) -> Result<Duration, String> {
        let duration = match value {
            ValueKind::I64(0) => Ok(Duration::ZERO),
            ValueKind::I64(number) => Err(format!("has no unit: write \"{number}s\" for seconds, or use ms, m or h")),
            ValueKind::String(text) => parse_duration(text),
            _ => Err("is not a duration: write one such as \"10s\"".to_owned()),
        };
        let duration = duration.map_err(|why| format!("{} {why}", shown(value)))?;
        if self.0.contains(&duration) {
            return Ok(duration);
        }
        let (from, to) = (format_duration(*self.0.start()), format_duration(*self.0.end()));
        Err(format!("{} is out of range: {from} to {to}", shown(value)))
    }

    fn print(&self, value: &Duration) -> Value {
        format_duration(*value).into()
    }

    fn schema(&self) -> Value {
        json!({
            "type": "string",
            "pattern": "^(0|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$",
            "minLength": 1,
            "examples": ["1h", format_duration(*self.0.end())],
        })
    }
}

/// One of a few words.
pub(crate) struct Choice<T: 'static>(pub &'static [(&'static str, T)]);

impl<T> Choice<T> {
    fn words(&self) -> Vec<&'static str> {
        self.0.iter().map(|(word, _)| *word).collect()
    }
}

impl<T: Copy + PartialEq> Form for Choice<T> {
    type Value = T;

    fn read(&self, value: &ValueKind) -> Result<T, String> {
        let text = if let ValueKind::String(text) = value { text.trim() } else { "" };
        let found = self.0.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
        found.ok_or_else(|| format!("{} is none of {}", shown(value), self.words().join(", ")))
    }

    fn print(&self, value: &T) -> Value {
        self.0.iter().find(|(_, choice)| choice == value).map(|(word, _)| *word).into()
    }

    fn schema(&self) -> Value {
        json!({ "type": "string", "enum": self.words(), "examples": self.words() })
    }
}

/// A value that may be absent, so that another one applies.
pub(crate) struct Optional<F>(pub F);

impl<F: Form> Form for Optional<F> {
    type Value = Option<F::Value>;

    fn read(&self, value: &ValueKind) -> Result<Self::Value, String> {
        if *value == ValueKind::Nil { Ok(None) } else { self.0.read(value).map(Some) }
    }

    fn print(&self, value: &Self::Value) -> Value {
        value.as_ref().map_or(Value::Null, |value| self.0.print(value))
    }

    fn schema(&self) -> Value {
        self.0.schema()
    }

    fn to_api(&self, value: &Self::Value) -> Value {
        value.as_ref().map_or(Value::Null, |value| self.0.to_api(value))
    }

    fn api_schema(&self) -> Value {
        let mut schema = self.0.api_schema();
        schema["type"] = json!([schema["type"], "null"]);
        if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
            words.push(Value::Null);
        }
        schema
    }
}

/// Text of which nothing may be shown.
pub(super) fn hidden(value: &ValueKind) -> Result<&str, String> {
    match value {
        ValueKind::String(text) => Ok(text.trim()),
        _ => Err("is not text: put it in quotes".into()),
    }
}

/// The texts of a list, or those that commas or white space separate, without empty ones. Nothing of them is shown.
pub(super) fn texts(value: &ValueKind) -> Result<Vec<&str>, String> {
    let texts: Vec<&str> = match value {
        ValueKind::String(text) => text.split(|c: char| c == ',' || c.is_whitespace()).collect(),
        ValueKind::Array(items) => {
            let mut texts = Vec::new();
            for (item, nth) in items.iter().zip(1..) {
                let ValueKind::String(text) = &item.kind else {
                    return Err(format!("item {nth} is not text: put it in quotes"));
                };
                texts.push(text.trim());
            }
            texts
        }
        _ => return Err("is not a list: write [\"…\", \"…\"]".into()),
    };
    Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
}

/// Reads the id of a tenant.
pub(super) fn tenant_id(text: &str) -> Result<TenantId, String> {
    // The message cuts long texts, and what is cut must not be half a key.
    TenantId::new(text).map_err(|_| match TenantId::new(&without_keys(text)) {
        Err(error) => error.to_string(),
        Ok(_) => "is not a tenant id".into(),
    })
}

/// A value for an error message.
pub(super) fn shown(kind: &ValueKind) -> String {
    match kind {
        ValueKind::String(text) => {
            // Before cutting, so that no half of a key is left.
            let text = without_keys(text);
            let cut: String = text.chars().take(80).collect();
            if cut.len() < text.len() { format!("{cut:?}…") } else { format!("{text:?}") }
        }
        ValueKind::Table(_) | ValueKind::Array(_) => form(kind).into(),
        other => other.to_string(),
    }
}

/// What form a value has, in words.
pub(super) fn form(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::String(_) => "text",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "a list",
        ValueKind::Boolean(_) => "true or false",
        _ => "a number",
    }
}

/// A value of JSON in the form in which files and variables are read.
pub(super) fn from_json(value: &Value) -> ValueKind {
    match value {
        Value::Null => ValueKind::Nil,
        Value::Bool(value) => ValueKind::Boolean(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => ValueKind::I64(number),
            (None, Some(number)) => ValueKind::U64(number),
            (None, None) => ValueKind::String(number.to_string()),
        },
        Value::String(text) => ValueKind::String(text.clone()),
        Value::Array(items) => {
            ValueKind::Array(items.iter().map(|item| config::Value::new(None, from_json(item))).collect())
        }
        Value::Object(fields) => ValueKind::Table(
            fields.iter().map(|(key, field)| (key.clone(), config::Value::new(None, from_json(field)))).collect(),
        ),
    }
}
