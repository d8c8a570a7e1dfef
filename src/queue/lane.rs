//! The items of one tenant and kind that wait for a batch. Pure logic: the time is an argument.

use super::budget::Reservation;
use crate::ledger::Account;
use crate::types::{Chunk, Kind, Limits, TenantId};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Chunks in order of acceptance.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) kind: Kind,
    pub(super) account: Account,
    chunks: VecDeque<Waiting>,
    items: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    chunk: Chunk,
    memory: Reservation,
}

/// Chunks of one tenant and kind that go into one payload.
#[derive(Debug)]
pub struct Batch {
    /// Whose.
    pub tenant: TenantId,
    /// What.
    pub kind: Kind,
    /// In order of acceptance; at least one.
    pub chunks: Vec<Chunk>,
    /// The memory that the chunks are accounted with.
    pub memory: Vec<Reservation>,
}

/// What asking a lane for a batch gave.
#[derive(Debug)]
pub enum Take {
    /// A batch is due.
    Batch(Batch),
    /// Items wait; their batch is due then at the latest.
    Later(Instant),
    /// Nothing waits.
    Empty,
}

impl Lane {
    pub(super) fn new(kind: Kind, account: Account) -> Self {
        Self { kind, account, chunks: VecDeque::new(), items: 0, bytes: 0 }
    }

