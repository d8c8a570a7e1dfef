//! The queued items of one tenant, kind and generation. Pure logic: the time is an argument.
//!
//! All chunks are in the journal. The oldest are in memory too; those behind them are spilled, that is, in the journal
//! only, and read back in their turn. A chunk is spilled when there is no memory for it, or when a chunk before it is.

use super::budget::Reservation;
use super::finalizer::{Acknowledge, Finalizer, Receipt};
use super::vocabulary::{Batch, LaneId, Stored, Take};
use crate::journal::{Reader, Record, Seq};
use crate::ledger::{Account, DropReason};
use crate::types::{Chunk, Follow, Limits, TenantId, UnixMillis};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Chunks in order of acceptance.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) id: LaneId,
    pub(super) account: Account,
    chunks: VecDeque<Waiting>,
    items: u64,
    /// Of the chunks in memory.
    bytes: usize,
    /// Of their records on disk.
    room: usize,
    spilled: Spilled,
}

#[derive(Debug)]
struct Waiting {
    /// When the chunk arrived; none if it is due already.
    since: Option<Instant>,
    chunk: Chunk,
    memory: Reservation,
    receipt: Receipt,
}

/// The chunks that are in the journal only, in total.
#[derive(Debug, Default)]
struct Spilled {
    records: u64,
    items: u64,
    room: Option<Reservation>,
    /// The first was not accepted before this time.
    oldest: UnixMillis,
    /// The records after this one are spilled.
    after: Option<Seq>,
    /// Positioned behind the last record that was read back.
    reader: Option<Reader>,
    /// Records after `after` that are lost and counted: a reader that is ahead must not count them again.
    gone: BTreeSet<Seq>,
    /// Followers of the few that are followed, and the items of each.
    follows: HashMap<Seq, (Follow, u32)>,
}

/// Chunks are read back when less than this is in memory, so that a batch is ready while another is being read.
const LOW: usize = 4 << 20;

impl Lane {
    pub(super) fn new(id: LaneId, account: Account) -> Self {
        Self { id, account, chunks: VecDeque::new(), items: 0, bytes: 0, room: 0, spilled: Spilled::default() }
    }

    /// Appends a chunk. True when the attendant should look: the lane was empty, or a batch became full.
    pub(super) fn push(&mut self, stored: Stored, now: Instant) -> bool {
        let Stored { mut chunk, receipt, memory } = stored;
        self.account.accept(u64::from(chunk.items));
        let was_empty = self.is_empty();
        let before = (self.items, self.bytes);
        match memory {
            Some(memory) if self.spilled.records == 0 => {
                self.spilled.after = Some(receipt.seq);
                self.keep(Waiting { since: Some(now), chunk, memory, receipt });
            }
            _ => {
                if let Some(follow) = chunk.follow.take() {
                    self.spilled.follows.insert(receipt.seq, (follow, chunk.items));
                }
                self.spill(1, u64::from(chunk.items), receipt.room, chunk.accepted);
            }
        }
        let limits = self.id.kind.limits();
        let full = |(items, bytes): (u64, usize)| items >= u64::from(limits.items) || bytes >= limits.compressed;
        was_empty || full((self.items, self.bytes)) && !full(before)
    }

    /// Takes over what an earlier run left in the journal.
    pub(super) fn recover(&mut self, records: u64, items: u64, room: Reservation, oldest: UnixMillis) {
        self.account.accept(items);
        self.spill(records, items, room, oldest);
    }

    fn spill(&mut self, records: u64, items: u64, room: Reservation, accepted: UnixMillis) {
        let spilled = &mut self.spilled;
        if spilled.records == 0 {
            spilled.oldest = accepted;
        }
        spilled.records += records;
        spilled.items += items;
        match &mut spilled.room {
            Some(all) => all.join(room),
            none => *none = Some(room),
        }
    }

    fn keep(&mut self, waiting: Waiting) {
        self.items += u64::from(waiting.chunk.items);
        self.bytes += waiting.chunk.bytes.len();
        self.room += waiting.receipt.room.bytes();
        self.chunks.push_back(waiting);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.spilled.records == 0
    }

