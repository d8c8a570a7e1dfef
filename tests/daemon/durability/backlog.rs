//! A backlog that is far larger than the memory for waiting items.

use super::LOGS;
use crate::support::{Daemon, FakeIntake, Home, Scripted, Setup, answer, key_of, until};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// Bytes of one log's text, logs of one request, and requests of the backlog: 240 MB.
const TEXT: usize = 20_000;
const LOGS_EACH: u64 = 100;
const REQUESTS: u64 = 120;

/// What the daemon may have resident: itself as built for tests, its memory for waiting items, what is on its way to
/// the journal, a few payloads and what the allocator keeps.
const RESIDENT: u64 = 140 * MIB;

/// The ids of a tenant's logs in the order of their arrival.
fn ids(fakeintake: &Scripted, tenant: &str) -> Vec<u64> {
    let key = key_of(tenant);
    let requests = fakeintake.seen(LOGS).into_iter().filter(|request| request.headers["dd-api-key"] == key);
    let mut ids = Vec::new();
    for request in requests {
        let plain = zstd::decode_all(&request.body[..]).unwrap();
        // The texts hold no such thing; reading all of them as JSON takes too long.
        let text = String::from_utf8(plain).unwrap();
        ids.extend(text.split("\"id\":").skip(1).map(|rest| {
            let end = rest.find(|char: char| !char.is_ascii_digit()).unwrap();
            rest[..end].parse::<u64>().unwrap()
        }));
    }
    ids
}

async fn post_large(daemon: &Daemon, text: &str, ids: std::ops::Range<u64>) {
    let logs: Vec<Value> = ids.map(|id| json!({ "id": id, "message": text })).collect();
    daemon.post("stuck", LOGS, &Value::from(logs)).await;
}

/// Posts one log of a tenant that flows, and waits until it has arrived.
async fn assert_flows(daemon: &Daemon, fakeintake: &Scripted, id: u64) {
    let begun = Instant::now();
    daemon.logs("fine", [id]).await;
    until("the other tenant's log", async || (ids(fakeintake, "fine").last() == Some(&id)).then_some(())).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "another tenant waited for {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_daemon_that_can_deliver_nothing_rests() {
    let fakeintake = FakeIntake::start();
    let tenants = ["revoked", "down", "limited", "hanging", "gone"];
    let setup = Setup::new(&fakeintake, &tenants).set("memory.max_queue_bytes", MIB).set("ingest.max_body", MIB);
    let setup = setup.set("delivery.retry_initial", "1s").set("delivery.retry_max", "60s");
    let setup = setup.set("delivery.timeout", "60s");
    fakeintake.set_key("revoked", false).await;
    let limited = json!({ "X-RateLimit-Reset": "60", "X-RateLimit-Limit": "1", "X-RateLimit-Period": "60" });
    for (tenant, effect) in [
        ("down", json!({ "status": { "code": 503 } })),
        ("gone", json!({ "close": {} })),
        ("limited", json!({ "status": { "code": 429, "headers": limited } })),
        ("hanging", json!({ "hang": {} })),
    ] {
        fakeintake.fault(tenant, json!({ "effect": effect })).await;
    }
    let home = Home::new();
    let daemon = setup.start_in(&home).await;
    for id in 0..10 {
        for tenant in tenants {
            daemon.post(tenant, LOGS, &json!([{ "id": id, "message": "x".repeat(200_000) }])).await;
        }
    }
    assert_rests(&daemon).await;
    daemon.kill();
    // Without one tenant's configuration, and with everything on disk.
    let daemon = Setup::new(&fakeintake, &tenants[..4]).start_in(&home).await;
    assert_rests(&daemon).await;
}

