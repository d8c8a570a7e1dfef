//! What is waiting, per tenant and kind, and when a batch of it is due.
//!
//! Everything accepted is in the journal; as much of it as `memory.max_queue_bytes` allows is in memory too, the oldest
//! of each lane first. Each tenant's lanes are behind a lock of their own, held for a few instructions; a tenant without
//! waiting items costs nothing but a map entry. See `docs/decisions/locks-per-tenant.md` and `spilling.md` there.

mod budget;
mod cores;
mod cover;
mod lane;
pub(crate) mod metrics;
mod record;
mod tenant;

#[cfg(test)]
mod tests;

pub use budget::{Budget, Reservation};
pub use cores::{Core, Cores};
pub use cover::{Acknowledge, Cover, Receipt};
pub use lane::{Batch, Take};
pub use record::entry_of;
pub use tenant::{LaneFigures, TenantQueue};

use crate::journal::{AckGuard, AppendError, Journal, Lost, Seq};
use crate::ledger::{DropReason, Ledger};
use crate::machine::Machine;
use crate::settings::Settings;
use crate::tenancy::Meters;
use crate::types::{Chunk, TenantId, UnixMillis};
use lane::Stored;
use record::read_lane_key;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tracing::{error, info};

/// Why chunks were not taken. Nothing of the request is in the queue then.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refused {
    /// There is no room for so much more of the tenant.
    #[error("the queue of tenant {tenant} is full: {limit}")]
    Full {
        /// Whose.
        tenant: TenantId,
        /// What limits it.
        limit: Limit,
        /// When to try again.
        retry_after: Duration,
    },
    /// The journal cannot be written.
    #[error("what is accepted cannot be stored: {0}")]
    Storage(#[from] AppendError),
    /// The daemon is shutting down.
    #[error("the daemon is shutting down")]
    Stopping,
}

/// What limits a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The tenant's own quota.
    Quota,
    /// What is left of `journal.max_bytes`: see [`Budget`]. Nothing of the tenant's is dropped for that, not even with
    /// `drop_oldest`: what others leave waiting costs a tenant nothing that it has.
    Common,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quota => "its telemetry comes faster than Datadog takes it",
            Self::Common => "of journal.max_bytes, less is left than it would have waiting",
        })
    }
}

/// Emitters of a full queue are told to come back after this time.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The queues of all tenants.
#[derive(Debug)]
pub struct Queues {
    ground: Arc<Ground>,
    meters: Arc<Meters>,
    tenants: RwLock<HashMap<TenantId, Arc<TenantQueue>>>,
    ready: Mutex<VecDeque<Arc<TenantQueue>>>,
    wake: Notify,
    cores: Arc<Cores>,
    stopping: AtomicBool,
}

/// What all tenants' queues stand on.
#[derive(Debug)]
struct Ground {
    machine: Machine,
    ledger: Arc<Ledger>,
    journal: Arc<Journal>,
    acks: Arc<dyn Acknowledge>,
    memory: Arc<Budget>,
    disk: Arc<Budget>,
    /// Who may read spilled items back: few at once, since each reading takes memory that is in no account. After an outage
    /// a thousand tenants want to.
    readers: Semaphore,
}

impl Queues {
    /// Queues as configured, that count in `ledger` and keep everything in `journal`.
    pub fn new(machine: &Machine, settings: &Settings, ledger: Arc<Ledger>, journal: Arc<Journal>) -> Self {
        let ground = Ground {
            machine: machine.clone(),
            ledger,
            acks: journal.clone(),
            journal,
            memory: Budget::new(settings.memory.max_queue_bytes),
            disk: Budget::new(settings.journal.max_bytes),
            readers: Semaphore::new(machine.cores().clamp(2, 8)),
        };
        Self {
            ground: Arc::new(ground),
            meters: Arc::new(Meters::new(settings)),
            tenants: RwLock::default(),
            ready: Mutex::default(),
            wake: Notify::new(),
            cores: Arc::new(Cores::new(machine.cores())),
            stopping: AtomicBool::new(false),
        }
    }

    /// Goes by another configuration from now on, but for `memory.max_queue_bytes`. What waits beyond a quota that has become
    /// smaller stays; what is too old is dropped.
    pub fn reload(&self, settings: &Settings) {
        self.ground.disk.set_limit(settings.journal.max_bytes);
        self.meters.configure(settings);
    }

    /// What each tenant may do, of which the quotas are kept to here.
    pub fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Waits, for a short time at most, while what is queued waits for cores; see [`Cores`].
    pub async fn eased(&self) {
        self.cores.eased().await;
    }

    /// The machine that the queues are on.
    pub fn machine(&self) -> &Machine {
        &self.ground.machine
    }

    /// The cores that what is queued is built on.
    pub fn cores(&self) -> Arc<Cores> {
        self.cores.clone()
    }

