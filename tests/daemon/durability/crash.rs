//! The daemon dies at any moment.

use super::LOGS;
use super::load::{Duplicates, Emitter, assert_arrived, seed};
use crate::support::{Daemon, FakeIntake, Home, Setup, now_ms};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const TENANTS: [&str; 4] = ["a", "b", "c", "d"];

/// Requests that one tenant has under way at once.
const AT_ONCE: usize = 3;

/// Within this time the stand-in has dealt with what a dead process had sent: longer than it delays anything.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// The tenant that loses answers; what the others get twice is a crash's doing alone.
const LOSES_ANSWERS: &str = "d";

fn fault(rng: &mut StdRng, tenant: &str) -> Value {
    let effect = match rng.random_range(0..5) {
        0 => json!({ "status": { "code": 503 } }),
        1 => json!({ "status": { "code": 429, "headers": { "X-RateLimit-Reset": "1" } } }),
        2 => json!({ "delay_ms": rng.random_range(5..200) }),
        3 if tenant == LOSES_ANSWERS => json!({ "answer_lost": {} }),
        3 => json!({ "close": { "when": "half_body" } }),
        _ => json!({ "close": { "when": "headers" } }),
    };
    json!({ "effect": effect, "times": rng.random_range(1..8) })
}

/// Emits and scrapes until the daemon is dead, which it is after `life`.
async fn live(daemon: &Daemon, emitters: &mut [Emitter], life: Duration) {
    let emitting = emitters.iter_mut().map(async |emitter| while emitter.post(daemon).await {});
    let scraping = async {
        while let Some(scrape) = daemon.try_scrape().await {
            scrape.assert_balanced();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let killing = async {
        tokio::time::sleep(life).await;
        daemon.kill();
    };
    tokio::join!(futures(emitting), scraping, killing);
}

/// Waits for all of them, side by side.
async fn futures(all: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// What came in each life and again in a later one: the requests, by the life that they came in.
fn again(duplicates: &Duplicates, ends: &[i64]) -> BTreeMap<usize, BTreeSet<u64>> {
    let mut requests: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
    for arrivals in duplicates.values() {
        for arrived in &arrivals[..arrivals.len() - 1] {
            let life = ends.partition_point(|end| *end < arrived.at_ms);
            requests.entry(life).or_default().insert(arrived.request);
        }
    }
    requests
}

async fn killed_again_and_again(fsync: &str, rounds: usize) {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &TENANTS).set("journal.fsync", fsync).set("memory.max_queue_bytes", 1 << 20);
    let setup = setup.set("ingest.max_body", 1 << 20).set("delivery.concurrency_per_tenant", AT_ONCE);
    let home = Home::new();
    let mut emitters: Vec<_> = TENANTS.iter().map(|tenant| Emitter::new(tenant, rng.random())).collect();
    let mut ends = Vec::new();
    for _ in 0..rounds {
        for tenant in TENANTS {
            fakeintake.fault(tenant, fault(&mut rng, tenant)).await;
        }
        if rng.random_ratio(1, 5) {
            // While it starts.
            let daemon = setup.spawn_in(&home);
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..150))).await;
            daemon.kill();
            tokio::time::sleep(LAST_WORDS).await;
            ends.push(now_ms());
        }
        let daemon = setup.start_in(&home).await;
        let life = Duration::from_millis(rng.random_range(50..600));
        live(&daemon, &mut emitters, life).await;
        tokio::time::sleep(LAST_WORDS).await;
        ends.push(now_ms());
    }
    fakeintake.end_all_faults().await;
    let daemon = setup.start_in(&home).await;
    for tenant in TENANTS {
        daemon.wait_empty(tenant).await;
    }
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    assert_eq!(scrape.sum("dogsled_items_dropped_total", &[]), 0.0);
    assert_eq!(scrape.sum("dogsled_items_dead_lettered_total", &[]), 0.0);
    for emitter in &emitters {
        let duplicates = assert_arrived(&fakeintake, emitter).await;
        let again = again(&duplicates, &ends);
        let (accepted, twice) = (emitter.accepted.len(), duplicates.len());
        let most = again.values().map(BTreeSet::len).max().unwrap_or(0);
        eprintln!("{}: {accepted} accepted, {twice} twice, of {most} payloads at most in one life", emitter.tenant);
        assert!(accepted > 100, "too little came through for the test to mean anything");
        if emitter.tenant != LOSES_ANSWERS {
            assert!(most <= AT_ONCE, "more came twice than was under way when it was killed: {again:?}");
        }
    }
}

#[tokio::test]
async fn nothing_accepted_is_lost_whenever_it_is_killed() {
    killed_again_and_again("interval", 20).await;
}

#[tokio::test]
async fn fsync_always_survives_kills() {
    killed_again_and_again("always", 8).await;
}

#[tokio::test]
async fn fsync_never_survives_kills() {
    killed_again_and_again("never", 8).await;
}

#[tokio::test]
async fn a_kill_repeats_only_the_divided_payload() {
    let fakeintake = FakeIntake::start();
    fakeintake.fault("a", json!({ "effect": { "reject_items": { "contains": "poison" } } })).await;
    fakeintake.fault("a", json!({ "effect": { "delay_ms": 60 } })).await;
    let setup = Setup::new(&fakeintake, &["a"]).set("delivery.concurrency_per_tenant", 1);
    let home = Home::new();
    let daemon = setup.start_in(&home).await;
    daemon.logs("a", 1000..1100).await;
    fakeintake.wait_items("a", "logs", 100).await;
    let poisoned = [300_u64, 999];
    let message = |id: &u64| if poisoned.contains(id) { "poison" } else { "m" };
    let logs: Vec<Value> = (0..1000).map(|id| json!({ "message": message(&id), "id": id })).collect();
    daemon.post("a", LOGS, &Value::from(logs)).await;
    // The second half, with one that is refused at its end, is not done.
    fakeintake.wait_items("a", "logs", 100 + 500).await;
    daemon.kill();
    assert!(home.dead_letters("a").len() < poisoned.len(), "it was not in the middle of it");
    let daemon = setup.start_in(&home).await;
    daemon.wait_empty("a").await;
    daemon.scrape().await.assert_balanced();
    let mut arrived: BTreeMap<u64, usize> = BTreeMap::new();
    for item in fakeintake.items("a", "logs").await {
        *arrived.entry(item.item["id"].as_u64().unwrap()).or_default() += 1;
    }
    assert!((1000..1100).all(|id| arrived.get(&id) == Some(&1)), "what was done before came again: {arrived:?}");
    let good = (0..1000).filter(|id| !poisoned.contains(id));
    assert_eq!(arrived.keys().copied().collect::<Vec<_>>(), good.chain(1000..1100).collect::<Vec<_>>());
    let twice = arrived.values().filter(|times| **times == 2).count();
    assert!(twice >= 498 && arrived.values().all(|times| *times <= 2), "{twice} came twice: {arrived:?}");
    let dead: BTreeSet<u64> =
        home.dead_letters("a").iter().map(|line| line["body"][0]["id"].as_u64().unwrap()).collect();
    assert_eq!(dead, poisoned.into());
}
