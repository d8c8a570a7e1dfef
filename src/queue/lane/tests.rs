//! Lanes by themselves: what is in memory, what is spilled, and what a batch holds.

use super::super::budget::{Budget, Share};
use super::super::finalizer::tests::Acknowledged;
use super::*;
use crate::journal::Entry;
use crate::types::{Generation, Kind};
use bytes::Bytes;
use proptest::prelude::*;

fn chunk(items: u32, bytes: usize) -> Chunk {
    Chunk {
        tenant: TenantId::new("a").unwrap(),
        kind: Kind::Logs,
        generation: Generation::UNKNOWN,
        items,
        oldest: UnixMillis(0),
        accepted: UnixMillis(0),
        bytes: vec![b'x'; bytes].into(),
        follow: None,
    }
}

/// A lane, and a way to append to it that reports whether to look; chunks without room in memory are spilled.
struct Fixture {
    lane: Lane,
    memory: Arc<Budget>,
    disk: Arc<Budget>,
    shares: [Arc<Share>; 2],
    journal: Arc<Acknowledged>,
    next: u64,
}

impl Fixture {
    fn with_memory(bytes: usize) -> Self {
        let (memory, disk) = (Budget::new(bytes), Budget::new(1 << 30));
        let lane = Lane::new(LaneId::of(&chunk(1, 1)), Account::default());
        Self { lane, memory, disk, shares: Default::default(), journal: Arc::default(), next: 1 }
    }

    fn new() -> Self {
        Self::with_memory(1 << 30)
    }

    fn push(&mut self, chunk: Chunk, now: Instant) -> bool {
        let receipt = Receipt { seq: Seq(self.next), room: self.disk.grant(&self.shares[0], chunk.bytes.len()) };
        self.next += 1;
        let memory = self.memory.reserve(&self.shares[1], chunk.bytes.len());
        self.lane.push(Stored { chunk, receipt, memory }, now)
    }

    fn take(&mut self, limits: Limits, age: Duration, now: Instant) -> Take {
        let journal: Arc<dyn Acknowledge> = self.journal.clone();
        self.lane.take(limits, age, now, &journal)
    }

    fn restore(&mut self, seq: u64, chunk: Chunk) {
        let entry = Entry {
            lane: Bytes::new(),
            items: chunk.items,
            accepted: chunk.accepted,
            oldest: chunk.oldest,
            head: Bytes::new(),
            payload: chunk.bytes,
        };
        let memory = self.memory.grant(&self.shares[1], entry.payload.len());
        self.lane.restore(
            &chunk.tenant,
            Record { seq: Seq(seq), sealed: false, bytes: entry.payload.len(), entry },
            memory,
        );
    }
}

#[test]
fn a_small_batch_is_due_by_age() {
    let mut lane = Fixture::new();
    let (start, age) = (Instant::now(), Duration::from_secs(2));
    assert!(lane.push(chunk(1, 10), start));
    let limits = Kind::Logs.limits();
    assert!(matches!(lane.take(limits, age, start), Take::Later(at) if at == start + age));
    assert!(matches!(lane.take(limits, age, start + age), Take::Batch(b) if b.chunks.len() == 1));
    assert!(matches!(lane.take(limits, age, start + age), Take::Empty));
}

#[test]
fn a_batch_is_due_at_once_when_full() {
    let mut lane = Fixture::new();
    let start = Instant::now();
    for _ in 0..11 {
        lane.push(chunk(100, 10), start);
    }
    let age = Duration::from_secs(2);
    let Take::Batch(batch) = lane.take(Kind::Logs.limits(), age, start) else {
        panic!("1,100 logs are more than a batch")
    };
    assert_eq!(batch.chunks.iter().map(|c| c.items).sum::<u32>(), 1000);
    assert!(matches!(lane.take(Kind::Logs.limits(), age, start), Take::Later(_)));
    assert_eq!((lane.lane.items(), lane.lane.bytes()), (100, 10));
}

#[test]
fn a_followed_chunk_is_its_own_batch() {
    let mut lane = Fixture::new();
    let now = Instant::now();
    let follow = Follow::new(1);
    for (index, followed) in [false, false, true, true, false].into_iter().enumerate() {
        let c = Chunk { oldest: UnixMillis(index as i64), follow: followed.then(|| follow.clone()), ..chunk(1, 10) };
        lane.push(c, now);
    }
    let mut batches = Vec::new();
    while let Take::Batch(batch) = lane.take(Kind::Logs.limits(), Duration::ZERO, now) {
        batches.push(batch.chunks.iter().map(|c| c.oldest.0).collect::<Vec<_>>());
    }
    assert_eq!(batches, [vec![0, 1], vec![2], vec![3], vec![4]]);
}

