//! Reads one table key by key, noting what is wrong and going on, so that all problems are reported at once.

use super::form::{form, shown};
use super::key::Table;
use super::problems::{Problems, join, nearest};
use super::secrets;
use config::{Map, Value, ValueKind};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// A tree of values by key.
pub(super) type Tree = Map<String, Value>;

/// A table that is being read.
pub(super) struct Reader<'a> {
    path: String,
    values: Tree,
    known: Vec<&'static str>,
    files: BTreeMap<String, PathBuf>,
    problems: &'a mut Problems,
}

impl<'a> Reader<'a> {
    /// Takes the section of that name out of its parent.
    pub fn take(tree: &mut Tree, path: &str, problems: &'a mut Problems) -> Self {
        let values = tree.remove(path).unwrap_or_else(|| Tree::new().into());
        Self::of(path.to_owned(), values, problems)
    }

    /// The table of a value that was taken already.
    pub fn of(path: String, value: Value, problems: &'a mut Problems) -> Self {
        let values = table(&path, value, problems);
        Self { path, values, known: Vec::new(), files: BTreeMap::new(), problems }
    }

    /// Notes an error about a key of this table.
    pub fn error(&mut self, key: &str, message: impl AsRef<str>) {
        self.problems.error(&join(&self.path, key), message);
    }

    /// Reads the keys of a table. Where one is absent or wrong, it keeps the value that it has.
    pub fn read<T: Table>(&mut self, table: &mut T) {
        for key in T::KEYS {
            let value = self.value(key.name).map(|value| value.kind);
            let file = key.file.and_then(|file| Some((file, self.text(file)?)));
            let (written, value) = match (value, file) {
                // Empty text is no value where a file may give it.
                (Some(ValueKind::String(text)), Some((file, path))) if text.trim().is_empty() => {
                    (file, self.file(key.name, file, &path))
                }
                (value, Some((file, path))) => {
                    if value.is_some() {
                        self.error(key.name, format!("given here and as {file} too: keep one"));
                    }
                    (file, self.file(key.name, file, &path))
                }
                (value, None) => (key.name, value),
            };
            let Some(value) = value else { continue };
            if key.secret && written == key.name {
                self.problems.note_secret(&join(&self.path, key.name));
            }
            if let Err(why) = (key.read)(table, &value) {
                self.error(written, why);
            }
        }
    }

    /// Reads text that no [`Key`](super::key::Key) declares; empty text is none.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        match self.value(key)?.kind {
            ValueKind::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            other => {
                self.error(key, format!("{} is not text: put it in quotes", shown(&other)));
                None
            }
        }
    }

    /// The text of the file that `key` names, for the key `name`.
    fn file(&mut self, name: &str, key: &str, path: &str) -> Option<ValueKind> {
        if secrets::is_hex_key(path) {
            self.error(key, "looks like a secret itself, but must be the path of a file that holds it");
            return None;
        }
        self.files.insert(join(&self.path, name), path.into());
        match secrets::read(path.as_ref()) {
            Ok((text, warning)) => {
                if let Some(warning) = warning {
                    self.problems.warning(&join(&self.path, key), format!("{path:?} {warning}"));
                }
                Some(ValueKind::String(text))
            }
            Err(why) => {
                self.error(key, format!("{path:?} {why}"));
                None
            }
        }
    }

    /// Takes the tables within a key, such as the sites.
    pub fn tables(&mut self, key: &'static str) -> BTreeMap<String, Value> {
        let path = join(&self.path, key);
        let tables = self.value(key).map(|value| table(&path, value, self.problems));
        tables.into_iter().flatten().collect()
    }

    /// Everything in it, when its keys are names.
    pub fn into_values(self) -> BTreeMap<String, Value> {
        self.values.into_iter().collect()
    }

    /// Refuses unknown keys. Gives the files that were read, by the keys whose values they hold.
    pub fn finish(mut self) -> BTreeMap<String, PathBuf> {
        for key in std::mem::take(&mut self.values).into_keys().collect::<BTreeSet<_>>() {
            let message = match nearest(&key, self.known.iter().copied()) {
                Some(near) => format!("unknown key; did you mean {near:?}?"),
                None => format!("unknown key; there are {}", self.known.join(", ")),
            };
            self.error(&key, message);
        }
        self.files
    }

    fn value(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
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
