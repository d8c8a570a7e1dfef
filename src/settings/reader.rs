//! Reads one section key by key, noting what is wrong and going on, so that all problems are reported at once.

use super::form::{form, shown};
use super::key::Key;
use super::problems::{Problems, join, nearest};
use super::source::Tree;
use super::units::{format_duration, format_size, parse_duration, parse_size};
use config::{Value, ValueKind};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

/// A section that is being read. Every method leaves its default alone when the key is absent or wrong.
pub(super) struct Section<'a> {
    path: String,
    values: Tree,
    asked: Vec<&'static str>,
    problems: &'a mut Problems,
}

impl<'a> Section<'a> {
    /// Takes the section of that name out of its parent.
    pub fn take(tree: &mut Tree, path: &str, problems: &'a mut Problems) -> Self {
        let values = tree.remove(path).map(|value| table(path, value, problems)).unwrap_or_default();
        Self { path: path.to_owned(), values, asked: Vec::new(), problems }
    }

    /// The section of a value that was taken already.
    pub fn of(path: String, value: Value, problems: &'a mut Problems) -> Self {
        let values = table(&path, value, problems);
        Self { path, values, asked: Vec::new(), problems }
    }

    /// The full name of a key of this section.
    pub fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Notes an error about a key of this section.
    pub fn error(&mut self, key: &str, message: impl AsRef<str>) {
        let path = self.path(key);
        self.problems.error(&path, message);
    }

    /// Everything in it, when its keys are names.
    pub fn into_values(self) -> BTreeMap<String, Value> {
        self.values.into_iter().collect()
    }

    /// Where problems of this section are noted.
    pub fn problems(&mut self) -> &mut Problems {
        self.problems
    }

    /// Takes the tables within a key, such as the sites.
    pub fn tables(&mut self, key: &'static str) -> BTreeMap<String, Value> {
        let path = self.path(key);
        let tables = self.value(key).map(|value| table(&path, value, self.problems));
        tables.into_iter().flatten().collect()
    }

    /// Reads text.
    pub fn text(&mut self, key: &'static str, into: &mut String) {
        match self.value(key).map(|value| value.kind) {
            None => {}
            Some(ValueKind::String(text)) => *into = text.trim().to_owned(),
            Some(other) => self.error(key, format!("{} is not text: put it in quotes", shown(&other))),
        }
    }

    /// Reads text that is a secret: nothing of it is ever shown. Empty text counts as absent.
    pub fn secret(&mut self, key: &'static str) -> Option<String> {
        match self.value(key)?.kind {
            ValueKind::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            _ => {
                self.error(key, "is not text: put it in quotes");
                None
            }
        }
    }

    /// Reads a list of texts that are secrets; as one text, they are separated by commas.
    pub fn secrets(&mut self, key: &'static str) -> Vec<String> {
        let mut texts = Vec::new();
        match self.value(key).map(|value| value.kind) {
            None => {}
            Some(ValueKind::String(text)) => texts.extend(text.split(',').map(|text| text.trim().to_owned())),
            Some(ValueKind::Array(items)) => {
                for (index, item) in items.into_iter().enumerate() {
                    match item.kind {
                        ValueKind::String(text) => texts.push(text.trim().to_owned()),
                        _ => self.error(key, format!("item {} is not text: put it in quotes", index + 1)),
                    }
                }
            }
            Some(_) => self.error(key, "is not a list: write [\"…\", \"…\"]"),
        }
        texts.retain(|text| !text.is_empty());
        texts
    }

    /// Reads a yes or no.
    pub fn switch(&mut self, key: &'static str, into: &mut bool) {
        match self.value(key).map(|value| value.kind) {
            None => {}
            Some(ValueKind::Boolean(value)) => *into = value,
            Some(ValueKind::String(text)) if text == "true" || text == "false" => *into = text == "true",
            Some(other) => self.error(key, format!("{} is neither true nor false", shown(&other))),
        }
    }