    /// Appends a chunk. True when whoever attends the lane should look: it was empty, or a batch became full.
    pub(super) fn push(&mut self, chunk: Chunk, memory: Reservation, now: Instant) -> bool {
        let before = (self.items, self.bytes);
        self.items += u64::from(chunk.items);
        self.bytes += chunk.bytes.len();
        self.account.accept(u64::from(chunk.items));
        self.chunks.push_back(Waiting { since: now, chunk, memory });
        let limits = self.kind.limits();
        let full = |(items, bytes): (u64, usize)| items >= u64::from(limits.items) || bytes >= limits.compressed;
        before.0 == 0 || full((self.items, self.bytes)) && !full(before)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(super) fn items(&self) -> u64 {
        self.items
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn oldest(&self) -> Option<&Chunk> {
        self.chunks.front().map(|waiting| &waiting.chunk)
    }

    /// Takes the next batch if one is due: full, or its first chunk has waited for `max_age`.
    ///
    /// `limits` are at most the kind's: the sender lowers the byte limits as it learns how well the data compresses.
    pub(super) fn take(&mut self, limits: Limits, max_age: Duration, now: Instant) -> Take {
        let Some(first) = self.chunks.front() else { return Take::Empty };
        let due_at = first.since + max_age;
        let frame = self.kind.prefix().len() + self.kind.suffix().len();
        let separator = self.kind.separator().len();
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
        if !full && now < due_at {
            return Take::Later(due_at);
        }
        let mut batch = Batch {
            tenant: first.chunk.tenant.clone(),
            kind: self.kind,
            chunks: Vec::with_capacity(count),
            memory: Vec::with_capacity(count),
        };
        for Waiting { chunk, memory, .. } in self.chunks.drain(..count) {
            self.items -= u64::from(chunk.items);
            self.bytes -= chunk.bytes.len();
            batch.chunks.push(chunk);
            batch.memory.push(memory);
        }
        if self.chunks.is_empty() && self.chunks.capacity() > 64 {
            self.chunks.shrink_to(8);
        }
        Take::Batch(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::{Budget, Share};
    use super::*;
    use crate::types::{Follow, UnixMillis};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn chunk(items: u32, bytes: usize) -> Chunk {
        Chunk {
            tenant: TenantId::new("a").unwrap(),
            kind: Kind::Logs,
            items,
            oldest: UnixMillis(0),
            accepted: UnixMillis(0),
            bytes: vec![b'x'; bytes].into(),
            follow: None,
        }
    }

    fn lane() -> (Lane, impl FnMut(&Chunk) -> Reservation) {
        let (budget, share) = (Budget::new(1 << 30), Arc::new(Share::default()));
        let reserve = move |c: &Chunk| budget.reserve(&share, c.bytes.len()).unwrap();
        (Lane::new(Kind::Logs, Account::default()), reserve)
    }

    #[test]
    fn a_batch_is_due_by_age_even_when_small() {
        let (mut lane, mut reserve) = lane();
        let (start, age) = (Instant::now(), Duration::from_secs(2));
        let c = chunk(1, 10);
        let memory = reserve(&c);
        assert!(lane.push(c, memory, start));
        let limits = Kind::Logs.limits();
        assert!(matches!(lane.take(limits, age, start), Take::Later(at) if at == start + age));
        assert!(matches!(lane.take(limits, age, start + age), Take::Batch(b) if b.chunks.len() == 1));
        assert!(matches!(lane.take(limits, age, start + age), Take::Empty));
    }

    #[test]
    fn a_batch_is_due_at_once_when_full() {
        let (mut lane, mut reserve) = lane();
        let start = Instant::now();
        for _ in 0..11 {
            let c = chunk(100, 10);
            let memory = reserve(&c);
            lane.push(c, memory, start);
        }
        let age = Duration::from_secs(2);
        let Take::Batch(batch) = lane.take(Kind::Logs.limits(), age, start) else {
            panic!("1,100 logs are more than a batch")
        };
        assert_eq!(batch.chunks.iter().map(|c| c.items).sum::<u32>(), 1000);
        assert!(matches!(lane.take(Kind::Logs.limits(), age, start), Take::Later(_)));
        assert_eq!((lane.items(), lane.bytes()), (100, 10));
    }

    #[test]
    fn a_followed_chunk_is_a_batch_of_its_own_and_keeps_its_turn() {
        let (mut lane, mut reserve) = lane();
        let now = Instant::now();
        let follow = Follow::new(1);
        for (index, followed) in [false, false, true, true, false].into_iter().enumerate() {
            let c =
                Chunk { oldest: UnixMillis(index as i64), follow: followed.then(|| follow.clone()), ..chunk(1, 10) };
            let memory = reserve(&c);
            lane.push(c, memory, now);
        }
        let mut batches = Vec::new();
        while let Take::Batch(batch) = lane.take(Kind::Logs.limits(), Duration::ZERO, now) {
            batches.push(batch.chunks.iter().map(|c| c.oldest.0).collect::<Vec<_>>());
        }
        assert_eq!(batches, [vec![0, 1], vec![2], vec![3], vec![4]]);
    }

    proptest! {
        #[test]
        fn batches_keep_the_limits_and_the_order(sizes in prop::collection::vec((1u32..=1000, 1usize..3000), 1..60)) {
            let (mut lane, mut reserve) = lane();
            let now = Instant::now();
            for (index, (items, bytes)) in sizes.iter().enumerate() {
                let mut c = chunk(*items, *bytes);
                c.oldest = UnixMillis(index as i64);
                let memory = reserve(&c);
                lane.push(c, memory, now);
            }
            let limits = Limits { items: 1000, uncompressed: 4000, compressed: 4000 };
            let mut seen = Vec::new();
            while let Take::Batch(batch) = lane.take(limits, Duration::ZERO, now) {
                prop_assert!(batch.chunks.iter().map(|c| c.items).sum::<u32>() <= 1000);
                let joined = batch.chunks.iter().map(|c| c.bytes.len() + 1).sum::<usize>() + 1;
                prop_assert!(joined <= 4000);
                seen.extend(batch.chunks.iter().map(|c| c.oldest.0));
            }
            prop_assert_eq!(seen, (0..sizes.len() as i64).collect::<Vec<_>>());
            prop_assert!(lane.is_empty());
            prop_assert_eq!((lane.items(), lane.bytes()), (0, 0));
        }
    }
}
