//! Where a configuration comes from: a TOML file, and over it the environment.
//!
//! Both become trees of [`config::Value`] that the `config` crate merges. The file is parsed here rather than by that
//! crate for two reasons: to keep the line of every key, and because its syntax errors quote the offending line, which
//! may hold an API key.

use super::Sites;
use super::problems::{Origin, Problems, join, nearest};
use super::reader::Tree;
use super::section::SECTIONS;
use config::{Config, Value, ValueKind};
use std::collections::BTreeSet;
use std::ffi::OsString;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The section with a table for each tenant.
pub(super) const TENANTS: &str = "tenants";

/// What the environment variables start with.
const PREFIX: &str = "DOGSLED_";

/// Reads TOML; `name` is how its origins are named. Unknown sections are noted and left out; nothing when it is not
/// TOML, which is noted too.
pub(super) fn from_toml(name: &str, text: &str, problems: &mut Problems) -> Option<Tree> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let lines = Lines::new(name, text);
    for error in &errors {
        let origin = match error.span() {
            Some(span) => {
                let before = text.get(..span.start).unwrap_or(text);
                let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
                Origin::Line(name.to_owned(), lines.line(span.start), Some(column))
            }
            None => Origin::File(name.to_owned()),
        };
        problems.error_at(Some(origin), "", format!("not TOML: {}", error.message()));
    }
    if !errors.is_empty() {
        // What the parser made of the rest is a guess; complaints about it would mislead.
        return None;
    }
    let mut tree = lines.table("", table.into_inner(), problems);
    tree.retain(|section, _| is_known_section(section, section, problems));
    Some(tree)
}

/// Whether a section is one of this version's; notes an error about `key` when not.
fn is_known_section(section: &str, key: &str, problems: &mut Problems) -> bool {
    let sections = SECTIONS.map(|section| section.name());
    if section == TENANTS || sections.contains(&section) {
        return true;
    }
    let key = join("", key);
    if let Some(near) = nearest(section, sections.into_iter().chain([TENANTS])) {
        problems.error(&key, format!("unknown section; did you mean {near:?}?"));
    } else {
        problems.error(&key, format!("unknown section; there are {}", [&sections[..], &[TENANTS]].concat().join(", ")));
    }
    false
}

/// Finds the line of a position.
struct Lines<'a> {
    name: &'a str,
    /// Where each line ends.
    ends: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(name: &'a str, text: &str) -> Self {
        Self { name, ends: memchr::memchr_iter(b'\n', text.as_bytes()).collect() }
    }

    fn line(&self, position: usize) -> usize {
        self.ends.partition_point(|end| *end < position) + 1
    }

    fn table(&self, path: &str, table: DeTable<'_>, problems: &mut Problems) -> Tree {
        let mut tree = Tree::new();
        for (key, value) in table {
            let path = join(path, key.get_ref());
            problems.note_origin(&path, Origin::Line(self.name.to_owned(), self.line(key.span().start), None));
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
    let variables = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let mut variables: Vec<_> = variables.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    // Without a double underscore it is not ours: Kubernetes sets DOGSLED_PORT and more for a service of that name.
    let (ours, others): (Vec<_>, Vec<_>) =
        variables.into_iter().partition(|(name, _)| name[PREFIX.len()..].contains("__"));
    for (name, _) in others {
        if let Some(meant) = meant_by(&name) {
            problems.warning("", format!("{name} is ignored; did you mean {meant}, with two underscores?"));
        }
    }
    ours.into_iter().filter_map(|(name, value)| from_variable(&name, value, file, problems)).collect()
}

/// The variable that was meant by one with single underscores only.
fn meant_by(name: &str) -> Option<String> {
    let mut variables = SECTIONS.iter().flat_map(|section| {
        let names = section.keys().into_iter().flat_map(|key| [Some(key.name), key.file]).flatten();
        names.map(|name| format!("{PREFIX}{}__{name}", section.name()).to_ascii_uppercase())
    });
    variables.find(|variable| variable.replace("__", "_") == name)
}

fn from_variable(name: &str, value: OsString, file: &Tree, problems: &mut Problems) -> Option<Layer> {
    let lower = name[PREFIX.len()..].to_ascii_lowercase();
    let mut keys: Vec<String> = lower.split("__").map(str::to_owned).collect();
    problems.note_origin(&join("", &keys[0]), Origin::Variable(name.to_owned()));
    if !is_known_section(&keys[0], &keys[0], problems) {
        return None;
    }
    let spelt = match keys.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tenants", id, _] => Some((1, spelt(id, names(file, &["tenants"]).collect()))),
        ["datadog", "sites", site, _] => {
            let sites = Sites::default();
            let known = sites.names().chain(names(file, &["datadog", "sites"])).collect();
            Some((2, spelt(site, known)))
        }
        _ => None,
    };
    match spelt {
        Some((index, Ok(name))) => keys[index] = name,
        Some((_, Err(message))) => {
            problems.error_at(Some(Origin::Variable(name.to_owned())), "", message);
            return None;
        }
        None => {}
    }
    let path = keys.iter().fold(String::new(), |path, key| join(&path, key));
    problems.note_origin(&path, Origin::Variable(name.to_owned()));
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

/// The one of `names` that a variable would spell like `word`; `word` itself when there is none.
///
/// # Errors
/// When there are several, of which none is `word`.
fn spelt(word: &str, names: BTreeSet<&str>) -> Result<String, String> {
    let spell = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let is_like = |name: &&&str| name.chars().map(spell).eq(word.chars().map(spell));
    if names.contains(word) {
        return Ok(word.to_owned());
    }
    match names.iter().filter(is_like).copied().collect::<Vec<_>>()[..] {
        [] => Ok(word.to_owned()),
        [name] => Ok(name.to_owned()),
        ref several => Err(format!("may mean any of {}: use the configuration file for it", several.join(", "))),
    }
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
