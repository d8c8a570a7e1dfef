//! The queues over a real journal.

use super::*;
use crate::journal::{Fsync, Options};
use crate::settings::WhenFull;
use crate::types::Kind;
use tempfile::TempDir;

/// Queues, and what they stand on.
struct Fixture {
    queues: Arc<Queues>,
    ledger: Arc<Ledger>,
    settings: Settings,
    dir: TempDir,
}

impl Fixture {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        Self::open(settings, tempfile::tempdir().unwrap())
    }

    fn open(settings: Settings, dir: TempDir) -> Self {
        let options = Options { fsync: Fsync::Never, segment_bytes: 1 << 20, ..Options::new(dir.path()) };
        let (journal, recovery) = Journal::open(options).unwrap();
        let ledger = Arc::new(Ledger::default());
        let queues = Arc::new(Queues::new(&settings, ledger.clone(), Arc::new(journal)));
        queues.recover(&recovery.lost);
        Self { queues, ledger, settings, dir }
    }

    /// As if the daemon had been stopped and started.
    fn restart(self) -> Self {
        let Self { queues, settings, dir, .. } = self;
        queues.journal().close();
        drop(queues);
        Self::open(settings, dir)
    }

    async fn push(&self, tenant: &str, index: i64, bytes: usize) {
        self.queues.submit(vec![chunk(tenant, index, bytes)]).await.unwrap();
    }

    /// Takes and settles everything, loading what is spilled. Gives the indices in the order of their batches.
    async fn drain(&self, tenant: &str) -> Vec<i64> {
        let queue = self.queues.tenant(&TenantId::new(tenant).unwrap());
        let mut indices = Vec::new();
        loop {
            match queue.take(Kind::Logs, Kind::Logs.limits(), Duration::ZERO, Instant::now()) {
                Take::Batch(batch) => {
                    let items = batch.chunks.iter().map(|chunk| u64::from(chunk.items)).sum();
                    indices.extend(batch.chunks.iter().map(|chunk| chunk.oldest.0));
                    self.ledger.account(&queue.id, Kind::Logs).deliver(items, 0);
                    batch.cover.settle(items);
                }
                _ if queue.wants(Kind::Logs) => queue.load(Kind::Logs).await.unwrap(),
                _ => return indices,
            }
        }
    }

    fn total(&self) -> crate::ledger::Balance {
        let mut total = crate::ledger::Balance::default();
        self.ledger.read().iter().for_each(|(_, _, balance)| total.add(balance));
        total
    }
}

fn chunk(tenant: &str, index: i64, bytes: usize) -> Chunk {
    Chunk {
        tenant: TenantId::new(tenant).unwrap(),
        kind: Kind::Logs,
        items: 1,
        oldest: UnixMillis(index),
        accepted: UnixMillis::now(),
        bytes: vec![b'x'; bytes].into(),
        follow: None,
    }
}

#[tokio::test]
async fn a_refused_request_leaves_nothing_in_the_queue() {
    let fixture = Fixture::new(|settings| settings.journal.max_bytes_per_tenant = 4000);
    let refused = fixture.queues.submit(vec![chunk("a", 0, 100), chunk("b", 0, 5000)]).await;
    assert!(matches!(refused, Err(Refused::Full { tenant, .. }) if tenant.as_str() == "b"));
    assert_eq!((fixture.queues.memory_used(), fixture.total().accepted), (0, 0));
    fixture.queues.stop_accepting();
    assert!(matches!(fixture.queues.submit(vec![chunk("a", 0, 1)]).await, Err(Refused::Stopping)));
    assert_eq!(fixture.queues.journal().figures().records, 0);
}

