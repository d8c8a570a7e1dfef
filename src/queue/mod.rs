//! Accepted items, per tenant, kind and generation, until a batch of them is due.
//!
//! Every item is in the journal; as many as `memory.max_queue_bytes` allows are in memory too, the oldest of each lane
//! first. Each tenant's lanes are behind a lock of their own, held for a few instructions; a tenant without queued items
//! costs nothing but a map entry. See `docs/decisions/locks-per-tenant.md` and `spilling.md` there.

mod ages;
mod budget;
mod cores;
mod finalizer;
mod lane;
pub(crate) mod metrics;
mod record;
mod shared;
mod tenant;
mod vocabulary;

#[cfg(test)]
mod tests;

pub use budget::{Budget, Reservation};
pub use cores::{Core, Cores};
pub use finalizer::{Acknowledge, Finalizer, Receipt};
pub use record::entry_of;
pub use tenant::TenantQueue;
pub use vocabulary::{Batch, LaneFigures, LaneId, Limit, Refused, Take};

use crate::journal::{AckGuard, Journal, Lost, Seq};
use crate::ledger::{DropReason, Ledger};
use crate::machine::Machine;
use crate::settings::Settings;
use crate::tenancy::Meters;
use crate::types::{Chunk, TenantId};
use ages::Ages;
use record::read_lane_key;
use shared::Shared;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tracing::{error, info};
use vocabulary::Stored;

/// The queues of all tenants.
#[derive(Debug)]
pub struct Queues {
    shared: Arc<Shared>,
    meters: Arc<Meters>,
    tenants: RwLock<HashMap<TenantId, Arc<TenantQueue>>>,
    ready: Mutex<VecDeque<Arc<TenantQueue>>>,
    wake: Notify,
    cores: Arc<Cores>,
    stopping: AtomicBool,
}

impl Queues {
    /// Empty queues as configured, counted in `ledger` and stored in `journal`.
    pub fn new(machine: &Machine, settings: &Settings, ledger: Arc<Ledger>, journal: Arc<Journal>) -> Self {
        let shared = Shared {
            machine: machine.clone(),
            ages: Ages::new(machine.clone(), journal.next_seq()),
            ledger,
            acks: journal.clone(),
            journal,
            memory: Budget::new(settings.memory.max_queue_bytes),
            disk: Budget::new(settings.journal.max_bytes),
            readers: Semaphore::new(machine.cores().clamp(2, 8)),
        };
        Self {
            shared: Arc::new(shared),
            meters: Arc::new(Meters::new(settings)),
            tenants: RwLock::default(),
            ready: Mutex::default(),
            wake: Notify::new(),
            cores: Arc::new(Cores::new(machine.cores())),
            stopping: AtomicBool::new(false),
        }
    }

    /// Applies another configuration, except `memory.max_queue_bytes`. Items beyond a quota that has become smaller stay;
    /// those that are too old are dropped.
    pub fn reload(&self, settings: &Settings) {
        self.shared.disk.set_limit(settings.journal.max_bytes);
        self.meters.configure(settings);
    }

    /// The limits of all tenants; the quotas are enforced here.
    pub fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Waits, for a short time at most, while batches wait for cores; see [`Cores`].
    pub async fn wait_for_capacity(&self) {
        self.cores.wait_for_capacity().await;
    }

    /// The machine that the queues are on.
    pub fn machine(&self) -> &Machine {
        &self.shared.machine
    }

    /// The cores that payloads are built on.
    pub fn cores(&self) -> Arc<Cores> {
        self.cores.clone()
    }

    /// Takes over the items that the journal holds from an earlier run, and counts the damaged ones.
    pub fn recover(&self, lost: &[Lost]) {
        for lost in lost {
            let lane = lost.lane.as_deref().and_then(read_lane_key);
            let Some((lane, tenant)) = lane else {
                report_unknown(lost);
                continue;
            };
            tenant::report(&tenant, lane.kind, lost);
            let account = self.shared.ledger.account(&tenant, lane.kind);
            account.accept(lost.items.unwrap_or(0));
            account.drop_items(lost.items.unwrap_or(0), DropReason::Damaged);
        }
        for (key, backlog) in self.shared.journal.lanes() {
            let Some((lane, tenant)) = read_lane_key(&key) else {
                error!(
                    lane = %String::from_utf8_lossy(&key), records = backlog.records,
                    "the journal holds items of a kind that this version does not know; they are kept, not delivered"
                );
                continue;
            };
            info!(%tenant, kind = %lane.kind, items = backlog.items, bytes = backlog.bytes, "taken over from the journal");
            let queue = self.tenant(&tenant);
            let bytes = usize::try_from(backlog.bytes).unwrap_or(usize::MAX);
            if queue.recover(lane, backlog.records, backlog.items, bytes, backlog.oldest) {
                self.announce(queue);
            }
        }
    }

