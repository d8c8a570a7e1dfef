//! What is waiting, per tenant and kind, and when a batch of it is due.

use crate::types::{Chunk, TenantId};
use std::time::Duration;

/// Why chunks were not taken. Nothing of the request is in the queue then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The tenant's share of the queue is full.
    #[error("the queue of tenant {tenant} is full")]
    Full {
        /// Whose.
        tenant: TenantId,
        /// When to try again.
        retry_after: Duration,
    },
    /// The daemon is shutting down.
    #[error("the daemon is shutting down")]
    Stopping,
}

/// The queues of all tenants.
#[derive(Debug, Default)]
pub struct Queues {}

impl Queues {
    /// Takes all chunks or none; when it returns they are as durable as configured.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn submit(&self, chunks: Vec<Chunk>) -> Result<(), Refused> {
        let _ = chunks;
        Err(Refused::Stopping)
    }
}