#[tokio::test]
async fn a_tenant_with_items_is_announced_once_until_it_is_left() {
    let fixture = Fixture::new(|_| ());
    fixture.push("a", 0, 1).await;
    fixture.push("a", 1, 1).await;
    let queue = fixture.queues.next_ready().await;
    assert!(fixture.queues.ready.lock().unwrap().is_empty());
    assert!(!queue.leave(), "items are waiting");
    assert_eq!(fixture.drain("a").await, [0, 1]);
    assert!(queue.leave());
    fixture.push("a", 2, 1).await;
    assert_eq!(fixture.queues.next_ready().await.id.as_str(), "a");
}

#[tokio::test]
async fn what_does_not_fit_into_memory_is_read_back_in_order() {
    let fixture = Fixture::new(|settings| settings.memory.max_queue_bytes = 100_000);
    for index in 0..500 {
        fixture.push("a", index, 1000).await;
        assert!(fixture.queues.memory_used() <= 100_000);
    }
    assert_eq!(fixture.total().queued, 500);
    assert_eq!(fixture.drain("a").await, (0..500).collect::<Vec<_>>());
    assert_eq!((fixture.total().queued, fixture.queues.memory_used()), (0, 0));
    fixture.queues.journal().flush().await;
    assert_eq!(fixture.queues.journal().figures().records, 0);
}

#[tokio::test]
async fn what_was_not_settled_is_there_after_a_restart_and_what_was_is_not() {
    let fixture = Fixture::new(|_| ());
    for index in 0..10 {
        fixture.push(["a", "b"][index as usize % 2], index, 100).await;
    }
    assert_eq!(fixture.drain("a").await, [0, 2, 4, 6, 8]);
    let fixture = fixture.restart();
    let total = fixture.total();
    assert_eq!((total.accepted, total.queued), (5, 5));
    assert_eq!(fixture.drain("a").await, [0_i64; 0]);
    fixture.push("b", 10, 100).await;
    assert_eq!(fixture.drain("b").await, [1, 3, 5, 7, 9, 10]);
}

#[tokio::test]
async fn memory_that_is_given_up_costs_no_item_and_no_order() {
    let fixture = Fixture::new(|_| ());
    for index in 0..20 {
        fixture.push("a", index, 100).await;
        if index % 7 == 0 {
            fixture.queues.all()[0].unload();
            assert_eq!(fixture.queues.memory_used(), 0);
        }
    }
    assert_eq!(fixture.drain("a").await, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_quota_drops_the_oldest_when_that_is_asked_for_wherever_they_are() {
    for memory in [1 << 20, 20_000] {
        let fixture = Fixture::new(|settings| {
            settings.memory.max_queue_bytes = memory;
            settings.journal.max_bytes_per_tenant = 64_000;
            settings.journal.when_full = WhenFull::DropOldest;
        });
        for index in 0..200 {
            fixture.push("a", index, 1000).await;
        }
        fixture.push("b", 0, 1000).await;
        let kept = fixture.drain("a").await;
        assert!((60..=64).contains(&kept.len()), "{} with {memory} of memory", kept.len());
        assert_eq!(kept, (200 - kept.len() as i64..200).collect::<Vec<_>>());
        assert_eq!(fixture.total().dropped[DropReason::Evicted as usize], 200 - kept.len() as u64);
        assert_eq!(fixture.drain("b").await, [0]);
    }
}

#[tokio::test]
async fn what_is_too_old_expires_wherever_it_is() {
    for memory in [1 << 20, 20_000] {
        let fixture = Fixture::new(|settings| settings.memory.max_queue_bytes = memory);
        for index in 0..100 {
            fixture.push("a", index, 1000).await;
        }
        fixture.queues.expire(UnixMillis::now()).await;
        assert_eq!(fixture.total().queued, 100);
        let later = UnixMillis(UnixMillis::now().0 + 49 * 3_600_000);
        fixture.queues.expire(later).await;
        let total = fixture.total();
        assert_eq!((total.queued, total.dropped[DropReason::Expired as usize]), (0, 100));
        fixture.queues.journal().flush().await;
        assert_eq!((fixture.queues.journal().figures().records, fixture.queues.memory_used()), (0, 0));
    }
}
