//! What is waiting, per tenant and kind, and when a batch of it is due.
//!
//! Each tenant's lanes are behind a lock of their own, held for a few instructions; a tenant without waiting items
//! costs nothing but a map entry. See `docs/decisions/locks-per-tenant.md`.

mod budget;
mod cores;
mod lane;
mod tenant;

pub use budget::{Budget, Reservation};
pub use cores::{Core, Cores};
pub use lane::{Batch, Take};
pub use tenant::{LaneFigures, TenantQueue};

use crate::ledger::Ledger;
use crate::types::{Chunk, TenantId};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Why chunks were not taken. Nothing of the request is in the queue then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The tenant's share of the queue is full.
    #[error("the queue of tenant {tenant} is full: its telemetry comes faster than Datadog takes it")]
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

/// Emitters of a full queue are told to come back after this time.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A chunk is accounted with this many bytes besides its own.
const OVERHEAD: usize = 160;

/// The queues of all tenants.
#[derive(Debug)]
pub struct Queues {
    ledger: Arc<Ledger>,
    budget: Arc<Budget>,
    tenants: RwLock<HashMap<TenantId, Arc<TenantQueue>>>,
    ready: Mutex<VecDeque<Arc<TenantQueue>>>,
    wake: Notify,
    cores: Arc<Cores>,
    stopping: AtomicBool,
}

impl Queues {
    /// Queues that hold at most `max_bytes` in all and count in `ledger`.
    pub fn new(ledger: Arc<Ledger>, max_bytes: usize) -> Self {
        Self {
            ledger,
            budget: Budget::new(max_bytes),
            tenants: RwLock::default(),
            ready: Mutex::default(),
            wake: Notify::new(),
            cores: Arc::new(Cores::new(std::thread::available_parallelism().map_or(2, usize::from))),
            stopping: AtomicBool::new(false),
        }
    }

    /// Waits, for a short time at most, while what is queued waits for cores; see [`Cores`].
    pub async fn eased(&self) {
        self.cores.eased().await;
    }

    /// The cores that what is queued is built on.
    pub fn cores(&self) -> Arc<Cores> {
        self.cores.clone()
    }

    /// Takes all chunks or none.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn submit(&self, chunks: Vec<Chunk>) -> Result<(), Refused> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(Refused::Stopping);
        }
        let mut granted = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let queue = self.tenant(&chunk.tenant);
            let Some(memory) = self.budget.reserve(queue.share(), chunk.bytes.len() + OVERHEAD) else {
                // What was granted to the request's other chunks is given back here by being dropped.
                return Err(Refused::Full { tenant: chunk.tenant, retry_after: RETRY_AFTER });
            };
            granted.push((queue, chunk, memory));
        }
        let now = Instant::now();
        for (queue, chunk, memory) in granted {
            if queue.push(&self.ledger, chunk, memory, now) {
                self.ready.lock().unwrap_or_else(PoisonError::into_inner).push_back(queue);
                self.wake.notify_one();
            }
        }
        Ok(())
    }

    /// Waits for a tenant that has items and nobody who attends to it. The caller attends from then on, until
    /// [`TenantQueue::leave`].
    pub async fn next_ready(&self) -> Arc<TenantQueue> {
        loop {
            if let Some(queue) = self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
                return queue;
            }
            self.wake.notified().await;
        }
    }

    /// Refuses new chunks from now on.
    pub fn stop_accepting(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Every tenant that ever had items.
    pub fn all(&self) -> Vec<Arc<TenantQueue>> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Bytes of memory that waiting items are accounted with.
    pub fn memory_used(&self) -> usize {
        self.budget.used()
    }

    fn tenant(&self, id: &TenantId) -> Arc<TenantQueue> {
        if let Some(queue) = self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(id) {
            return queue.clone();
        }
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        tenants.entry(id.clone()).or_insert_with(|| Arc::new(TenantQueue::new(id.clone()))).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Kind, UnixMillis};

    fn chunk(tenant: &str, bytes: usize) -> Chunk {
        Chunk {
            tenant: TenantId::new(tenant).unwrap(),
            kind: Kind::Logs,
            items: 1,
            oldest: UnixMillis(0),
            accepted: UnixMillis(0),
            bytes: vec![b'x'; bytes].into(),
            follow: None,
        }
    }

    fn accepted(ledger: &Ledger) -> u64 {
        ledger.read().iter().map(|(_, _, balance)| balance.accepted).sum()
    }

    #[tokio::test]
    async fn a_refused_request_leaves_nothing_in_the_queue() {
        let ledger = Arc::new(Ledger::default());
        let queues = Queues::new(ledger.clone(), 4000);
        let refused = queues.submit(vec![chunk("a", 100), chunk("b", 5000)]).await;
        assert!(matches!(refused, Err(Refused::Full { tenant, .. }) if tenant.as_str() == "b"));
        assert_eq!((queues.memory_used(), accepted(&ledger)), (0, 0));
        queues.stop_accepting();
        assert_eq!(queues.submit(vec![chunk("a", 1)]).await, Err(Refused::Stopping));
    }

    #[tokio::test]
    async fn a_tenant_with_items_is_announced_once_until_it_is_left() {
        let queues = Queues::new(Arc::default(), 1 << 20);
        queues.submit(vec![chunk("a", 1)]).await.unwrap();
        queues.submit(vec![chunk("a", 1)]).await.unwrap();
        let queue = queues.next_ready().await;
        assert!(queues.ready.lock().unwrap().is_empty());
        assert!(!queue.leave(), "items are waiting");
        let taken = queue.take(Kind::Logs, Kind::Logs.limits(), Duration::ZERO, Instant::now());
        assert!(matches!(taken, Take::Batch(batch) if batch.chunks.len() == 2));
        assert!(queue.leave());
        queues.submit(vec![chunk("a", 1)]).await.unwrap();
        assert_eq!(queues.next_ready().await.id.as_str(), "a");
    }
}
