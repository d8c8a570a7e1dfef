//! Errors of the store, worded for the person who has to do something about them.

use crate::types::TenantId;
use crate::vault::{KeyId, VaultError};
use std::fmt;
use std::path::PathBuf;

/// Why an operation of the store failed. Unless it says otherwise, nothing of it was stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("store {address}: {fault}")]
    Database {
        /// Which one, without passwords.
        address: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The connection broke while the database was committing.
    #[error(
        "store {address}: the connection broke during a commit ({reason}): whether the change was stored is not known until it is read again"
    )]
    Uncertain {
        /// Which one, without passwords.
        address: String,
        /// Why the connection broke.
        reason: String,
    },
    /// The database was written by a newer version.
    #[error(
        "store {address}: it has schema version {found}, and this dogsled knows up to {known}: install the newer dogsled \
         again, or restore a backup from before the upgrade"
    )]
    NewerSchema {
        /// Which one, without passwords.
        address: String,
        /// The schema version found.
        found: i64,
        /// The highest version that this program knows.
        known: i64,
    },
    /// The secrets are sealed with a key that is not available.
    #[error("store {address}: its secrets are {why}; nothing was changed: {advice}")]
    MasterKey {
        /// Which one, without passwords.
        address: String,
        /// Which key it needs.
        needed: KeyId,
        /// What is there instead.
        why: VaultError,
        /// What to do.
        advice: String,
    },
    /// The master key cannot be read or created.
    #[error(transparent)]
    KeySource(VaultError),
    /// A rotation to the key that is already in use.
    #[error("the store is already sealed with master key {0}: give another one")]
    SameKey(KeyId),
    /// A rotation of a key that is provided from outside, without a new one.
    #[error(
        "the master key is provided from outside, so a new one cannot be created here: give one with --new-key-file"
    )]
    NewKeyNeeded,
    /// A secret cannot be decrypted.
    #[error("the {field} of tenant {tenant} is {why}: restore a backup of the store, or connect the tenant again")]
    Secret {
        /// The tenant that it belongs to.
        tenant: TenantId,
        /// The field that holds it.
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
    #[error("tenant {0:?} exists already")]
    TenantExists(TenantId),
    /// Another tenant has connected the same Datadog organisation.
    #[error(
        "the Datadog organisation {organisation} is already connected to tenant {by}, and an organisation has a single key: \
         disconnect {by} first, or connect another organisation"
    )]
    OrganisationHeld {
        /// The organisation's id.
        organisation: String,
        /// The tenant that has it.
        by: TenantId,
    },
    /// The ingest token already belongs to a tenant.
    #[error("this ingest token already belongs to tenant {0}: create another")]
    TokenTaken(TenantId),
    /// The tenant changed since it was read.
    #[error("tenant {tenant} was changed in the meantime ({what}): read it again")]
    Stale {
        /// The tenant that changed.
        tenant: TenantId,
        /// What has changed.
        what: &'static str,
    },
    /// The lease expired and another holder took it.
    #[error("the lease for {purpose} of tenant {tenant} was lost to another host: nothing was changed")]
    LeaseLost {
        /// The tenant that the lease was for.
        tenant: TenantId,
        /// The purpose of the lease.
        purpose: &'static str,
    },
    /// A file of the store cannot be used.
    #[error("{path}: {reason}", path = .path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody's intervention.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database { fault, .. } => matches!(fault, Fault::Unreachable(_) | Fault::Busy(_) | Fault::Slow(_)),
            Self::Uncertain { .. } => true,
            _ => false,
        }
    }
}

/// What is wrong with a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No connection, or a broken one.
    Unreachable(String),
    /// Other processes hold its locks.
    Busy(String),
    /// It did not answer in time.
    Slow(String),
    /// It refuses the credentials.
    Refused(String),
    /// It is read-only.
    ReadOnly,
    /// Its disk is full.
    Full,
    /// The file is damaged or is not a database.
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
                write!(f, "is busy ({why}): another process has it locked; find out which if this persists")
            }
            Self::Slow(why) => write!(f, "is too slow ({why}): check its disk, its load and the network in between"),
            Self::Refused(why) => {
                write!(f, "refuses access ({why}): check the user, password, database and privileges of store.url")
            }
            Self::ReadOnly => f.write_str(
                "is read-only: check the owner and mode of its file, or name the primary server in store.url",
            ),
            Self::Full => f.write_str("has no space left on its disk: free some; nothing was changed"),
            Self::Corrupt(why) => write!(f, "is damaged or not a database ({why}): move it away and restore a backup"),
            Self::Other(why) => f.write_str(why),
        }
    }
}