/// Fails when it takes more than a tenth of a processor for long.
async fn assert_rests(daemon: &Daemon) {
    let mut before = daemon.cpu();
    until("it to rest", async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (was, is) = (before, daemon.cpu());
        before = is;
        (is - was < Duration::from_millis(100)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_larger_than_memory_is_delivered() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a"]).set("memory.max_queue_bytes", MIB).set("ingest.max_body", 16 * MIB);
    let daemon = setup.start().await;
    // 6 MB, of which no payload holds more than 5, and a log of nearly a megabyte.
    let logs = |ids: std::ops::Range<u64>, bytes: usize| -> Value {
        ids.map(|id| json!({ "id": id, "message": "x".repeat(bytes) })).collect()
    };
    daemon.post("a", LOGS, &logs(0..300, TEXT)).await;
    daemon.post("a", LOGS, &logs(300..301, 900_000)).await;
    daemon.wait_empty("a").await;
    let arrived = fakeintake.items("a", "logs").await;
    let mut ids: Vec<u64> = arrived.iter().map(|item| item.item["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..301).collect::<Vec<_>>());
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    assert_eq!(scrape.sum("dogsled_memory_queue_bytes", &[]), 0.0);
}

#[tokio::test]
async fn a_backlog_beyond_memory_returns_in_order() {
    let revoked = Arc::new(AtomicBool::new(true));
    let fakeintake = Scripted::start({
        let revoked = revoked.clone();
        move |request| {
            let refused = request.headers["dd-api-key"] == key_of("stuck") && revoked.load(Ordering::Relaxed);
            std::future::ready(answer(match request.path.as_str() {
                _ if refused => 403,
                LOGS => 202,
                _ => 200,
            }))
        }
    })
    .await;
    let setup = Setup::at(&fakeintake.url, &["stuck", "fine"]).set("delivery.concurrency_per_tenant", 1);
    let setup = setup.set("memory.max_queue_bytes", 8 * MIB).set("ingest.max_body", 4 * MIB);
    let setup = setup.set("delivery.validate_interval", "1s");
    let home = Home::new();
    let daemon = setup.start_in(&home).await;
    let text = "x".repeat(TEXT);
    let mut most = 0;
    for request in 0..REQUESTS {
        post_large(&daemon, &text, request * LOGS_EACH..(request + 1) * LOGS_EACH).await;
        most = most.max(daemon.resident());
        if request % 30 == 0 {
            assert_flows(&daemon, &fakeintake, request).await;
        }
    }
    let mut next = REQUESTS * LOGS_EACH;
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    assert_eq!(scrape.items("stuck", "queue_items"), next);
    assert!(scrape.sum("dogsled_memory_queue_bytes", &[]) as u64 <= 8 * MIB);
    assert!(most < RESIDENT, "{} MiB resident", most / MIB);

    // It dies, and another one starts with the backlog.
    daemon.kill();
    let begun = Instant::now();
    let daemon = setup.start_in(&home).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?} to start with a backlog of 240 MB");
    assert_eq!(daemon.scrape().await.items("stuck", "queue_items"), next);
    assert_flows(&daemon, &fakeintake, REQUESTS).await;
    assert!(daemon.resident() < RESIDENT, "{} MiB resident after the start", daemon.resident() / MIB);

    // It comes back: fresh data is taken while the backlog drains, and arrives after it.
    let refused =
        fakeintake.seen(LOGS).iter().filter(|request| request.headers["dd-api-key"] == key_of("stuck")).count();
    revoked.store(false, Ordering::Relaxed);
    let mut most = 0;
    while !daemon.scrape().await.is_empty("stuck") {
        if next < (REQUESTS + 20) * LOGS_EACH {
            post_large(&daemon, &text, next..next + 10).await;
            next += 10;
        }
        most = most.max(daemon.resident());
        assert_flows(&daemon, &fakeintake, next).await;
    }
    assert!(most < RESIDENT, "{} MiB resident while it drained", most / MIB);
    let mut arrived = ids(&fakeintake, "stuck");
    // What was tried while the key was refused is at the front, and is no delivery.
    arrived.drain(..arrived.len() - next as usize);
    assert!(refused < 20, "a refused key was used {refused} times");
    assert_eq!(arrived, (0..next).collect::<Vec<_>>());
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    assert_eq!(scrape.sum("dogsled_memory_queue_bytes", &[]), 0.0);
}
