//! The daemon is told to end: what Datadog has is not sent again, the rest is, by the next one.

use super::LOGS;
use super::load::{Emitter, assert_arrived, seed};
use crate::support::{FakeIntake, Home, Scripted, Setup, answer, key_of, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_restart_delivers_refused_items_once() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["down", "revoked", "limited", "fine"]).set("shutdown.grace", "300ms");
    fakeintake.fault("down", json!({ "effect": { "status": { "code": 503 } } })).await;
    let wait = json!({ "X-RateLimit-Reset": "60" });
    fakeintake.fault("limited", json!({ "effect": { "status": { "code": 429, "headers": wait } } })).await;
    fakeintake.set_key("revoked", false).await;
    let home = Home::new();
    let seed = seed();
    let mut emitters: Vec<_> =
        ["down", "revoked", "limited", "fine"].into_iter().map(|tenant| Emitter::new(tenant, seed)).collect();
    for round in 0..3 {
        let daemon = setup.start_in(&home).await;
        for emitter in &mut emitters {
            for _ in 0..30 {
                assert!(emitter.post(&daemon).await);
            }
        }
        if round == 2 {
            fakeintake.end_all_faults().await;
            fakeintake.set_key("revoked", true).await;
        }
        daemon.scrape().await.assert_balanced();
        daemon.stop().await;
    }
    let daemon = setup.start_in(&home).await;
    for emitter in &emitters {
        daemon.wait_empty(&emitter.tenant).await;
        let duplicates = assert_arrived(&fakeintake, emitter).await;
        assert!(duplicates.is_empty(), "{duplicates:?}");
    }
}

/// The requests' items, by tenant and id.
fn ids(fakeintake: &Scripted, tenant: &str) -> BTreeMap<u64, usize> {
    let mut ids = BTreeMap::new();
    for request in fakeintake.seen(LOGS).iter().filter(|request| request.headers["dd-api-key"] == key_of(tenant)) {
        let plain = zstd::decode_all(&request.body[..]).unwrap();
        let logs: Vec<Value> = serde_json::from_slice(&plain).unwrap();
        for log in logs {
            *ids.entry(log["id"].as_u64().unwrap()).or_default() += 1;
        }
    }
    ids
}

#[tokio::test]
async fn shutdown_waits_for_outstanding_answers() {
    let quick = Arc::new(AtomicBool::new(false));
    let fakeintake = Scripted::start({
        let quick = quick.clone();
        move |_| {
            let quick = quick.clone();
            async move {
                // It has taken the items; its answer comes long after the grace.
                if !quick.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(1500)).await;
                }
                answer(202)
            }
        }
    })
    .await;
    let setup =
        Setup::at(&fakeintake.url, &["a"]).set("shutdown.grace", "100ms").set("delivery.concurrency_per_tenant", 2);
    let home = Home::new();
    let daemon = setup.start_in(&home).await;
    for id in 0..10 {
        daemon.logs("a", [id]).await;
        if id < 2 {
            until("a request", async || (fakeintake.seen(LOGS).len() as u64 > id).then_some(())).await;
        }
    }
    let told = Instant::now();
    daemon.stop().await;
    assert!(told.elapsed() < Duration::from_secs(4), "it went on delivering: {:?}", told.elapsed());
    quick.store(true, Ordering::Relaxed);
    assert!(ids(&fakeintake, "a").len() < 10, "there is nothing left for the next one");
    let daemon = setup.start_in(&home).await;
    daemon.wait_empty("a").await;
    assert_eq!(ids(&fakeintake, "a"), (0..10).map(|id| (id, 1)).collect());
}

#[tokio::test]
async fn shutdown_neither_loses_nor_repeats_a_divided_batch() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a"]).set("shutdown.grace", "50ms").set("batch.max_age", "100ms");
    fakeintake.fault("a", json!({ "effect": { "reject_items": { "contains": "poison" } } })).await;
    fakeintake.fault("a", json!({ "effect": { "delay_ms": 60 } })).await;
    let home = Home::new();
    let mut daemon = setup.start_in(&home).await;
    let poisoned = [17_u64, 18, 400, 999];
    let message = |id: &u64| if poisoned.contains(id) { "poison" } else { "m" };
    let logs: Vec<Value> = (0..1000).map(|id| json!({ "message": message(&id), "id": id })).collect();
    daemon.post("a", LOGS, &Value::from(logs)).await;
    let mut ends_in_between = 0;
    loop {
        let attempts = fakeintake.count("a", "logs", "attempts").await + 20;
        until("some progress", async || {
            let enough =
                fakeintake.count("a", "logs", "attempts").await >= attempts || daemon.scrape().await.is_empty("a");
            enough.then_some(())
        })
        .await;
        daemon.stop().await;
        let settled = fakeintake.count("a", "logs", "items").await as usize + home.dead_letters("a").len();
        daemon = setup.start_in(&home).await;
        match settled {
            0 => {}
            1..1000 => ends_in_between += 1,
            _ => break,
        }
    }
    assert!(ends_in_between > 1, "it was never in the middle of it");
    daemon.wait_empty("a").await;
    daemon.scrape().await.assert_balanced();
    let mut arrived: Vec<u64> =
        fakeintake.items("a", "logs").await.iter().map(|item| item.item["id"].as_u64().unwrap()).collect();
    arrived.sort_unstable();
    assert_eq!(arrived, (0..1000).filter(|id| !poisoned.contains(id)).collect::<Vec<_>>());
    let mut dead: Vec<u64> =
        home.dead_letters("a").iter().map(|line| line["body"][0]["id"].as_u64().unwrap()).collect();
    dead.sort_unstable();
    assert_eq!(dead, poisoned);
}
