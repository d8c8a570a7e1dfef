//! What can be wrong with keys and sealed secrets.

use super::key_id::KeyId;

/// Errors of keys and sealed secrets. The messages contain neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// A key file cannot be used.
    #[error("master key file {path}: {reason}")]
    File {
        /// The path of the file.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A text is not a key.
    #[error("{origin} {reason}")]
    Malformed {
        /// Where it came from.
        origin: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A secret that was sealed with another key.
    #[error("sealed with master key {needed}, but {}", hold(.held))]
    OtherKey {
        /// The key that it needs.
        needed: KeyId,
        /// The keys that are there.
        held: Vec<KeyId>,
    },
    /// A secret that was changed, moved, or sealed by a newer version.
    #[error("{0}")]
    Damaged(&'static str),
}

fn hold(keys: &[KeyId]) -> String {
    match keys {
        [] => "there is no master key".into(),
        keys => {
            let keys: Vec<_> = keys.iter().map(KeyId::to_string).collect();
            format!("the one here is {}", keys.join(" and "))
        }
    }
}
