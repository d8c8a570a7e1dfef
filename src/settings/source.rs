//! Where a configuration comes from: a TOML file, and over it the environment.
//!
//! Both become trees of [`config::Value`] that the `config` crate merges. The file is parsed here rather than by that
//! crate for two reasons: to keep the line of every key, and because its syntax errors quote the offending line, which
//! may hold an API key.

use super::Sites;
use super::problems::{Problems, join, nearest};
use config::{Config, Map, Value, ValueKind};
use std::ffi::OsString;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A tree of values by key.
pub(super) type Tree = Map<String, Value>;

/// The sections of this version.
pub(super) const SECTIONS: [&str; 11] =
    ["state", "ingest", "tenancy", "tenants", "batch", "delivery", "memory", "admin", "log", "shutdown", "datadog"];

/// Sections that are documented for later versions, and what they are about.
const LATER: [(&str, &str); 6] = [
    ("dogstatsd", "DogStatsD"),
    ("otlp", "OTLP"),
    ("oauth", "OAuth"),
    ("store", "a store of tenants"),
    ("limits", "limits per tenant"),
    ("journal", "the durable journal"),
];

/// What the environment variables start with.
const PREFIX: &str = "DOGSLED_";

/// Reads TOML; `name` is what its places are called. What cannot be read is noted and left out.
pub(super) fn from_toml(name: &str, text: &str, problems: &mut Problems) -> Tree {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let place = match error.span() {
            Some(span) => {
                let before = text.get(..span.start).unwrap_or(text);
                let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
                format!("{}:{column}", Lines { name, text }.place(span.start))
            }
            None => name.to_owned(),
        };
        problems.error_at(Some(place), "", format!("not TOML: {}", error.message()));
    }
    if !errors.is_empty() {
        // What the parser made of the rest is a guess; complaints about it would mislead.
        return Tree::new();
    }
    let mut tree = Lines { name, text }.table("", table.into_inner(), problems);
    tree.retain(|section, _| is_known_section(section, section, problems));
    tree
}

/// Whether a section is one of this version's; notes an error about `key` when not.
fn is_known_section(section: &str, key: &str, problems: &mut Problems) -> bool {
    if SECTIONS.contains(&section) {
        return true;
    }
    let key = join("", key);
    if let Some((_, what)) = LATER.iter().find(|(name, _)| *name == section) {
        problems.error(&key, format!("this version does not have {what} yet: remove it"));
    } else if let Some(near) = nearest(section, SECTIONS) {
        problems.error(&key, format!("unknown section; did you mean {near:?}?"));
    } else {
        problems.error(&key, format!("unknown section; there are {}", SECTIONS.join(", ")));
    }
    false
}

/// Finds the line of a position.
struct Lines<'a> {
    name: &'a str,
    text: &'a str,
}

impl Lines<'_> {
    fn place(&self, position: usize) -> String {
        let before = &self.text.as_bytes()[..position.min(self.text.len())];
        format!("{}:{}", self.name, memchr::memchr_iter(b'\n', before).count() + 1)
    }

    fn table(&self, path: &str, table: DeTable<'_>, problems: &mut Problems) -> Tree {
        let mut tree = Tree::new();
        for (key, value) in table {
            let path = join(path, key.get_ref());
            problems.place(&path, self.place(key.span().start));
            if let Some(value) = self.value(&path, value, problems) {
                tree.insert(key.into_inner().into_owned(), value);
            }
        }
        tree
    }

    fn value(&self, path: &str, value: Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Value> {
        let kind = match value.into_inner() {
            DeValue::String(text) => ValueKind::String(text.into_owned()),
            DeValue::Boolean(value) => ValueKind::Boolean(value),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => ValueKind::I64(number),
                Err(_) => {
                    problems.error(path, format!("{} is too large a number", number.as_str()));
                    return None;
                }
            },
            // Nothing is configured by fractions or dates yet; as text, the reader of the key refuses them by value.
            DeValue::Float(number) => ValueKind::String(number.as_str().to_owned()),
            DeValue::Datetime(date) => ValueKind::String(date.to_string()),
            DeValue::Table(table) => ValueKind::Table(self.table(path, table, problems)),
            DeValue::Array(items) => {
                let items = items.into_iter().enumerate();
                let item = |(index, item)| self.value(&format!("{path}[{index}]"), item, problems);
                ValueKind::Array(items.filter_map(item).collect())
            }
        };
        Some(Value::new(None, kind))
    }
}

