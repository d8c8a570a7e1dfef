//! What can go wrong with the store, in words for the person who has to do something about it.

use crate::types::TenantId;
use crate::vault::{KeyId, VaultError};
use std::fmt;
use std::path::PathBuf;

/// Why the store did not do something. Unless it says otherwise, nothing of the step was kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database.
    #[error("store {place}: {fault}")]
    Database {
        /// Which one, without passwords.
        place: String,
        /// What it has.
        fault: Fault,
    },
    /// The connection broke while the database was committing.
    #[error(
        "store {place}: the connection broke while a change was being kept ({reason}): whether it was is not known before \
         it is read again"
    )]
    Uncertain {
        /// Which one, without passwords.
        place: String,
        /// What broke.
        reason: String,
    },
    /// The database was written by a newer version.
    #[error(
        "store {place}: it has schema version {found}, and this dogsled knows up to {known}: install the newer dogsled \
         again, or restore a backup of before the upgrade"
    )]
    NewerSchema {
        /// Which one, without passwords.
        place: String,
        /// Its version.
        found: i64,
        /// The highest known one.
        known: i64,
    },
    /// The secrets are sealed with a key that is not here.
    #[error("store {place}: its secrets are {why}; nothing was changed: {advice}")]
    MasterKey {
        /// Which one, without passwords.
        place: String,
        /// Which key it needs.
        needed: KeyId,
        /// What is there instead.
        why: VaultError,
        /// What to do.
        advice: String,
    },
    /// The master key cannot be read or made.
    #[error(transparent)]
    KeySource(VaultError),
    /// A change to the key that is in use already.
    #[error("the store is sealed with master key {0} already: give another one")]
    SameKey(KeyId),
    /// A change of a key that is handed in from outside, without a new one.
    #[error("the master key is handed in from outside, so a new one cannot be made here: give one by --new-key-file")]
    NewKeyNeeded,
    /// One secret does not open.
    #[error("the {field} of tenant {tenant} is {why}: restore a backup of the store, or connect the tenant again")]
    Secret {
        /// Whose.
        tenant: TenantId,
        /// Which.
        field: &'static str,
        /// What is wrong.
        why: VaultError,
    },
    /// Something in the database is not in a form that this version writes.
    #[error("store: {0}: was it edited by hand? restore a backup")]
    Damaged(String),
    /// A tenant that is not there.
    #[error("there is no tenant {0:?}")]
    UnknownTenant(TenantId),
    /// A tenant that is there already.
    #[error("there is a tenant {0:?} already")]
    TenantExists(TenantId),
    /// Another tenant has connected the same Datadog organisation.
    #[error(
        "the Datadog organisation {organisation} is connected to tenant {by} already, and an organisation has a single key: \
         disconnect {by} first, or connect another organisation"
    )]
    OrganisationHeld {
        /// Its id.
        organisation: String,
        /// The tenant that has it.
        by: TenantId,
    },
    /// An ingest token that stands for a tenant already.
    #[error("this ingest token stands for tenant {0} already: make another")]
    TokenTaken(TenantId),
    /// The tenant changed since it was read.
    #[error("tenant {tenant} was changed meanwhile ({what}): read it again")]
    Stale {
        /// Which.
        tenant: TenantId,
        /// What of it.
        what: &'static str,
    },
    /// The lease expired and another holder took it.
    #[error("the lease for {purpose} of tenant {tenant} was lost to another host: nothing was changed")]
    LeaseLost {
        /// Whose.
        tenant: TenantId,
        /// What for.
        purpose: &'static str,
    },
    /// A file beside the database.
    #[error("{path}: {reason}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same call may well succeed a little later without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database { fault, .. } => matches!(fault, Fault::Unreachable(_) | Fault::Busy(_) | Fault::Slow(_)),
            Self::Uncertain { .. } => true,
            _ => false,
        }
    }
}

/// What a database has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No connection, or a broken one.
    Unreachable(String),
    /// Others hold its locks.
    Busy(String),
    /// It did not answer in time.
    Slow(String),
    /// It does not let us in.
    Refused(String),
    /// It takes no writes.
    ReadOnly,
    /// Its disk is full.
    Full,
    /// The file is no database or is damaged.
    Corrupt(String),
    /// Anything else, in the database's words.
    Other(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => {
                write!(f, "cannot be reached ({why}): check that it runs and that store.url is right")
            }
            Self::Busy(why) => {
                write!(f, "is busy ({why}): another process holds it; find out which if this goes on")
            }
            Self::Slow(why) => write!(f, "is too slow ({why}): check its disk, its load and the network between"),
            Self::Refused(why) => {
                write!(f, "refuses us ({why}): check user, password, database and rights of store.url")
            }
            Self::ReadOnly => {
                f.write_str("takes no writes: check the owner and mode of its file, or name the primary in store.url")
            }
            Self::Full => f.write_str("has no space left on its disk: make some; nothing was changed"),
            Self::Corrupt(why) => write!(f, "is damaged or no database ({why}): move it away and restore a backup"),
            Self::Other(why) => f.write_str(why),
        }
    }
}