#[test]
fn chunks_behind_a_spilled_one_are_spilled() {
    let mut lane = Fixture::with_memory(100);
    let now = Instant::now();
    for _ in 0..3 {
        lane.push(chunk(1, 40), now);
    }
    assert_eq!(lane.memory.used(), 40, "half of what is free, once");
    lane.push(chunk(1, 1), now);
    assert_eq!((lane.lane.spilled_records(), lane.lane.items(), lane.lane.bytes()), (3, 4, 121));
    assert_eq!(lane.lane.wants(), Some((Some(Seq(1)), false)));
    let Take::Batch(first) = lane.take(Kind::Logs.limits(), Duration::ZERO, now) else { panic!("one is in memory") };
    lane.restore(2, chunk(1, 40));
    lane.restore(2, chunk(1, 40));
    lane.restore(1, chunk(1, 40));
    assert_eq!((lane.lane.spilled_records(), lane.lane.items()), (2, 3), "read twice, taken once");
    lane.restore(3, chunk(1, 40));
    lane.restore(4, chunk(1, 1));
    let age = Duration::from_secs(9);
    let Take::Batch(rest) = lane.take(Kind::Logs.limits(), age, now) else { panic!("it has waited long enough") };
    assert_eq!(rest.chunks.len(), 3);
    assert!(lane.lane.is_empty());
    rest.finalizer.finalize(3, None);
    first.finalizer.finalize(1, None);
    assert_eq!((lane.journal.seqs(), lane.disk.used()), (vec![2, 3, 4, 1], 0));
    drop((first, rest));
    lane.push(chunk(1, 1), now);
    assert_eq!(lane.lane.spilled_records(), 0);
}

#[test]
fn unloaded_chunks_return_in_order() {
    let mut lane = Fixture::new();
    let now = Instant::now();
    let follow = Follow::new(1);
    for _ in 0..4 {
        lane.push(Chunk { follow: Some(follow.clone()), ..chunk(1, 10) }, now);
    }
    assert!(matches!(lane.take(Kind::Logs.limits(), Duration::ZERO, now), Take::Batch(_)));
    lane.lane.unload();
    assert_eq!((lane.lane.spilled_records(), lane.lane.items(), lane.lane.bytes()), (3, 3, 30));
    assert_eq!((lane.lane.wants(), lane.lane.first()), (Some((Some(Seq(1)), true)), Some(Seq(2))));
    lane.restore(2, chunk(1, 10));
    assert!(matches!(lane.take(Kind::Logs.limits(), Duration::ZERO, now),
        Take::Batch(batch) if batch.chunks[0].follow.is_some()));
    lane.lane.drop_spilled(Seq(3), 1, 10, DropReason::Evicted);
    assert_eq!((follow.fate().queued, follow.fate().dropped), (0, 1));
    assert_eq!((lane.lane.drop_missing(), lane.lane.is_empty()), (1, true));
    assert_eq!(lane.lane.account.read().dropped, [0, 1, 0, 1, 0]);
}

#[test]
fn followers_of_lost_records_are_told() {
    // The record was found damaged, and its number of items with it; or nothing of it was found.
    let lost: [fn(&mut Lane); 2] = [|lane| lane.lose(Seq(1), 0, 10), |lane| assert_eq!(lane.drop_missing(), 3)];
    for lose in lost {
        let mut lane = Fixture::with_memory(0);
        let follow = Follow::new(3);
        lane.push(Chunk { follow: Some(follow.clone()), ..chunk(3, 10) }, Instant::now());
        lose(&mut lane.lane);
        assert_eq!((follow.fate().queued, follow.fate().dropped), (0, 3));
    }
}

proptest! {
    #[test]
    fn batches_keep_the_limits_and_the_order(sizes in prop::collection::vec((1u32..=1000, 1usize..3000), 1..60)) {
        let mut lane = Fixture::new();
        let now = Instant::now();
        for (index, (items, bytes)) in sizes.iter().enumerate() {
            let mut c = chunk(*items, *bytes);
            c.oldest = UnixMillis(index as i64);
            lane.push(c, now);
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
        prop_assert!(lane.lane.is_empty());
        prop_assert_eq!((lane.lane.items(), lane.lane.bytes()), (0, 0));
    }
}
