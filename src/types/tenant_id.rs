//! The name of a tenant.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The name of a tenant: 1 to 100 characters of `A-Z a-z 0-9 . _ -`. Cheap to clone and to hash.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// Why a text is not a tenant id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a tenant id: use 1 to 100 characters of A-Z a-z 0-9 . _ -")]
pub struct InvalidTenantId(pub String);

impl TenantId {
    /// The longest tenant id, in characters (all are ASCII, so also in bytes).
    pub const MAX_LEN: usize = 100;

    /// Checks `text` and makes it a tenant id.
    ///
    /// # Errors
    /// When `text` is empty, too long or holds another character. `.` and `..` are refused too, since a tenant id
    /// names a directory of dead letters.
    pub fn new(text: &str) -> Result<Self, InvalidTenantId> {
        if Self::is_valid(text) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidTenantId(text.chars().take(Self::MAX_LEN + 1).collect()))
        }
    }

    /// Stands for whoever sent items whose tenant is not known.
    pub fn unknown() -> Self {
        Self("unknown".into())
    }

    /// Whether `text` could be a tenant id.
    pub fn is_valid(text: &str) -> bool {
        (1..=Self::MAX_LEN).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
            && text != "."
            && text != ".."
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for TenantId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for TenantId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for TenantId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_contract_are_taken() {
        for id in ["a", "acme-inc", "A.b_c-9", &"x".repeat(100)] {
            assert_eq!(TenantId::new(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn dangerous_ids_are_refused() {
        for id in ["", ".", "..", "a/b", "a b", "a\n", "ä", "a:b", &"x".repeat(101)] {
            assert!(TenantId::new(id).is_err(), "{id:?}");
        }
    }
}
