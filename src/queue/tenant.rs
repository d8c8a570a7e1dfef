//! The lanes of one tenant.

use super::budget::{Reservation, Share};
use super::finalizer::Receipt;
use super::lane::Lane;
use super::record::lane_key;
use super::shared::Shared;
use super::vocabulary::{Grant, LaneFigures, LaneId, Limit, Refused, Stored, Take};
use crate::journal::{Lost, Reader, Record, Seq};
use crate::ledger::DropReason;
use crate::settings::{Quota, WhenFull};
use crate::tenancy::{Meter, Recipients};
use crate::types::{Chunk, Kind, Limits, TenantId, UnixMillis};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, SemaphorePermit};
use tokio::time::Instant;
use tracing::{error, warn};

/// The queue of one tenant.
#[derive(Debug)]
pub struct TenantQueue {
    /// The tenant.
    pub id: TenantId,
    shared: Arc<Shared>,
    meter: Arc<Meter>,
    memory: Arc<Share>,
    disk: Arc<Share>,
    inner: Mutex<Inner>,
    /// Room on disk that dead letters take.
    dead_letters: Mutex<Reservation>,
    /// Held while the oldest items are dropped to make room: if two did so at once, too much would be dropped.
    evicting: tokio::sync::Mutex<()>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// Few tenants use more than two or three kinds, or have items of more than one generation.
    lanes: Vec<Lane>,
    attended: bool,
}

/// Emitters are told to try a full queue again after this time.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Bytes read back at once, more only for a single chunk that is larger.
const PIECE: usize = 8 << 20;

/// Bytes that a lane with nothing in memory reads back when memory is short. Little, since after an outage there may be a
/// thousand such lanes.
const LEAST: usize = 64 << 10;

/// Attempts to make room for a chunk: others that arrive at the same time may take it, or the lane may change meanwhile.
const EVICTIONS: usize = 8;

/// A chunk is charged this many bytes of memory besides its own.
const OVERHEAD: usize = 256;

impl TenantQueue {
    pub(super) fn new(id: TenantId, shared: Arc<Shared>, meter: Arc<Meter>) -> Self {
        let (memory, disk): (_, Arc<Share>) = Default::default();
        let (inner, evicting, wake) = Default::default();
        let dead_letters = Mutex::new(shared.disk.grant(&disk, 0));
        Self { id, shared, meter, memory, disk, inner, dead_letters, evicting, wake }
    }

    /// Grants room on disk for `bytes`, and memory for a chunk of `in_memory` bytes if there is any.
    pub(super) async fn grant(self: &Arc<Self>, bytes: usize, in_memory: usize) -> Result<Grant, Refused> {
        let Quota { max_bytes, when_full, .. } = self.meter.quota();
        let room = || self.shared.disk.reserve_within(&self.disk, bytes, max_bytes);
        let may_evict = when_full == WhenFull::DropOldest && bytes <= max_bytes;
        let mut granted = room();
        for _ in 0..EVICTIONS {
            if granted.is_some() || !may_evict {
                break;
            }
            self.evict(bytes).await;
            granted = room();
        }
        let Some(room) = granted else {
            let over = self.disk.used().saturating_add(bytes) > max_bytes;
            let limit = if over { Limit::Quota } else { Limit::Common };
            return Err(Refused::Full { tenant: self.id.clone(), limit, retry_after: RETRY_AFTER });
        };
        Ok(Grant { room, memory: self.shared.memory.reserve(&self.memory, in_memory + OVERHEAD) })
    }

    /// Appends a chunk. True when the queue has no attendant, and the caller must announce it.
    pub(super) fn push(&self, stored: Stored, now: Instant) -> bool {
        let mut inner = self.lock();
        let look = self.lane(&mut inner, LaneId::of(&stored.chunk)).push(stored, now);
        self.attend(inner, look)
    }

    /// Takes over a lane's records of an earlier run.
    pub(super) fn recover(&self, lane: LaneId, records: u64, items: u64, bytes: usize, oldest: UnixMillis) -> bool {
        let room = self.shared.disk.grant(&self.disk, bytes);
        let mut inner = self.lock();
        self.lane(&mut inner, lane).recover(records, items, room, oldest);
        self.attend(inner, true)
    }

    fn attend(&self, mut inner: MutexGuard<'_, Inner>, look: bool) -> bool {
        let unattended = !std::mem::replace(&mut inner.attended, true);
        drop(inner);
        if look && !unattended {
            self.wake.notify_one();
        }
        unattended
    }

