//! The words that the parts of the queue, and those who fill and empty it, share.

use super::budget::Reservation;
use super::finalizer::{Finalizer, Receipt};
use crate::journal::AppendError;
use crate::types::{Chunk, Generation, Kind, TenantId, UnixMillis};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Why chunks were refused. Nothing of the request is in the queue then.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refused {
    /// The tenant has no room for the chunk.
    #[error("the queue of tenant {tenant} is full: {limit}")]
    Full {
        /// The tenant.
        tenant: TenantId,
        /// The limit that is reached.
        limit: Limit,
        /// Time after which to try again.
        retry_after: Duration,
    },
    /// The journal cannot be written.
    #[error("telemetry cannot be stored at present: {0}")]
    Storage(#[from] AppendError),
    /// The daemon is shutting down.
    #[error("the daemon is shutting down")]
    Stopping,
}

/// The limit that a queue has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The tenant's own quota.
    Quota,
    /// The tenant's share of what is left of `journal.max_bytes`: see [`Budget`](super::Budget). Nothing of the tenant's is
    /// dropped for that, not even with `drop_oldest`: other tenants' backlogs cost it nothing that it has.
    Common,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quota => "telemetry arrives faster than Datadog takes it",
            Self::Common => "its share of journal.max_bytes is used up",
        })
    }
}

/// One lane of a tenant: items of one kind that were accepted for the same recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaneId {
    /// The items' kind.
    pub kind: Kind,
    /// For whom they were accepted.
    pub generation: Generation,
}

impl LaneId {
    /// The lane that a chunk belongs to.
    pub fn of(chunk: &Chunk) -> Self {
        Self { kind: chunk.kind, generation: chunk.generation }
    }
}

/// The size and age of one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneFigures {
    /// The lane.
    pub lane: LaneId,
    /// Items.
    pub items: u64,
    /// Bytes: of queued items those of their records on disk, of a payload those of its body.
    pub bytes: usize,
    /// When the oldest item was accepted.
    pub oldest: Option<UnixMillis>,
}

/// Chunks of one lane that go into one payload.
#[derive(Debug)]
pub struct Batch {
    /// The tenant.
    pub tenant: TenantId,
    /// The lane of all chunks.
    pub lane: LaneId,
    /// The chunks in order of acceptance; at least one.
    pub chunks: Vec<Chunk>,
    /// The memory that the chunks are charged for.
    pub memory: Vec<Reservation>,
    /// Acknowledges the chunks' records.
    pub finalizer: Arc<Finalizer>,
}

/// The answer to asking a lane for a batch.
#[derive(Debug)]
pub enum Take {
    /// A batch that is due.
    Batch(Batch),
    /// A batch will be due at this time at the latest.
    Later(Instant),
    /// No chunk is in memory.
    Empty,
}

/// A chunk that is in the journal.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) chunk: Chunk,
    pub(super) receipt: Receipt,
    /// None when there is no room in memory.
    pub(super) memory: Option<Reservation>,
}

/// What a chunk is granted before it is written to the journal.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) room: Reservation,
    pub(super) memory: Option<Reservation>,
}
