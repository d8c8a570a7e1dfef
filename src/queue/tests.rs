//! The queues over a real journal.

use super::*;
use crate::journal::{Fsync, Options};
use crate::settings::WhenFull;
use crate::types::{Generation, Kind, UnixMillis};
use std::time::Duration;
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
        let queues = Arc::new(Queues::new(&Machine::system(), &settings, ledger.clone(), Arc::new(journal)));
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
            match queue.take(LOGS, Kind::Logs.limits(), Duration::ZERO, Instant::now()) {
                Take::Batch(batch) => {
                    let items = batch.chunks.iter().map(|chunk| u64::from(chunk.items)).sum();
                    indices.extend(batch.chunks.iter().map(|chunk| chunk.oldest.0));
                    self.ledger.account(&queue.id, Kind::Logs).deliver(items, 0);
                    batch.finalizer.finalize(items, None);
                }
                _ if queue.wants(LOGS) => queue.load(LOGS).await.unwrap(),
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

const LOGS: LaneId = LaneId { kind: Kind::Logs, generation: Generation::UNKNOWN };

fn chunk(tenant: &str, index: i64, bytes: usize) -> Chunk {
    Chunk {
        tenant: TenantId::new(tenant).unwrap(),
        kind: Kind::Logs,
        generation: Generation::UNKNOWN,
        items: 1,
        oldest: UnixMillis(index),
        accepted: UnixMillis::now(),
        bytes: vec![b'x'; bytes].into(),
        follow: None,
    }
}

#[tokio::test]
async fn a_refused_tenant_leaves_nothing_and_costs_no_other() {
    let fixture = Fixture::new(|settings| settings.journal.max_bytes_per_tenant = 4000);
    let refused = fixture.queues.submit(vec![chunk("b", 0, 100), chunk("b", 0, 5000)]).await;
    assert!(matches!(refused, Err(Refused::Full { tenant, limit: Limit::Quota, .. }) if tenant.as_str() == "b"));
    assert_eq!((fixture.queues.memory_used(), fixture.total().accepted), (0, 0));
    let chunks = ["b", "a", "b"].map(|tenant| chunk(tenant, 0, if tenant == "b" { 3000 } else { 100 }));
    let refused = fixture.queues.submit(chunks.into()).await.unwrap();
    assert!(matches!(&refused[..], [Refused::Full { tenant, .. }] if tenant.as_str() == "b"), "{refused:?}");
    assert_eq!(fixture.total().accepted, 1);
    assert_eq!(fixture.queues.tenant(&TenantId::new("b").unwrap()).disk_used(), 0);
    fixture.queues.stop_accepting();
    assert!(matches!(fixture.queues.submit(vec![chunk("a", 0, 1)]).await, Err(Refused::Stopping)));
    assert_eq!(fixture.queues.journal().figures().records, 1);
}

#[tokio::test]
async fn a_tenant_is_announced_once_until_left() {
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
async fn spilled_items_are_read_back_in_order() {
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
async fn a_restart_keeps_exactly_unfinalized_items() {
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
async fn a_restart_keeps_bytes_on_disk() {
    for memory in [1 << 20, 2000] {
        let mut fixture = Fixture::new(|settings| settings.memory.max_queue_bytes = memory);
        for index in 0..20 {
            fixture.push("a", index, 50 + 10 * index as usize).await;
            fixture.push("b", index, 1).await;
        }
        let bytes = |fixture: &Fixture| {
            let shown = |queue: &Arc<TenantQueue>| queue.figures().iter().map(|lane| lane.bytes).sum::<usize>();
            let of = |queue: &Arc<TenantQueue>| (queue.disk_used(), shown(queue));
            fixture.queues.all().iter().map(of).collect::<Vec<_>>()
        };
        for rounds in 0..3 {
            let before = bytes(&fixture);
            let waiting = fixture.queues.journal().lanes();
            assert_eq!(before.len(), waiting.len());
            for ((used, shown), (_, backlog)) in before.iter().zip(&waiting) {
                assert_eq!((*used as u64, *shown as u64), (backlog.bytes, backlog.bytes), "{rounds}, {memory}");
            }
            fixture = fixture.restart();
            assert_eq!(bytes(&fixture), before);
            // Some leave, and are gone by the next round.
            let queue = fixture.queues.tenant(&TenantId::new("a").unwrap());
            queue.load(LOGS).await.unwrap();
            assert_eq!(bytes(&fixture), before, "what is read back takes as much of the disk as before");
            let limits = crate::types::Limits { items: 5, ..Kind::Logs.limits() };
            let Take::Batch(batch) = queue.take(LOGS, limits, Duration::ZERO, Instant::now()) else {
                panic!("some were read back")
            };
            batch.finalizer.finalize(batch.chunks.len() as u64, None);
            drop(batch);
            fixture.queues.journal().flush().await;
        }
        fixture.drain("a").await;
        fixture.drain("b").await;
        assert_eq!(fixture.queues.disk_used(), 0);
    }
}

#[tokio::test]
async fn other_backlogs_evict_nothing() {
    let fixture = Fixture::new(|settings| {
        settings.journal.max_bytes = 30_000;
        settings.journal.max_bytes_per_tenant = 10_000;
        settings.journal.when_full = WhenFull::DropOldest;
    });
    fixture.push("a", 0, 1000).await;
    for tenant in ["b", "c", "d", "e", "f", "g"] {
        for _ in 0..8 {
            let _ = fixture.queues.submit(vec![chunk(tenant, 0, 1000)]).await;
        }
    }
    // Less is free in all than this would take, and its own quota is far from full.
    let refused = fixture.queues.submit(vec![chunk("a", 1, 5000)]).await.unwrap_err();
    assert!(matches!(&refused, Refused::Full { limit: Limit::Common, .. }), "{refused:?}");
    assert!(refused.to_string().contains("journal.max_bytes"), "{refused}");
    assert_eq!(fixture.drain("a").await, [0]);
    let of_a = fixture.ledger.account(&TenantId::new("a").unwrap(), Kind::Logs).read();
    assert_eq!((of_a.dropped, fixture.total().dropped), ([0; 5], [0; 5]));
}

#[tokio::test]
async fn unloading_keeps_items_and_order() {
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
async fn drop_oldest_evicts_in_memory_and_on_disk() {
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
        fixture.queues.expire(Instant::now() + Duration::from_secs(60)).await;
        assert_eq!(fixture.total().queued, 100);
        fixture.queues.expire(Instant::now() + Duration::from_secs(49 * 3600)).await;
        let total = fixture.total();
        assert_eq!((total.queued, total.dropped[DropReason::Expired as usize]), (0, 100));
        fixture.queues.journal().flush().await;
        assert_eq!((fixture.queues.journal().figures().records, fixture.queues.memory_used()), (0, 0));
    }
}

#[tokio::test]
async fn a_reload_applies_to_queued_items() {
    let fixture = Fixture::new(|settings| settings.journal.max_bytes_per_tenant = 1_000);
    fixture.push("a", 0, 900).await;
    let full = || fixture.queues.submit(vec![chunk("a", 1, 900)]);
    assert!(matches!(full().await, Err(Refused::Full { .. })));
    let mut settings = fixture.settings.clone();
    settings.journal.max_bytes_per_tenant = 2_000;
    fixture.queues.reload(&settings);
    full().await.unwrap();
    settings.journal.max_bytes = 1_800;
    fixture.queues.reload(&settings);
    assert!(
        matches!(fixture.queues.submit(vec![chunk("b", 2, 900)]).await, Err(Refused::Full { .. })),
        "the disk is full"
    );
    let later = Instant::now() + Duration::from_secs(60);
    fixture.queues.expire(later).await;
    assert_eq!(fixture.total().queued, 2);
    settings.journal.max_age = Duration::from_secs(1);
    fixture.queues.reload(&settings);
    fixture.queues.expire(later + Duration::from_secs(60)).await;
    assert_eq!((fixture.total().queued, fixture.total().dropped[DropReason::Expired as usize]), (0, 2));
}

/// Damages the payloads of these records of a journal that nobody has open; all records are of one size.
fn damage(dir: &TempDir, payloads: &[u8]) {
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        for payload in payloads {
            let found = bytes.windows(64).position(|window| window.iter().all(|byte| byte == payload));
            bytes[found.unwrap() + 10] ^= 1;
        }
        std::fs::write(&path, bytes).unwrap();
    }
}

#[tokio::test]
async fn a_damaged_record_costs_its_own_items_only() {
    for (memory, when_full) in [(1 << 20, WhenFull::Reject), (2000, WhenFull::Reject), (2000, WhenFull::DropOldest)] {
        let fixture = Fixture::new(|settings| settings.journal.max_bytes_per_tenant = 1 << 20);
        for index in 0..20 {
            let bytes = vec![b'a' + index as u8; 1000].into();
            fixture.queues.submit(vec![Chunk { bytes, ..chunk("a", index, 0) }]).await.unwrap();
        }
        let Fixture { queues, mut settings, dir, .. } = fixture;
        queues.journal().close();
        drop(queues);
        damage(&dir, b"diq");
        settings.memory.max_queue_bytes = memory;
        settings.journal.when_full = when_full;
        // Room for twelve: the drop to make room for one more passes a damaged record.
        settings.journal.max_bytes_per_tenant = if when_full == WhenFull::DropOldest { 13_000 } else { 1 << 20 };
        let fixture = Fixture::open(settings, dir);
        fixture.push("a", 99, 1000).await;
        let kept = fixture.drain("a").await;
        let total = fixture.total();
        let (damaged, evicted) =
            (total.dropped[DropReason::Damaged as usize], total.dropped[DropReason::Evicted as usize]);
        assert_eq!((total.queued, damaged, kept.len() as u64 + evicted), (0, 3, 18), "{kept:?}");
        let all = (0..20).filter(|index| ![3, 8, 16].contains(index)).chain([99]);
        assert_eq!(kept, all.skip(evicted as usize).collect::<Vec<_>>());
        assert_eq!(fixture.queues.memory_used(), 0);
    }
}

#[tokio::test]
async fn records_read_before_their_push_are_read_again() {
    let fixture = Fixture::new(|settings| settings.memory.max_queue_bytes = 1000);
    let stored = |queue: &Arc<TenantQueue>, seq, chunk: Chunk| {
        let room = queue_room(&fixture.queues, chunk.bytes.len());
        assert_eq!(queue.id, chunk.tenant);
        Stored { chunk, receipt: Receipt { seq, room }, memory: None }
    };
    let queue = fixture.queues.tenant(&TenantId::new("a").unwrap());
    // The journal's thread calls back a moment after a record can be read.
    let journal = fixture.queues.journal();
    let chunks = [0, 1].map(|index| chunk("a", index, 800));
    let seqs = journal.append(chunks.iter().map(entry_of).collect(), |_| ()).await.unwrap();
    let [first, second] = chunks;
    queue.push(stored(&queue, seqs.start, first), Instant::now());
    queue.load(LOGS).await.unwrap();
    assert_eq!(fixture.drain("a").await, [0]);
    queue.push(stored(&queue, Seq(seqs.start.0 + 1), second), Instant::now());
    assert_eq!(fixture.drain("a").await, [1]);
    assert_eq!(fixture.total().dropped, [0; 5]);
}

fn queue_room(queues: &Queues, bytes: usize) -> Reservation {
    queues.shared.disk.grant(&Arc::default(), bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn drop_oldest_refuses_no_concurrent_emitter() {
    let fixture = Fixture::new(|settings| {
        settings.memory.max_queue_bytes = 20_000;
        settings.journal.max_bytes_per_tenant = 64_000;
        settings.journal.when_full = WhenFull::DropOldest;
    });
    let mut emitters = tokio::task::JoinSet::new();
    for emitter in 0..8 {
        let queues = fixture.queues.clone();
        emitters.spawn(async move {
            for index in 0..100 {
                queues.submit(vec![chunk("a", emitter * 1000 + index, 1000)]).await.unwrap();
            }
        });
    }
    let loading = fixture.queues.tenant(&TenantId::new("a").unwrap());
    emitters.spawn(async move {
        for _ in 0..100 {
            loading.load(LOGS).await.unwrap();
        }
    });
    emitters.join_all().await;
    let kept = fixture.drain("a").await.len() as u64;
    let total = fixture.total();
    assert_eq!((total.accepted, total.queued), (800, 0));
    assert_eq!(total.dropped[DropReason::Evicted as usize], 800 - kept);
    assert!((40..=64).contains(&kept), "{kept}");
    assert_eq!(fixture.queues.memory_used(), 0);
}

#[tokio::test]
async fn what_can_never_fit_evicts_nothing() {
    let fixture = Fixture::new(|settings| {
        settings.journal.max_bytes_per_tenant = 10_000;
        settings.journal.when_full = WhenFull::DropOldest;
    });
    for index in 0..5 {
        fixture.push("a", index, 1000).await;
    }
    let refused = fixture.queues.submit(vec![chunk("a", 5, 20_000)]).await;
    assert!(matches!(refused, Err(Refused::Full { .. })));
    assert_eq!(fixture.drain("a").await, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn the_age_shown_is_the_oldest_items() {
    let fixture = Fixture::new(|settings| settings.memory.max_queue_bytes = 1000);
    let aged = |index: i64| Chunk {
        accepted: UnixMillis(UnixMillis::now().0 - 1000 * (10 - index)),
        ..chunk("a", index, 800 << 10)
    };
    for index in 0..4 {
        fixture.queues.submit(vec![aged(index)]).await.unwrap();
    }
    let queue = fixture.queues.tenant(&TenantId::new("a").unwrap());
    let oldest = || UnixMillis::now().0 - queue.figures()[0].oldest.unwrap().0;
    assert!(oldest() >= 10_000);
    for _ in 0..2 {
        queue.load(LOGS).await.unwrap();
        let due = queue.take(LOGS, Kind::Logs.limits(), Duration::ZERO, Instant::now());
        assert!(matches!(due, Take::Batch(_)), "one is in memory");
    }
    // The age of what was read last is the best known: what follows it is no older.
    assert!((7_000..10_000).contains(&oldest()), "{}", oldest());
}

#[tokio::test]
async fn expiry_leaves_the_age_of_the_rest() {
    // All is on disk only.
    let fixture = Fixture::new(|settings| settings.memory.max_queue_bytes = 1);
    let now = UnixMillis::now().0;
    let hours = [60, 55, 50, 40, 30];
    for (index, hours) in hours.into_iter().enumerate() {
        let accepted = UnixMillis(now - hours * 3_600_000);
        fixture.queues.submit(vec![Chunk { accepted, ..chunk("a", index as i64, 100) }]).await.unwrap();
    }
    // They are of an earlier run.
    let fixture = fixture.restart();
    fixture.queues.expire(Instant::now()).await;
    assert_eq!(fixture.total().queued, 5, "the clock may be wrong");
    fixture.queues.machine().learn_time(UnixMillis(now));
    fixture.queues.expire(Instant::now()).await;
    let queue = fixture.queues.tenant(&TenantId::new("a").unwrap());
    let lane = queue.figures()[0];
    assert_eq!((lane.items, lane.oldest), (2, Some(UnixMillis(now - 40 * 3_600_000))));
}

#[tokio::test]
async fn many_backlogs_stay_near_the_memory_limit() {
    const LIMIT: usize = 4 << 20;
    let fixture = Fixture::new(|settings| settings.memory.max_queue_bytes = LIMIT);
    for tenant in 0..50 {
        for index in 0..15 {
            fixture.push(&format!("t{tenant}"), index, 40_000).await;
        }
    }
    let fixture = fixture.restart();
    for queue in fixture.queues.all() {
        while queue.wants(LOGS) {
            queue.load(LOGS).await.unwrap();
        }
    }
    let used = fixture.queues.memory_used();
    assert!(used <= LIMIT + 50 * 80_000, "{used}");
    for queue in fixture.queues.all() {
        let due = queue.take(LOGS, Kind::Logs.limits(), Duration::ZERO, Instant::now());
        assert!(matches!(due, Take::Batch(_)), "every lane goes on");
    }
}
