//! What became of a submission.

use crate::queue::Refused;
use crate::tenancy::{Denied, Exceeded, Tenant};
use crate::types::TenantId;
use crate::wire;
use std::sync::Arc;
use std::time::Duration;

/// When to send again after the store of tenants was out of reach, or the disk failed.
const OUTAGE_RETRY: Duration = Duration::from_secs(5);

/// When to send again to a daemon that is stopping: its successor should be there by then.
const STOPPING_RETRY: Duration = Duration::from_secs(5);

/// What was taken, durable as `journal.fsync` asks for; and what was not, although the rest was.
#[derive(Debug, Default)]
pub struct Accepted {
    /// The tenants whose items were taken, in the order of their first ones.
    pub tenants: Vec<Arc<Tenant>>,
    /// Names the request to `Door::followed`.
    pub ticket: Option<String>,
    /// What was not taken, all of it counted.
    pub not_taken: Vec<NotTaken>,
}

/// Items that were not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken {
    /// Whose they were; none where no tenant is known by the name.
    pub tenant: Option<TenantId>,
    /// How many.
    pub items: u64,
    /// Whether they are kept as a dead letter (else they are dropped).
    pub is_kept: bool,
    /// Why, for the sender.
    pub message: String,
}

impl Accepted {
    /// How many items were not taken.
    pub fn refused_items(&self) -> u64 {
        self.not_taken.iter().map(|not_taken| not_taken.items).sum()
    }
}

/// Why nothing was taken. `Display` is the text for the sender.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Rejection {
    /// The items have no tenant, or not one that the sender may name.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The items' tenant or the token is unknown, but not all tenants are known at present.
    #[error("unknown tenant or token, but the store of tenants is out of reach at present: send this again")]
    StoreUnreachable,
    /// Datadog would refuse each of the items; the fault of the first.
    #[error(transparent)]
    Invalid(#[from] wire::Refusal),
    /// The tenant sends faster than its rate.
    #[error("tenant {tenant} sends too fast, {exceeded}: send this again later")]
    TooFast {
        /// Whose rate it is.
        tenant: TenantId,
        /// The rate.
        exceeded: Exceeded,
    },
    /// The queue of a tenant is full.
    #[error("{refused}: send this again later")]
    Full {
        /// In the queue's words.
        refused: Refused,
        /// When there may be room.
        retry_after: Duration,
    },
    /// The disk fails. Where and why is for the daemon's own log, not for senders.
    #[error("nothing can be stored at present: send this again later")]
    Storage,
    /// The daemon is shutting down.
    #[error("the daemon is shutting down: send this again")]
    Stopping,
}

impl Rejection {
    /// When to send the same again; none where that would not help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Denied(_) | Self::Invalid(_) => None,
            Self::StoreUnreachable | Self::Storage => Some(OUTAGE_RETRY),
            Self::Stopping => Some(STOPPING_RETRY),
            Self::TooFast { exceeded, .. } => Some(exceeded.retry_after),
            Self::Full { retry_after, .. } => Some(*retry_after),
        }
    }
}

impl From<Refused> for Rejection {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full { retry_after, .. } => Self::Full { refused, retry_after },
            Refused::Storage(_) => Self::Storage,
            Refused::Stopping => Self::Stopping,
        }
    }
}