    fn lane<'a>(&self, inner: &'a mut Inner, id: LaneId) -> &'a mut Lane {
        let index = inner.lanes.iter().position(|lane| lane.id == id).unwrap_or_else(|| {
            inner.lanes.push(Lane::new(id, self.shared.ledger.account(&self.id, id.kind)));
            inner.lanes.len() - 1
        });
        &mut inner.lanes[index]
    }

    /// Waits until there may be a batch to take.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Has [`changed`](Self::changed) return although nothing was queued.
    pub fn nudge(&self) {
        self.wake.notify_one();
    }

    /// The lanes that have items.
    pub fn lanes(&self) -> Vec<LaneId> {
        self.lock().lanes.iter().filter(|lane| !lane.is_empty()).map(|lane| lane.id).collect()
    }

    /// When the oldest item of a lane was accepted.
    pub fn oldest(&self, lane: LaneId) -> Option<UnixMillis> {
        self.with(lane, |lane| lane.oldest()).flatten()
    }

    /// Takes the next batch of a lane if one is due; see [`Take`].
    pub fn take(&self, lane: LaneId, limits: Limits, max_age: Duration, now: Instant) -> Take {
        let mut inner = self.lock();
        match inner.lanes.iter_mut().find(|found| found.id == lane) {
            Some(lane) => lane.take(limits, max_age, now, &self.shared.acks),
            None => Take::Empty,
        }
    }

    /// Stops attending. False when there are items: the caller is still the attendant then.
    pub fn leave(&self) -> bool {
        let mut inner = self.lock();
        let empty = inner.lanes.iter().all(Lane::is_empty);
        inner.attended = !empty;
        empty
    }

    /// The size and age of each lane.
    pub fn figures(&self) -> Vec<LaneFigures> {
        let figures = |lane: &Lane| LaneFigures {
            lane: lane.id,
            items: lane.items(),
            bytes: lane.bytes(),
            oldest: lane.oldest(),
        };
        self.lock().lanes.iter().map(figures).collect()
    }

    /// Bytes of memory that this tenant is charged for, its payloads in flight included.
    pub fn memory_used(&self) -> usize {
        self.memory.used()
    }

    /// The limits on what the tenant may have on disk.
    pub fn quota(&self) -> Quota {
        self.meter.quota()
    }

    /// The bytes that dead letters may take. With `drop_oldest`, new items always find room beside them.
    pub fn dead_letter_quota(&self) -> usize {
        let Quota { max_bytes, when_full, .. } = self.quota();
        if when_full == WhenFull::DropOldest { max_bytes / 2 } else { max_bytes }
    }

    /// Whether the tenant may hold more in memory.
    pub fn has_memory(&self) -> bool {
        self.shared.memory.fits(&self.memory, PIECE / 8)
    }

    /// Charges the quota on disk for so many bytes of dead letters.
    pub fn set_dead_letter_bytes(&self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.dead_letters.lock().unwrap_or_else(PoisonError::into_inner).resize(bytes);
    }

    /// Bytes on disk that this tenant is charged for, items in flight included.
    #[cfg(test)]
    pub(super) fn disk_used(&self) -> usize {
        self.disk.used()
    }

    /// Spills every chunk, to free its memory.
    pub fn unload(&self) {
        self.lock().lanes.iter_mut().for_each(Lane::unload);
    }

    /// Whether items of a lane should be [`load`](Self::load)ed.
    pub fn wants(&self, lane: LaneId) -> bool {
        match self.with(lane, |lane| lane.wants()).flatten() {
            Some((_, nothing_loaded)) => nothing_loaded || self.has_memory(),
            None => false,
        }
    }

    /// Reads some of the items of a lane back from the journal.
    ///
    /// # Errors
    /// When the journal cannot be read; nothing has changed then.
    pub async fn load(self: &Arc<Self>, lane: LaneId) -> io::Result<()> {
        let _turn = self.turn_to_read().await?;
        let Some((after, nothing_loaded)) = self.with(lane, |lane| lane.wants()).flatten() else { return Ok(()) };
        let piece = [PIECE, PIECE / 8].into_iter().find_map(|bytes| self.shared.memory.reserve(&self.memory, bytes));
        let memory = match piece {
            Some(memory) => memory,
            // However short memory is, every lane makes progress.
            None if nothing_loaded => self.shared.memory.grant(&self.memory, LEAST),
            None => return Ok(()),
        };
        let before = self.with(lane, |lane| lane.spilled_records());
        let Some(piece) = self.read(lane, after, memory.bytes()).await? else { return Ok(()) };
        let cutoff = self.shared.ages.cutoff(self.quota().max_age, Instant::now());
        self.merge(lane, after, before, piece, Some(memory), |record| {
            cutoff.is_older(record.seq, record.entry.accepted).then_some(DropReason::Expired)
        });
        self.nudge();
        Ok(())
    }

    /// Drops items that are older than the quota allows.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn expire(self: &Arc<Self>, now: Instant) -> io::Result<()> {
        let cutoff = self.shared.ages.cutoff(self.quota().max_age, now);
        let is_older = |seq, accepted| cutoff.is_older(seq, accepted);
        self.drop_older(DropReason::Expired, None, is_older).await.map(drop)
    }

    /// Drops items that were accepted before a time, none of the spared recipients; returns how many.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn purge(self: &Arc<Self>, before: UnixMillis, spared: Option<&Recipients>) -> io::Result<u64> {
        let dropped = self.drop_older(DropReason::Purged, spared, |_, accepted| accepted < before).await;
        self.nudge();
        dropped
    }

    async fn drop_older(
        self: &Arc<Self>,
        reason: DropReason,
        spared: Option<&Recipients>,
        is_older: impl Fn(Seq, UnixMillis) -> bool,
    ) -> io::Result<u64> {
        let is_spared = |lane: &LaneId| spared.is_some_and(|spared| spared.contains(lane.generation));
        let first_is_older =
            |lane: &Lane| lane.first().zip(lane.oldest()).is_some_and(|(seq, oldest)| is_older(seq, oldest));
        let mut items = 0;
        for lane in self.lanes().into_iter().filter(|lane| !is_spared(lane)) {
            let account = self.shared.ledger.account(&self.id, lane.kind);
            let dropped = || account.read().dropped[reason as usize];
            let before = dropped();
            let Some(seqs) =
                self.with(lane, |lane| lane.drop_front(reason, |chunk, receipt| is_older(receipt.seq, chunk.accepted)))
            else {
                continue;
            };
            self.shared.acks.acknowledge(&seqs, None);
            while self.with(lane, |lane| first_is_older(lane) && lane.wants().is_some()).unwrap_or(false) {
                if !self.drop_piece(lane, reason, PIECE, |record| is_older(record.seq, record.entry.accepted)).await? {
                    break;
                }
            }
            items += dropped() - before;
        }
        Ok(items)
    }

    /// Drops the oldest until there is room for so many bytes, or nothing more to drop.
    async fn evict(self: &Arc<Self>, bytes: usize) {
        let _alone = self.evicting.lock().await;
        // Somewhat more than needed, so that not every chunk has to do this.
        let max_bytes = self.meter.quota().max_bytes;
        let target = (max_bytes - max_bytes / 64).saturating_sub(bytes);
        let mut attempts = EVICTIONS;
        while self.disk.used() > target && attempts > 0 {
            let excess = self.disk.used() - target;
            let Some(lane) = self.oldest_lane() else { return };
            let mut left = excess;
            let doomed = |_: &Chunk, receipt: &Receipt| {
                let more = left > 0;
                left = left.saturating_sub(receipt.room.bytes());
                more
            };
            let seqs = self.with(lane, |lane| lane.drop_front(DropReason::Evicted, doomed)).unwrap_or_default();
            if !seqs.is_empty() {
                self.shared.acks.acknowledge(&seqs, None);
                continue;
            }
            let mut left = excess;
            let doomed = |record: &Record| {
                let more = left > 0;
                left = left.saturating_sub(record.bytes);
                more
            };
            // If the lane has changed meanwhile, there is still something to drop, or room.
            match self.drop_piece(lane, DropReason::Evicted, excess, doomed).await {
                Ok(true) => {}
                Ok(false) => attempts -= 1,
                Err(error) => {
                    error!(tenant = %self.id, kind = %lane.kind, "the oldest items cannot be dropped to make room for new ones: {error}");
                    return;
                }
            }
        }
    }

    /// Counts a record that the journal has lost.
    pub(super) fn lose(&self, lane: LaneId, lost: &Lost) {
        report(&self.id, lane.kind, lost);
        if let Some(seq) = lost.seq {
            self.with(lane, |lane| lane.lose(seq, lost.items.unwrap_or(0), lost.bytes as usize));
        }
    }

    fn oldest_lane(&self) -> Option<LaneId> {
        let inner = self.lock();
        let oldest = inner.lanes.iter().filter_map(|lane| Some((lane.first()?, lane.id))).min_by_key(|(seq, _)| *seq);
        oldest.map(|(_, lane)| lane)
    }

    /// Drops doomed records from the front of the spilled ones, of the first `bytes` at most. False when there were none.
    async fn drop_piece(
        self: &Arc<Self>,
        lane: LaneId,
        reason: DropReason,
        bytes: usize,
        mut doomed: impl FnMut(&Record) -> bool,
    ) -> io::Result<bool> {
        let _turn = self.turn_to_read().await?;
        let Some(Some((after, _))) = self.with(lane, |lane| lane.wants()) else { return Ok(false) };
        let before = self.with(lane, |lane| lane.spilled_records());
        let Some(mut piece) = self.read(lane, after, bytes.clamp(PIECE / 64, PIECE)).await? else { return Ok(false) };
        let count = piece.records.iter().take_while(|record| doomed(record)).count();
        if let Some(kept) = piece.records.get(count) {
            piece.next = Some(kept.entry.accepted);
            piece.records.truncate(count);
            piece.reader = None;
        }
        let is_something = count > 0 || !piece.lost.is_empty() || piece.end;
        Ok(self.merge(lane, after, before, piece, None, |_| Some(reason)) && is_something)
    }

    async fn turn_to_read(&self) -> io::Result<SemaphorePermit<'_>> {
        self.shared.readers.acquire().await.map_err(io::Error::other)
    }

    /// Reads on. The caller has its [turn](Self::turn_to_read).
    async fn read(&self, lane: LaneId, after: Option<Seq>, bytes: usize) -> io::Result<Option<Piece>> {
        let mut reader = match self.with(lane, Lane::take_reader).flatten() {
            Some(reader) => reader,
            None => {
                let from = Seq(after.map_or(0, |seq| seq.0 + 1));
                Reader::new(lane_key(&self.id, lane), from..Seq(u64::MAX))
            }
        };
        let journal = self.shared.journal.clone();
        let reading = self.shared.machine.on_blocking_pool("queue", move || {
            let batch = journal.read(&mut reader, bytes as u64)?;
            Ok(Piece { records: batch.records, lost: batch.lost, end: batch.end, next: None, reader: Some(reader) })
        });
        reading.await.map(Some)
    }

    /// Merges a piece that was read into its lane. False, and only damage is counted, if the lane has changed meanwhile.
    fn merge(
        &self,
        id: LaneId,
        after: Option<Seq>,
        before: Option<u64>,
        piece: Piece,
        mut memory: Option<Reservation>,
        doomed: impl Fn(&Record) -> Option<DropReason>,
    ) -> bool {
        let mut dropped = Vec::new();
        let mut inner = self.lock();
        let lane = self.lane(&mut inner, id);
        let untouched = lane.wants().map(|(after, _)| after) == Some(after);
        for lost in &piece.lost {
            report(&self.id, id.kind, lost);
            if let Some(seq) = lost.seq {
                lane.lose(seq, lost.items.unwrap_or(0), lost.bytes as usize);
            }
        }
        if !untouched {
            return false;
        }
        for record in piece.records {
            let (seq, items, bytes) = (record.seq, u64::from(record.entry.items), record.bytes);
            match (doomed(&record), &mut memory) {
                (None, Some(memory)) => {
                    let takes = record.entry.payload.len() + OVERHEAD;
                    let mut part = memory.split(takes);
                    part.resize(takes);
                    lane.restore(&self.id, record, part);
                }
                (reason, _) => {
                    lane.drop_spilled(seq, items, bytes, reason.unwrap_or(DropReason::Expired));
                    lane.passed(record.entry.accepted);
                    dropped.push(seq);
                }
            }
        }
        if let Some(next) = piece.next {
            lane.passed(next);
        }
        if piece.end && before == Some(lane.spilled_records()) && lane.spilled_records() > 0 {
            let items = lane.drop_missing();
            error!(
                tenant = %self.id, kind = %id.kind, items,
                "items are missing from the journal and counted as dropped (damaged); was the directory changed by hand?"
            );
        }
        lane.keep_reader(piece.reader);
        drop(inner);
        self.shared.acks.acknowledge(&dropped, None);
        true
    }

    fn with<T>(&self, lane: LaneId, then: impl FnOnce(&mut Lane) -> T) -> Option<T> {
        self.lock().lanes.iter_mut().find(|found| found.id == lane).map(then)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece of a lane's backlog, and the reader that goes on after it, if there is one.
struct Piece {
    records: Vec<Record>,
    lost: Vec<Lost>,
    end: bool,
    /// When the first record after them was accepted, where it was read and left.
    next: Option<UnixMillis>,
    reader: Option<Reader>,
}

/// Reports a record that the disk has lost.
pub(super) fn report(tenant: &TenantId, kind: Kind, lost: &Lost) {
    warn!(
        %tenant, %kind, items = lost.items, bytes = lost.bytes, offset = lost.offset,
        file = %lost.file.display(), copy = lost.quarantined.as_ref().map(|path| tracing::field::display(path.display())),
        "a record of the journal is damaged, and its items are dropped"
    );
}
