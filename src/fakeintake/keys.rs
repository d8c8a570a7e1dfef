//! The stand-in's API keys and their organisations.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An API key of the stand-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The key itself.
    pub key: String,
    /// The organisation it belongs to.
    #[serde(default = "default_org")]
    pub org: String,
    /// False once revoked.
    #[serde(default = "yes")]
    pub valid: bool,
    /// The OAuth client that created it, if one did.
    #[serde(default)]
    pub client_id: Option<String>,
}

fn default_org() -> String {
    "org".into()
}

fn yes() -> bool {
    true
}

/// The judgement of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Missing,
    /// Not of 32 hexadecimal digits.
    Malformed,
    Unknown,
    /// Valid, with its organisation.
    Valid(String),
}

/// All keys.
#[derive(Debug)]
pub(super) struct Keys {
    /// Whether unknown keys of the right form are valid.
    any: bool,
    known: Mutex<BTreeMap<String, Key>>,
}

impl Keys {
    /// Accepts the keys of `listed`, and with `any` all keys of the right form.
    pub(super) fn new(any: bool, listed: &[String]) -> Self {
        let keys = Self { any, known: Mutex::default() };
        for key in listed {
            keys.set(Key { key: key.clone(), org: default_org(), valid: true, client_id: None });
        }
        keys
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Key>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds or replaces a key.
    pub(super) fn set(&self, key: Key) {
        self.known().insert(key.key.clone(), key);
    }

    /// Adds a key created by an OAuth client, unless the client already has a valid one of that organisation.
    pub(super) fn create(&self, key: Key) -> bool {
        let mut known = self.known();
        let exists = known.values().any(|old| old.valid && old.org == key.org && old.client_id == key.client_id);
        if !exists {
            known.insert(key.key.clone(), key);
        }
        !exists
    }

    /// All keys known.
    pub(super) fn list(&self) -> Vec<Key> {
        self.known().values().cloned().collect()
    }

    /// Judges the key of a request.
    pub(super) fn judge(&self, key: Option<&str>) -> Verdict {
        let Some(key) = key.filter(|key| !key.is_empty()) else { return Verdict::Missing };
        match self.known().get(key) {
            Some(known) if known.valid => return Verdict::Valid(known.org.clone()),
            Some(_) => return Verdict::Unknown,
            None => {}
        }
        if key.len() != 32 || !key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Verdict::Malformed
        } else if self.any {
            Verdict::Valid(default_org())
        } else {
            Verdict::Unknown
        }
    }
}

/// The name under which requests without a key are counted.
pub(super) const NO_KEY: &str = "(none)";

/// The part of a key that may be shown.
pub(super) fn redacted(key: &str) -> String {
    if key == NO_KEY {
        return key.to_owned();
    }
    match key.char_indices().nth_back(3) {
        Some((at, _)) if at > 0 => format!("…{}", &key[at..]),
        _ => "…".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_key_stays_bad() {
        let keys = Keys::new(true, &[]);
        let key = "0123456789abcdef0123456789ABCDEF";
        assert_eq!(keys.judge(Some(key)), Verdict::Valid("org".into()));
        keys.set(Key { key: key.into(), org: "a".into(), valid: false, client_id: None });
        assert_eq!(keys.judge(Some(key)), Verdict::Unknown);
        keys.set(Key { key: key.into(), org: "a".into(), valid: true, client_id: None });
        assert_eq!(keys.judge(Some(key)), Verdict::Valid("a".into()));
    }

    #[test]
    fn only_the_end_of_a_key_is_shown() {
        assert_eq!(redacted("0123456789abcdef0123456789abcdef"), "…cdef");
        assert_eq!(redacted("abc"), "…");
        assert_eq!(redacted("abcd"), "…");
        assert_eq!(redacted(NO_KEY), "(none)");
    }
}
