//! What is wrong with a configuration: everything at once, each with its place, and never with a secret in it.

use std::collections::BTreeMap;
use std::fmt;

/// Where something was written. In the order in which problems are told: by line, then by variable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A whole file.
    File(String),
    /// A line of a file, and a column where that helps; both from 1.
    Line(String, usize, Option<usize>),
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) | Self::Variable(name) => f.write_str(name),
            Self::Line(file, line, None) => write!(f, "{file}:{line}"),
            Self::Line(file, line, Some(column)) => write!(f, "{file}:{line}:{column}"),
        }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written; nothing for a default.
    pub place: Option<Place>,
    /// The key, such as `ingest.max_body`; empty when the whole file is meant.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// A configuration that cannot be used, with every reason; its `Display` is one line a reason.
#[derive(Debug, thiserror::Error)]
#[error("{}", .problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct SettingsError {
    problems: Vec<Problem>,
}

impl SettingsError {
    /// The same, with each of the reasons told otherwise.
    pub(super) fn map(self, tell: impl FnMut(Problem) -> Problem) -> Self {
        Self { problems: self.problems.into_iter().map(tell).collect() }
    }

    /// Everything that is wrong, at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

/// Collects what is found while a configuration is read and checked.
#[derive(Debug, Default)]
pub(super) struct Problems {
    errors: Vec<Problem>,
    warnings: Vec<String>,
    /// Where each key was written.
    places: BTreeMap<String, Place>,
}

impl Problems {
    /// Notes where a key was written; the last place counts.
    pub fn place(&mut self, key: &str, place: Place) {
        self.places.insert(key.to_owned(), place);
    }

    /// Adds an error about a key.
    pub fn error(&mut self, key: &str, message: impl AsRef<str>) {
        self.error_at(self.places.get(key).cloned(), key, message);
    }

    /// Adds an error about something at a place.
    pub fn error_at(&mut self, place: Option<Place>, key: &str, message: impl AsRef<str>) {
        self.errors.push(Problem { place, key: without_keys(key), message: without_keys(message.as_ref()) });
    }

    /// Adds a warning about a key.
    pub fn warning(&mut self, key: &str, message: impl AsRef<str>) {
        let place = self.places.get(key).cloned();
        self.warnings
            .push(without_keys(&Problem { place, key: key.into(), message: message.as_ref().into() }.to_string()));
    }

    /// The first key that holds a secret and was written in that file.
    pub fn first_inline_secret(&self, file: &str) -> Option<String> {
        let is_secret =
            |key: &str| key.ends_with(".api_key") || key.ends_with(".ingest_tokens") || key == "store.master_key";
        let is_in_file = |place: &Place| matches!(place, Place::Line(name, ..) if name == file);
        self.places.iter().find(|(key, place)| is_secret(key) && is_in_file(place)).map(|(key, _)| key.clone())
    }

    /// Whether there is an error about a key, or within it.
    pub fn has_error(&self, key: &str) -> bool {
        self.errors.iter().any(|problem| {
            problem.key.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Whether none of some keys has an error: only then does it make sense to compare their values.
    pub fn are_fine(&self, keys: &[&str]) -> bool {
        !keys.iter().any(|key| self.has_error(key))
    }

    /// The warnings, or all errors in the order of their places.
    pub fn finish(mut self) -> Result<Vec<String>, SettingsError> {
        self.errors.sort_by(|a, b| a.place.cmp(&b.place));
        if self.errors.is_empty() { Ok(self.warnings) } else { Err(SettingsError { problems: self.errors }) }
    }
}

/// Appends a key to a path of keys, quoted where TOML needs that.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The candidate nearest to a misspelt word, if any is near: one slip in three letters.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let letters = word.chars().count();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(slips, _)| slips * 3 <= letters.max(3) && *slips < letters)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// Hides runs of 32 or more hexadecimal digits: someone who puts a key in the wrong place must not find it in a log.
pub(super) fn without_keys(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let run = rest[start..].find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len() - start);
        out.push_str(&rest[..start]);
        out.push_str(if run < 32 { &rest[start..start + run] } else { "[redacted]" });
        rest = &rest[start + run..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_the_wrong_place_is_hidden() {
        let key = "0123456789abcdef0123456789ABCDEF";
        assert_eq!(without_keys(&format!("x={key}; deadbeef")), "x=[redacted]; deadbeef");
        assert_eq!(without_keys(key), "[redacted]");
        assert_eq!(without_keys("ümläut"), "ümläut");
    }

    #[test]
    fn a_misspelt_word_finds_its_neighbour_and_a_strange_one_none() {
        assert_eq!(nearest("max_boddy", ["listen", "max_body"]), Some("max_body"));
        assert_eq!(nearest("Liisten", ["listen", "max_body"]), Some("listen"));
        assert_eq!(nearest("lgo", ["tag", "log"]), Some("log"));
        assert_eq!(nearest("zzz", ["listen", "max_body"]), None);
        assert_eq!(nearest("a", ["b"]), None);
    }

    #[test]
    fn keys_that_toml_would_quote_are_quoted() {
        assert_eq!(join("tenants", "acme-inc"), "tenants.acme-inc");
        assert_eq!(join("datadog.sites", "datadoghq.eu"), "datadog.sites.\"datadoghq.eu\"");
    }
}