    pub(super) fn items(&self) -> u64 {
        self.items + self.spilled.items
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> usize {
        self.room + self.spilled.room.as_ref().map_or(0, Reservation::bytes)
    }

    /// When the oldest item was accepted.
    pub(super) fn oldest(&self) -> Option<UnixMillis> {
        match self.chunks.front() {
            Some(waiting) => Some(waiting.chunk.accepted),
            None => (self.spilled.records > 0).then_some(self.spilled.oldest),
        }
    }

    /// When spilled chunks should be read back: the record to read on after, and whether nothing is in memory.
    pub(super) fn wants(&self) -> Option<(Option<Seq>, bool)> {
        (self.spilled.records > 0 && self.bytes < LOW).then_some((self.spilled.after, self.chunks.is_empty()))
    }

    pub(super) fn spilled_records(&self) -> u64 {
        self.spilled.records
    }

    /// Takes a record that was read back, in order.
    pub(super) fn restore(&mut self, tenant: &TenantId, record: Record, memory: Reservation) {
        let Record { seq, entry, bytes, .. } = record;
        let Some((room, follow)) = self.forget(seq, u64::from(entry.items), bytes) else { return };
        self.passed(entry.accepted);
        let chunk = Chunk {
            tenant: tenant.clone(),
            kind: self.id.kind,
            generation: self.id.generation,
            items: entry.items,
            oldest: entry.oldest,
            accepted: entry.accepted,
            bytes: entry.payload,
            follow,
        };
        self.keep(Waiting { since: None, chunk, memory, receipt: Receipt { seq, room } });
    }

    /// Drops a spilled record.
    pub(super) fn drop_spilled(&mut self, seq: Seq, items: u64, bytes: usize, reason: DropReason) {
        if let Some((_, follow)) = self.forget(seq, items, bytes) {
            self.account.drop_items(items, reason);
            if let Some(follow) = follow {
                follow.dropped(u32::try_from(items).unwrap_or(u32::MAX));
            }
        }
    }

    /// The spilled chunks that are left were not accepted before this time.
    pub(super) fn passed(&mut self, accepted: UnixMillis) {
        self.spilled.oldest = accepted;
    }

    /// Drops all that is counted as spilled, and is missing from the journal. Returns the number of items.
    pub(super) fn drop_missing(&mut self) -> u64 {
        let rest = Spilled { after: self.spilled.after, ..Spilled::default() };
        let missing = std::mem::replace(&mut self.spilled, rest);
        self.account.drop_items(missing.items, DropReason::Damaged);
        missing.follows.into_values().for_each(|(follow, items)| follow.dropped(items));
        missing.items
    }

    /// Drops a spilled record that the journal has lost, wherever it was. Those in memory are not lost.
    pub(super) fn lose(&mut self, seq: Seq, items: u64, bytes: usize) {
        let spilled = &mut self.spilled;
        if spilled.after.is_some_and(|after| seq <= after) || spilled.records == 0 || !spilled.gone.insert(seq) {
            return;
        }
        spilled.records -= 1;
        spilled.items = spilled.items.saturating_sub(items);
        if spilled.records == 0 {
            spilled.room = None;
        } else if let Some(room) = &mut spilled.room {
            drop(room.split(bytes));
        }
        self.account.drop_items(items, DropReason::Damaged);
        // The number accepted: the journal may not know it any more.
        if let Some((follow, items)) = spilled.follows.remove(&seq) {
            follow.dropped(items);
        }
    }

    /// The reader to read on with, if it is where the spilled chunks begin.
    pub(super) fn take_reader(&mut self) -> Option<Reader> {
        self.spilled.reader.take()
    }

    /// Keeps a reader behind the records that were restored or dropped. Where none are left, it may have read what is about
    /// to be pushed, and must not be used again.
    pub(super) fn keep_reader(&mut self, reader: Option<Reader>) {
        self.spilled.reader = reader.filter(|_| self.spilled.records > 0);
    }

    /// Takes a record out of the spilled ones, with its room.
    fn forget(&mut self, seq: Seq, items: u64, bytes: usize) -> Option<(Reservation, Option<Follow>)> {
        let spilled = &mut self.spilled;
        // It was read twice, or was not spilled.
        if spilled.after.is_some_and(|after| seq <= after) || spilled.records == 0 {
            return None;
        }
        spilled.after = Some(seq);
        let was_counted = spilled.gone.contains(&seq);
        spilled.gone = spilled.gone.split_off(&Seq(seq.0 + 1));
        if was_counted {
            return None;
        }
        spilled.records -= 1;
        spilled.items = spilled.items.saturating_sub(items);
        let room = match &mut spilled.room {
            Some(all) if spilled.records > 0 => all.split(bytes),
            all => all.take()?,
        };
        Some((room, spilled.follows.remove(&seq).map(|(follow, _)| follow)))
    }

    /// Spills every chunk, to free its memory.
    pub(super) fn unload(&mut self) {
        let Some(first) = self.chunks.front() else { return };
        let (before, oldest) = (first.receipt.seq.0.checked_sub(1).map(Seq), first.chunk.accepted);
        for mut waiting in std::mem::take(&mut self.chunks) {
            if let Some(follow) = waiting.chunk.follow.take() {
                self.spilled.follows.insert(waiting.receipt.seq, (follow, waiting.chunk.items));
            }
            self.spill(1, u64::from(waiting.chunk.items), waiting.receipt.room, waiting.chunk.accepted);
        }
        self.spilled.oldest = oldest;
        self.spilled.after = before;
        self.spilled.reader = None;
        (self.items, self.bytes, self.room) = (0, 0, 0);
    }

    /// Drops chunks in memory from the front while `doomed`, given a chunk and its receipt, says so. Returns their
    /// records.
    pub(super) fn drop_front(
        &mut self,
        reason: DropReason,
        mut doomed: impl FnMut(&Chunk, &Receipt) -> bool,
    ) -> Vec<Seq> {
        let mut seqs = Vec::new();
        while self.chunks.front().is_some_and(|waiting| doomed(&waiting.chunk, &waiting.receipt)) {
            let Some(Waiting { chunk, receipt, .. }) = self.chunks.pop_front() else { break };
            self.items -= u64::from(chunk.items);
            self.bytes -= chunk.bytes.len();
            self.room -= receipt.room.bytes();
            self.account.drop_items(u64::from(chunk.items), reason);
            if let Some(follow) = &chunk.follow {
                follow.dropped(chunk.items);
            }
            seqs.push(receipt.seq);
        }
        seqs
    }

    /// The first record, to compare lanes by age.
    pub(super) fn first(&self) -> Option<Seq> {
        match self.chunks.front() {
            Some(waiting) => Some(waiting.receipt.seq),
            None => (self.spilled.records > 0).then(|| Seq(self.spilled.after.map_or(0, |seq| seq.0 + 1))),
        }
    }

    /// Takes the next batch if one is due: full, or its first chunk has waited for `max_age`.
    ///
    /// `limits` are at most the kind's: the sender lowers the byte limits as it learns how well the data compresses.
    pub(super) fn take(
        &mut self,
        limits: Limits,
        max_age: Duration,
        now: Instant,
        journal: &Arc<dyn Acknowledge>,
    ) -> Take {
        let Some(first) = self.chunks.front() else { return Take::Empty };
        let due_at = first.since.map(|since| since + max_age);
        let kind = self.id.kind;
        let frame = kind.prefix().len() + kind.suffix().len();
        let separator = kind.separator().len();
        let (mut count, mut items, mut bytes) = (0, 0, frame);
        for Waiting { chunk, .. } in &self.chunks {
            let grown = bytes + chunk.bytes.len() + separator;
            let fits = items + chunk.items <= limits.items && grown <= limits.uncompressed;
            if count > 0 && (!fits || chunk.follow.is_some()) {
                break;
            }
            (count, items, bytes) = (count + 1, items + chunk.items, grown);
            if chunk.follow.is_some() {
                break;
            }
        }
        let full = count < self.chunks.len() || items >= limits.items || bytes >= limits.uncompressed;
        if let Some(due_at) = due_at.filter(|at| !full && now < *at) {
            return Take::Later(due_at);
        }
        let tenant = first.chunk.tenant.clone();
        let (mut chunks, mut memory, mut receipts) =
            (Vec::with_capacity(count), Vec::with_capacity(count), Vec::with_capacity(count));
        for waiting in self.chunks.drain(..count) {
            self.items -= u64::from(waiting.chunk.items);
            self.bytes -= waiting.chunk.bytes.len();
            self.room -= waiting.receipt.room.bytes();
            chunks.push(waiting.chunk);
            memory.push(waiting.memory);
            receipts.push(waiting.receipt);
        }
        if self.chunks.is_empty() && self.chunks.capacity() > 64 {
            self.chunks.shrink_to(8);
        }
        let finalizer = Arc::new(Finalizer::new(receipts, u64::from(items), journal.clone()));
        Take::Batch(Batch { tenant, lane: self.id, chunks, memory, finalizer })
    }
}

#[cfg(test)]
mod tests;
