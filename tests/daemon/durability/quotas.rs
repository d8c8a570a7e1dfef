//! What a tenant may have waiting.

use super::LOGS;
use crate::support::{Answer, Arrived, Daemon, FakeIntake, Home, Setup, until};
use serde_json::{Value, json};

/// Posts a log of about so many bytes.
async fn post(daemon: &Daemon, tenant: &str, id: u64, bytes: usize) -> Answer {
    let body = json!([{ "id": id, "message": "x".repeat(bytes) }]).to_string();
    daemon.try_post(tenant, LOGS, body.into_bytes()).await.unwrap()
}

fn ids(items: &[Arrived]) -> Vec<u64> {
    items.iter().map(|item| item.item["id"].as_u64().unwrap()).collect()
}

/// A daemon whose tenants are revoked, with quotas of 1 MiB.
async fn stuck(
    fakeintake: &FakeIntake,
    tenants: &[&str],
    change: impl FnOnce(Setup) -> Setup,
) -> (Daemon, Setup, Home) {
    for tenant in tenants {
        fakeintake.set_key(tenant, false).await;
    }
    let setup = Setup::new(fakeintake, tenants).set("journal.max_bytes_per_tenant", 1 << 20);
    let setup = setup.set("ingest.max_body", 1 << 20).set("delivery.concurrency_per_tenant", 1);
    let (setup, home) = (change(setup), Home::new());
    let daemon = setup.start_in(&home).await;
    for tenant in tenants {
        daemon.logs(tenant, [0]).await;
        daemon.wait_state(tenant, "unauthorized").await;
    }
    (daemon, setup, home)
}

#[tokio::test]
async fn a_full_quota_answers_429_until_there_is_room() {
    let fakeintake = FakeIntake::start();
    let (daemon, setup, home) = stuck(&fakeintake, &["a", "b"], |setup| {
        setup.set("tenants.b.max_bytes", 2 << 20).set("tenancy.from_tags", true)
    })
    .await;
    let mut taken = vec![0];
    let mut refused = None;
    for id in 1..20 {
        let answer = post(&daemon, "a", id, 100_000).await;
        match answer.status {
            202 => taken.push(id),
            _ => refused = Some(answer),
        }
    }
    let refused = refused.unwrap();
    assert_eq!((refused.status, taken.len()), (429, 11), "{refused:?}");
    assert!(refused.retry_after.unwrap().parse::<u64>().unwrap() > 0);
    assert!(refused.text.contains("queue of tenant a is full"), "{}", refused.text);
    // The other tenant has a quota of its own; of a request for both, its part is taken.
    let two = ["a", "b"]
        .map(|tenant| json!({ "id": 99, "message": "x".repeat(100_000), "ddtags": format!("tenant:{tenant}") }));
    let before = daemon.scrape().await;
    let answer = daemon.post_tagged(LOGS, Value::from(two.to_vec()).to_string().into_bytes()).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(daemon.scrape().await.items("b", "queue_items"), before.items("b", "queue_items") + 1);
    let mut of_b = 0;
    while post(&daemon, "b", 1 + of_b, 100_000).await.status == 202 {
        of_b += 1;
    }
    assert_eq!(of_b, 19);
    // After a start the quotas count what is there.
    drop(daemon);
    let daemon = setup.start_in(&home).await;
    assert_eq!(post(&daemon, "a", 99, 100_000).await.status, 429);
    fakeintake.set_key("a", true).await;
    daemon.wait_empty("a").await;
    assert_eq!(post(&daemon, "a", 20, 100_000).await.status, 202);
    daemon.wait_empty("a").await;
    taken.push(20);
    assert_eq!(ids(&fakeintake.items("a", "logs").await), taken);
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    assert_eq!(scrape.items("a", "items_dropped_total"), 0);
}