    /// Reads a whole number.
    pub fn number<T: TryFrom<i64>>(&mut self, key: &'static str, into: &mut T, range: RangeInclusive<i64>) {
        let Some(kind) = self.value(key).map(|value| value.kind) else { return };
        let number = match &kind {
            ValueKind::I64(number) => Some(*number),
            ValueKind::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let Some(number) = number else {
            return self.error(key, format!("{} is not a whole number", shown(&kind)));
        };
        match T::try_from(number) {
            Ok(value) if range.contains(&number) => *into = value,
            _ => self.error(key, format!("{number} is out of range: {} to {}", range.start(), range.end())),
        }
    }

    /// Reads a size in bytes.
    pub fn size(&mut self, key: &'static str, into: &mut usize, range: RangeInclusive<u64>) {
        let Some(kind) = self.value(key).map(|value| value.kind) else { return };
        let bytes = match &kind {
            ValueKind::I64(number) => u64::try_from(*number).map_err(|_| "is negative".to_owned()),
            ValueKind::String(text) => parse_size(text),
            _ => Err("is not a size: write bytes or a size such as 64MiB".to_owned()),
        };
        match bytes {
            Err(why) => self.error(key, format!("{} {why}", shown(&kind))),
            Ok(bytes) => match usize::try_from(bytes) {
                Ok(value) if range.contains(&bytes) => *into = value,
                _ => {
                    let (from, to) = (format_size(*range.start()), format_size(*range.end()));
                    self.error(key, format!("{} is out of range: {from} to {to}", shown(&kind)));
                }
            },
        }
    }

    /// Reads a duration.
    pub fn duration(&mut self, key: &'static str, into: &mut Duration, range: RangeInclusive<Duration>) {
        let Some(kind) = self.value(key).map(|value| value.kind) else { return };
        let duration = match &kind {
            ValueKind::I64(0) => Ok(Duration::ZERO),
            ValueKind::I64(number) => Err(format!("has no unit: write \"{number}s\" for seconds, or use ms, m or h")),
            ValueKind::String(text) => parse_duration(text),
            _ => Err("is not a duration: write one such as \"10s\"".to_owned()),
        };
        match duration {
            Err(why) => self.error(key, format!("{} {why}", shown(&kind))),
            Ok(duration) if range.contains(&duration) => *into = duration,
            Ok(_) => {
                let (from, to) = (format_duration(*range.start()), format_duration(*range.end()));
                self.error(key, format!("{} is out of range: {from} to {to}", shown(&kind)));
            }
        }
    }

    /// Reads one of a few words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, into: &mut T, choices: &[(&str, T)]) {
        let Some(kind) = self.value(key).map(|value| value.kind) else { return };
        let text = if let ValueKind::String(text) = &kind { text.trim() } else { "" };
        match choices.iter().find(|(name, _)| *name == text) {
            Some((_, value)) => *into = *value,
            None => {
                let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
                self.error(key, format!("{} is none of {}", shown(&kind), names.join(", ")));
            }
        }
    }

    /// Reads all keys of a table.
    pub fn read<R>(&mut self, table: &mut R, keys: &[Key<R>]) {
        for key in keys {
            if let Some(Err(why)) = self.value(key.name).map(|value| (key.read)(table, &value.kind)) {
                self.error(key.name, why);
            }
        }
    }

    /// Refuses what nobody asked for.
    pub fn finish(mut self) {
        for key in std::mem::take(&mut self.values).into_keys().collect::<BTreeSet<_>>() {
            let message = match nearest(&key, self.asked.iter().copied()) {
                Some(near) => format!("unknown key; did you mean {near:?}?"),
                None => format!("unknown key; there are {}", self.asked.join(", ")),
            };
            self.error(&key, message);
        }
    }

    fn value(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.values.remove(key)
    }
}

fn table(path: &str, value: Value, problems: &mut Problems) -> Tree {
    match value.kind {
        ValueKind::Table(table) => table,
        other => {
            // Not shown: it may be a key that was meant for the table.
            problems.error(path, format!("is {} but must be a table: write [{path}] and its keys below", form(&other)));
            Tree::new()
        }
    }
}
