//! The API keys that the stand-in knows and whose they are.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An API key, known to the stand-in.
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

/// What a key turns out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Missing,
    /// Not of 32 hexadecimal digits.
    Malformed,
    Unknown,
    /// Of that organisation.
    Valid(String),
}

/// The keys.
#[derive(Debug)]
pub(super) struct Keys {
    /// Whether a key that nobody mentioned is good if it has the form of one.
    any: bool,
    known: Mutex<BTreeMap<String, Key>>,
}

impl Keys {
    /// Knows `listed`; and any key of the right form, if `any`.
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

    /// Adds a key, or replaces what was known of it.
    pub(super) fn set(&self, key: Key) {
        self.known().insert(key.key.clone(), key);
    }

    /// Adds a key that an OAuth client creates, unless it has a valid one of that organisation already.
    pub(super) fn create(&self, key: Key) -> bool {
        let mut known = self.known();
        let exists = known.values().any(|old| old.valid && old.org == key.org && old.client_id == key.client_id);
        if !exists {
            known.insert(key.key.clone(), key);
        }
        !exists
    }

    /// Every key that is known.
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

/// What requests without a key are counted under.
pub(super) const NO_KEY: &str = "(none)";

/// What of a key may be shown to a person.
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
    fn a_revoked_key_stays_bad_even_where_any_is_good() {
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