#[tokio::test]
async fn drop_oldest_evicts_only_that_tenants_items() {
    let fakeintake = FakeIntake::start();
    let (daemon, ..) = stuck(&fakeintake, &["a", "b"], |setup| setup.set("tenants.a.when_full", "drop_oldest")).await;
    daemon.logs("b", [1]).await;
    for id in 1..100 {
        assert_eq!(post(&daemon, "a", id, 100_000).await.status, 202);
    }
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    let evicted = scrape.sum("dogsled_items_dropped_total", &[("tenant", "a"), ("reason", "evicted")]) as u64;
    assert!((88..=92).contains(&evicted), "{evicted}");
    for tenant in ["a", "b"] {
        fakeintake.set_key(tenant, true).await;
        daemon.wait_empty(tenant).await;
    }
    let arrived = ids(&fakeintake.items("a", "logs").await);
    // The payload that was under way when the key was refused is kept: it cannot be dropped.
    assert_eq!(arrived[0], 0);
    assert_eq!(arrived[1..], (1 + evicted..100).collect::<Vec<_>>());
    assert_eq!(ids(&fakeintake.items("b", "logs").await), [0, 1]);
    daemon.scrape().await.assert_balanced();
}

#[tokio::test]
async fn tenants_share_the_common_limit() {
    let fakeintake = FakeIntake::start();
    let tenants = ["a", "b", "c"];
    let (daemon, ..) = stuck(&fakeintake, &tenants, |setup| setup.set("journal.max_bytes", 2 << 20)).await;
    let mut taken = [0_u64; 3];
    for round in 1..30 {
        for (tenant, taken) in tenants.iter().zip(&mut taken) {
            *taken += u64::from(post(&daemon, tenant, round, 100_000).await.status == 202);
        }
    }
    assert!(taken.iter().sum::<u64>() <= 20, "{taken:?} of 100 kB in 2 MiB");
    assert!(taken.iter().all(|taken| *taken >= 4), "{taken:?}");
    assert_eq!(post(&daemon, "a", 99, 100_000).await.status, 429);
}

#[tokio::test]
async fn the_common_limit_refuses_and_never_evicts() {
    let fakeintake = FakeIntake::start();
    let tenants = ["a", "b", "c"];
    let drops = |setup: Setup| setup.set("journal.max_bytes", 2 << 20).set("journal.when_full", "drop_oldest");
    let (daemon, ..) = stuck(&fakeintake, &tenants, drops).await;
    let mut refused = None;
    for round in 1..15 {
        for tenant in tenants {
            let answer = post(&daemon, tenant, round, 100_000).await;
            refused = Some(answer).filter(|answer| answer.status == 429).or(refused);
        }
    }
    let refused = refused.unwrap();
    assert!(refused.text.contains("its share of journal.max_bytes is used up"), "{}", refused.text);
    assert!(refused.retry_after.is_some());
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    assert_eq!(scrape.sum("dogsled_items_dropped_total", &[]), 0.0);
}

#[tokio::test]
async fn too_old_items_expire_alone() {
    let fakeintake = FakeIntake::start();
    // It has no key, so that nothing of it is tried.
    let (daemon, setup, home) = stuck(&fakeintake, &["b"], |setup| setup.set("tenants.a.max_age", "2s")).await;
    daemon.logs("a", 0..50).await;
    daemon.logs("b", 1..50).await;
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    daemon.stop().await;
    let daemon = setup.start_in(&home).await;
    let expired = async |tenant| {
        let labels = [("tenant", tenant), ("reason", "expired")];
        daemon.scrape().await.sum("dogsled_items_dropped_total", &labels) as u64
    };
    // Stamps of an earlier run are believed once an answer of Datadog has confirmed the clock.
    assert_eq!(expired("a").await, 0);
    fakeintake.set_key("b", true).await;
    daemon.wait_empty("b").await;
    until("the old items to expire", async || (expired("a").await == 50).then_some(())).await;
    daemon.logs("a", [99]).await;
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    assert_eq!(scrape.items("a", "queue_items"), 1);
    assert_eq!(ids(&fakeintake.items("b", "logs").await), (0..50).collect::<Vec<_>>());
    assert_eq!((expired("a").await, expired("b").await), (50, 0));
}