/// The settings among environment variables, each as a tree of its own. `file` is what they are laid over: a tenant or
/// site whose name a variable cannot spell is found there by its letters and digits.
pub(super) fn from_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    file: &Tree,
    problems: &mut Problems,
) -> Vec<Layer> {
    let mut variables: Vec<_> = variables
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        // Without the double underscore it is not ours: Kubernetes sets DOGSLED_PORT and the like for a service of that name.
        .filter(|(name, _)| name.strip_prefix(PREFIX).is_some_and(|rest| rest.contains("__")))
        .collect();
    variables.sort();
    variables.into_iter().filter_map(|(name, value)| from_variable(&name, value, file, problems)).collect()
}

fn from_variable(name: &str, value: OsString, file: &Tree, problems: &mut Problems) -> Option<Layer> {
    let lower = name[PREFIX.len()..].to_ascii_lowercase();
    let mut keys: Vec<String> = lower.split("__").map(str::to_owned).collect();
    problems.place(&join("", &keys[0]), name.to_owned());
    if !is_known_section(&keys[0], &keys[0], problems) {
        return None;
    }
    match keys.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tenants", id, _] => keys[1] = spelt(id, names(file, &["tenants"])),
        ["datadog", "sites", site, _] => {
            let known = Sites::default();
            let known = known.names().chain(names(file, &["datadog", "sites"]));
            keys[2] = spelt(site, known);
        }
        _ => {}
    }
    let path = keys.iter().fold(String::new(), |path, key| join(&path, key));
    problems.place(&path, name.to_owned());
    let Ok(value) = value.into_string() else {
        problems.error(&path, "is not UTF-8 text");
        return None;
    };
    let mut value = Value::new(None, ValueKind::String(value));
    for key in keys.drain(1..).rev() {
        value = Value::new(None, ValueKind::Table(Tree::from_iter([(key, value)])));
    }
    Some(Layer(Tree::from_iter([(keys.swap_remove(0), value)])))
}

/// The names within a table of tables.
fn names<'a>(tree: &'a Tree, path: &[&str]) -> impl Iterator<Item = &'a str> {
    let mut table = Some(tree);
    for key in path {
        table = table.and_then(|table| table.get(*key)).and_then(|value| match &value.kind {
            ValueKind::Table(table) => Some(table),
            _ => None,
        });
    }
    table.into_iter().flat_map(Tree::keys).map(String::as_str)
}

/// The first of `names` that a variable would spell like `word`, else `word`.
fn spelt<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> String {
    let spell = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let mut names = names.filter(|name| name.chars().map(spell).eq(word.chars().map(spell)));
    names.next().unwrap_or(word).to_owned()
}

/// One tree of values as the `config` crate wants it.
#[derive(Debug, Clone)]
pub(super) struct Layer(pub Tree);

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Tree, config::ConfigError> {
        Ok(self.0.clone())
    }
}

/// Lays the environment over the file.
pub(super) fn merge(file: Tree, environment: Vec<Layer>, problems: &mut Problems) -> Tree {
    let merged = Config::builder().add_source(Layer(file)).add_source(environment).build();
    match merged.map(|merged| merged.cache.kind) {
        Ok(ValueKind::Table(tree)) => tree,
        Ok(_) => Tree::new(),
        Err(error) => {
            problems.error("", format!("cannot merge file and environment: {error}"));
            Tree::new()
        }
    }
}