    /// Takes over what the journal holds from before: what waits, and what of it was found damaged.
    pub fn recover(&self, lost: &[Lost]) {
        for lost in lost {
            let lane = lost.lane.as_deref().and_then(read_lane_key);
            let Some((kind, tenant)) = lane else {
                report_unknown(lost);
                continue;
            };
            tenant::report(&tenant, kind, lost);
            let account = self.ground.ledger.account(&tenant, kind);
            account.accept(lost.items.unwrap_or(0));
            account.drop_items(lost.items.unwrap_or(0), DropReason::Damaged);
        }
        for (lane, backlog) in self.ground.journal.lanes() {
            let Some((kind, tenant)) = read_lane_key(&lane) else {
                error!(
                    lane = %String::from_utf8_lossy(&lane), records = backlog.records,
                    "the journal holds items of a kind that this version does not know; they are kept, not delivered"
                );
                continue;
            };
            info!(%tenant, %kind, items = backlog.items, bytes = backlog.bytes, "taken over from the journal");
            let queue = self.tenant(&tenant);
            let bytes = usize::try_from(backlog.bytes).unwrap_or(usize::MAX);
            if queue.recover(kind, backlog.records, backlog.items, bytes, backlog.oldest) {
                self.announce(queue);
            }
        }
    }

    /// Takes all chunks or none. They are in the journal then, as durable as `journal.fsync` asks for.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn submit(self: &Arc<Self>, chunks: Vec<Chunk>) -> Result<(), Refused> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(Refused::Stopping);
        }
        let mut granted = Vec::with_capacity(chunks.len());
        let mut entries = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let queue = self.tenant(&chunk.tenant);
            let entry = entry_of(&chunk);
            // What was granted to the request's other chunks is given back on an error by being dropped.
            let grant = queue.grant(entry.stored_len(), chunk.bytes.len()).await?;
            entries.push(entry);
            granted.push((queue, chunk, grant));
        }
        let queues = self.clone();
        let committed = move |seqs: Range<Seq>| {
            let now = Instant::now();
            for ((queue, chunk, grant), seq) in granted.into_iter().zip(seqs.start.0..) {
                let receipt = Receipt { seq: Seq(seq), room: grant.room };
                if queue.push(Stored { chunk, receipt, memory: grant.memory }, now) {
                    queues.announce(queue);
                }
            }
        };
        self.ground.journal.append(entries, committed).await?;
        Ok(())
    }

    fn announce(&self, queue: Arc<TenantQueue>) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push_back(queue);
        self.wake.notify_one();
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

    /// Drops what has waited longer than its tenant's quota allows. To be called now and then.
    pub async fn expire(&self, now: UnixMillis) {
        for queue in self.all() {
            if let Err(error) = queue.expire(now).await {
                error!(tenant = %queue.id, "the age of what waits cannot be looked at: {error}");
            }
        }
    }

    /// Counts what the journal has found damaged while it tidied up. To be called now and then.
    pub fn count_lost(&self) {
        for lost in self.ground.journal.take_lost() {
            match lost.lane.as_deref().and_then(read_lane_key) {
                Some((kind, tenant)) => self.tenant(&tenant).lose(kind, &lost),
                None => report_unknown(&lost),
            }
        }
    }

    /// Refuses new chunks from now on.
    pub fn stop_accepting(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Every tenant that ever had items, by name.
    pub fn all(&self) -> Vec<Arc<TenantQueue>> {
        let mut all: Vec<_> = self.tenants.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// Bytes of memory that waiting items are accounted with.
    pub fn memory_used(&self) -> usize {
        self.ground.memory.used()
    }

    /// Bytes on disk that waiting items are accounted with.
    #[cfg(test)]
    pub(crate) fn disk_used(&self) -> usize {
        self.ground.disk.used()
    }

    /// Whether more than half of the memory for waiting items is used.
    pub fn memory_is_short(&self) -> bool {
        self.ground.memory.is_short()
    }

    /// The journal that everything is in.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.ground.journal
    }

    fn tenant(&self, id: &TenantId) -> Arc<TenantQueue> {
        if let Some(queue) = self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(id) {
            return queue.clone();
        }
        let meter = self.meters.of(id);
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(TenantQueue::new(id.clone(), self.ground.clone(), meter));
        tenants.entry(id.clone()).or_insert_with(new).clone()
    }
}

fn report_unknown(lost: &Lost) {
    let copy = lost.quarantined.as_ref().map(|path| tracing::field::display(path.display()));
    error!(
        file = %lost.file.display(), offset = lost.offset, bytes = lost.bytes, records = lost.records, copy,
        "part of the journal is damaged; whose items it held cannot be told"
    );
}

impl Acknowledge for Journal {
    fn acknowledge(&self, seqs: &[Seq], guard: Option<AckGuard>) {
        self.ack_holding(seqs.iter().copied(), guard);
    }
}