    /// Takes each tenant's chunks, all of them or none. They are then in the journal, as durable as `journal.fsync` asks for.
    /// Gives the refusals of tenants whose chunks were not taken while others' were.
    ///
    /// # Errors
    /// When nothing was taken, with the first [`Refused`].
    pub async fn submit(self: &Arc<Self>, chunks: Vec<Chunk>) -> Result<Vec<Refused>, Refused> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(Refused::Stopping);
        }
        let mut granted = Vec::with_capacity(chunks.len());
        let mut entries = Vec::with_capacity(chunks.len());
        let (mut refused, mut without_room) = (Vec::new(), HashSet::new());
        for chunk in chunks {
            if without_room.contains(&chunk.tenant) {
                continue;
            }
            let queue = self.tenant(&chunk.tenant);
            let entry = entry_of(&chunk);
            match queue.grant(entry.stored_len(), chunk.bytes.len()).await {
                Ok(grant) => {
                    entries.push(entry);
                    granted.push((queue, chunk, grant));
                }
                Err(why) => {
                    refused.push(why);
                    without_room.insert(chunk.tenant);
                }
            }
        }
        if !refused.is_empty() {
            // The grants of these tenants' other chunks are given back by being dropped.
            let both = entries.into_iter().zip(granted);
            (entries, granted) = both.filter(|(_, (_, chunk, _))| !without_room.contains(&chunk.tenant)).unzip();
            if granted.is_empty() {
                return Err(refused.swap_remove(0));
            }
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
        self.shared.journal.append(entries, committed).await?;
        Ok(refused)
    }

    fn announce(&self, queue: Arc<TenantQueue>) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push_back(queue);
        self.wake.notify_one();
    }

    /// Waits for a tenant that has items and no attendant. The caller is its attendant from then on, until
    /// [`TenantQueue::leave`].
    pub async fn next_ready(&self) -> Arc<TenantQueue> {
        loop {
            if let Some(queue) = self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
                return queue;
            }
            self.wake.notified().await;
        }
    }

    /// Drops items that are older than their tenant's quota allows. To be called now and then.
    pub async fn expire(&self, now: Instant) {
        self.shared.ages.mark(now, self.shared.journal.next_seq());
        for queue in self.all() {
            if let Err(error) = queue.expire(now).await {
                error!(tenant = %queue.id, "queued items that are too old cannot be dropped: {error}");
            }
        }
    }

    /// Counts the records that the journal found damaged while cleaning. To be called now and then.
    pub fn count_lost(&self) {
        for lost in self.shared.journal.take_lost() {
            match lost.lane.as_deref().and_then(read_lane_key) {
                Some((lane, tenant)) => self.tenant(&tenant).lose(lane, &lost),
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

    /// Bytes of memory that all tenants' items are charged for.
    pub fn memory_used(&self) -> usize {
        self.shared.memory.used()
    }

    /// Bytes on disk that all tenants' items are charged for.
    #[cfg(test)]
    pub(crate) fn disk_used(&self) -> usize {
        self.shared.disk.used()
    }

    /// The bytes that a tenant's dead letters may take.
    pub fn dead_letter_quota(&self, tenant: &TenantId) -> u64 {
        self.tenant(tenant).dead_letter_quota() as u64
    }

    /// Charges tenants' quotas on disk for the dead letters that they have; those not named have none.
    pub fn set_dead_letter_bytes(&self, bytes: &HashMap<TenantId, u64>) {
        bytes.keys().for_each(|tenant| drop(self.tenant(tenant)));
        for queue in self.all() {
            queue.set_dead_letter_bytes(bytes.get(&queue.id).copied().unwrap_or(0));
        }
    }

    /// Whether more than half of `memory.max_queue_bytes` is used.
    pub fn memory_is_short(&self) -> bool {
        self.shared.memory.is_short()
    }

    /// The journal that holds every queued item.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.shared.journal
    }

    fn tenant(&self, id: &TenantId) -> Arc<TenantQueue> {
        if let Some(queue) = self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(id) {
            return queue.clone();
        }
        let meter = self.meters.of(id);
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(TenantQueue::new(id.clone(), self.shared.clone(), meter));
        tenants.entry(id.clone()).or_insert_with(new).clone()
    }
}

fn report_unknown(lost: &Lost) {
    let copy = lost.quarantined.as_ref().map(|path| tracing::field::display(path.display()));
    error!(
        file = %lost.file.display(), offset = lost.offset, bytes = lost.bytes, records = lost.records, copy,
        "part of the journal is damaged, and which tenants' items it held cannot be told"
    );
}

impl Acknowledge for Journal {
    fn acknowledge(&self, seqs: &[Seq], guard: Option<AckGuard>) {
        self.ack_holding(seqs.iter().copied(), guard);
    }
}
