//! First attempts are in order of acceptance, per tenant and kind.

use super::LOGS;
use crate::support::{FakeIntake, Scripted, Setup, answer, until};
use rand::RngExt;
use serde_json::{Value, json};
use std::time::Duration;

fn random_text(length: usize) -> String {
    rand::rng().sample_iter(rand::distr::Alphanumeric).take(length).map(char::from).collect()
}

#[tokio::test]
async fn one_request_at_once_keeps_acceptance_order() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a"]).set("delivery.concurrency_per_tenant", 1).set("batch.max_age", "1ms");
    let daemon = setup.start().await;
    for effect in [json!({ "status": { "code": 503 } }), json!({ "close": {} }), json!({ "answer_lost": {} })] {
        fakeintake.fault("a", json!({ "skip": 3, "times": 3, "effect": effect })).await;
    }
    let mut next = 0;
    for round in 0..40 {
        let count = [1, 700, 3, 1000][round % 4];
        daemon.logs("a", next..next + count).await;
        next += count;
    }
    daemon.wait_empty("a").await;
    let arrived = fakeintake.items("a", "logs").await;
    let mut firsts: Vec<u64> = Vec::new();
    for item in &arrived {
        let id = item.item["id"].as_u64().unwrap();
        if firsts.last().is_none_or(|last| id > *last) {
            firsts.push(id);
        }
    }
    assert_eq!(firsts, (0..next).collect::<Vec<_>>());
}

/// A batch that takes long to compress must not be overtaken by what was accepted after it. Requests that start
/// together may still arrive in another order, each on its connection: at most as many as there are at once.
#[tokio::test]
async fn a_slow_build_is_not_overtaken() {
    const AT_ONCE: usize = 4;
    let fakeintake = Scripted::start(|_| async {
        // Longer than opening a connection can take.
        tokio::time::sleep(Duration::from_millis(30)).await;
        answer(202)
    })
    .await;
    let setup = Setup::at(&fakeintake.url, &["a"]).set("delivery.concurrency_per_tenant", AT_ONCE);
    let daemon = setup.set("batch.max_age", "1ms").set("batch.level", 9).start().await;
    let text = random_text(4_000);
    let mut next = 0;
    for _ in 0..3 {
        let large: Vec<Value> = (next..next + 1000).map(|id| json!({ "message": text, "id": id })).collect();
        daemon.post("a", LOGS, &Value::from(large)).await;
        next += 1000;
        for _ in 0..30 {
            daemon.logs("a", [next]).await;
            next += 1;
        }
    }
    daemon.wait_empty("a").await;
    let firsts: Vec<u64> = fakeintake
        .seen(LOGS)
        .iter()
        .map(|request| {
            let plain = zstd::decode_all(&request.body[..]).unwrap();
            let logs: Vec<Value> = serde_json::from_slice(&plain).unwrap();
            logs[0]["id"].as_u64().unwrap()
        })
        .collect();
    let mut sorted = firsts.clone();
    sorted.sort_unstable();
    for (place, id) in firsts.iter().enumerate() {
        let due = sorted.binary_search(id).unwrap();
        assert!(place.abs_diff(due) < AT_ONCE, "request {due} came as {place}: {firsts:?}");
    }
}

#[tokio::test]
async fn held_items_are_delivered_in_order() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a"]).set("delivery.concurrency_per_tenant", 1);
    let daemon = setup.start().await;
    fakeintake.set_key("a", false).await;
    for id in 0..20 {
        daemon.logs("a", [id]).await;
    }
    daemon.wait_state("a", "unauthorized").await;
    for id in 20..250 {
        daemon.logs("a", [id]).await;
    }
    fakeintake.set_key("a", true).await;
    fakeintake.wait_items("a", "logs", 250).await;
    let arrived = fakeintake.items("a", "logs").await;
    let ids: Vec<u64> = arrived.iter().map(|item| item.item["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (0..250).collect::<Vec<_>>());
    until("the tenant to be active", async || (daemon.scrape().await.state("a").unwrap() == "active").then_some(()))
        .await;
}
