//! What is wrong with a configuration: everything at once, each problem with its origin, and never with a secret in it.

use std::collections::BTreeMap;
use std::fmt;

/// Where a value was written. Sorted as problems are told: by line, then by variable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A whole file.
    File(String),
    /// A line of a file, and a column where that helps; both from 1.
    Line(String, usize, Option<usize>),
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Origin {
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
    /// Where the value was written; none for a default.
    pub origin: Option<Origin>,
    /// The key, such as `ingest.max_body`; empty when the whole file is meant.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
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
    /// The same with other words for each problem.
    pub(super) fn map(self, reword: impl FnMut(Problem) -> Problem) -> Self {
        Self { problems: self.problems.into_iter().map(reword).collect() }
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
    origins: BTreeMap<String, Origin>,
    /// The first key with a secret in the configuration file itself.
    inline_secret: Option<String>,
}

impl Problems {
    /// Notes where a key was written; the last origin counts.
    pub fn note_origin(&mut self, key: &str, origin: Origin) {
        self.origins.insert(key.to_owned(), origin);
    }

    /// Whether a value was written for a key.
    pub fn is_given(&self, key: &str) -> bool {
        self.origins.contains_key(key)
    }

    /// Notes that a key holds a secret.
    pub fn note_secret(&mut self, key: &str) {
        if matches!(self.origins.get(key), Some(Origin::Line(..))) {
            self.inline_secret.get_or_insert_with(|| key.to_owned());
        }
    }

    /// Adds an error about a key.
    pub fn error(&mut self, key: &str, message: impl AsRef<str>) {
        self.error_at(self.origins.get(key).cloned(), key, message);
    }

    /// Adds an error about something that was written there.
    pub fn error_at(&mut self, origin: Option<Origin>, key: &str, message: impl AsRef<str>) {
        self.errors.push(Problem { origin, key: without_keys(key), message: without_keys(message.as_ref()) });
    }

    /// Adds a warning about a key.
    pub fn warning(&mut self, key: &str, message: impl AsRef<str>) {
        let origin = self.origins.get(key).cloned();
        self.warnings
            .push(without_keys(&Problem { origin, key: key.into(), message: message.as_ref().into() }.to_string()));
    }

    /// The first key with a secret in the configuration file itself, which others should not be able to read then.
    pub fn inline_secret(&self) -> Option<String> {
        self.inline_secret.clone()
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

    /// The errors so far.
    pub fn problems(self) -> Vec<Problem> {
        self.errors
    }

    /// The warnings, or all errors in the order of their origins.
    pub fn finish(mut self) -> Result<Vec<String>, SettingsError> {
        self.errors.sort_by(|a, b| a.origin.cmp(&b.origin));
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
