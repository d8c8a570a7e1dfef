//! The lanes of one tenant.

use super::budget::{Reservation, Share};
use super::lane::{Lane, Take};
use crate::ledger::Ledger;
use crate::types::{Chunk, Kind, Limits, TenantId, UnixMillis};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What one tenant has waiting.
#[derive(Debug)]
pub struct TenantQueue {
    /// Whose.
    pub id: TenantId,
    share: Arc<Share>,
    inner: Mutex<Inner>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// Few tenants use more than two or three kinds.
    lanes: Vec<Lane>,
    attended: bool,
}

/// What one lane holds, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneFigures {
    /// Which.
    pub kind: Kind,
    /// Items that wait for a batch.
    pub items: u64,
    /// Their bytes.
    pub bytes: usize,
    /// When the oldest was accepted.
    pub oldest: Option<UnixMillis>,
}

impl TenantQueue {
    pub(super) fn new(id: TenantId) -> Self {
        Self { id, share: Arc::default(), inner: Mutex::default(), wake: Notify::new() }
    }

    pub(super) fn share(&self) -> &Arc<Share> {
        &self.share
    }

    /// Appends a chunk. True when nobody attends to this queue, and the caller must find somebody.
    pub(super) fn push(&self, ledger: &Ledger, chunk: Chunk, memory: Reservation, now: Instant) -> bool {
        let kind = chunk.kind;
        let mut inner = self.lock();
        let index = match inner.lanes.iter().position(|lane| lane.kind == kind) {
            Some(index) => index,
            None => {
                inner.lanes.push(Lane::new(kind, ledger.account(&self.id, kind)));
                inner.lanes.len() - 1
            }
        };
        let look = inner.lanes[index].push(chunk, memory, now);
        let unattended = !std::mem::replace(&mut inner.attended, true);
        drop(inner);
        if look && !unattended {
            self.wake.notify_one();
        }
        unattended
    }

    /// Waits until there may be a batch to take.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Has [`changed`](Self::changed) return, for reasons of the caller's own.
    pub fn nudge(&self) {
        self.wake.notify_one();
    }

    /// The kinds that have items waiting.
    pub fn kinds(&self) -> Vec<Kind> {
        self.lock().lanes.iter().filter(|lane| !lane.is_empty()).map(|lane| lane.kind).collect()
    }

    /// Takes the next batch of a kind if one is due; see [`Take`].
    pub fn take(&self, kind: Kind, limits: Limits, max_age: Duration, now: Instant) -> Take {
        let mut inner = self.lock();
        match inner.lanes.iter_mut().find(|lane| lane.kind == kind) {
            Some(lane) => lane.take(limits, max_age, now),
            None => Take::Empty,
        }
    }

    /// Stops attending. False when items are waiting: the caller goes on attending then.
    pub fn leave(&self) -> bool {
        let mut inner = self.lock();
        let empty = inner.lanes.iter().all(Lane::is_empty);
        inner.attended = !empty;
        empty
    }

    /// What each lane holds.
    pub fn figures(&self) -> Vec<LaneFigures> {
        let figures = |lane: &Lane| LaneFigures {
            kind: lane.kind,
            items: lane.items(),
            bytes: lane.bytes(),
            oldest: lane.oldest().map(|chunk| chunk.accepted),
        };
        self.lock().lanes.iter().map(figures).collect()
    }

    /// Bytes of memory that this tenant is accounted with, its payloads under way included.
    pub fn memory_used(&self) -> usize {
        self.share.used()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
