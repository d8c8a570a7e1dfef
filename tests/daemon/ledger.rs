//! Conservation of items: at every scrape, per tenant and kind, accepted = delivered + queued + dead-lettered + dropped,
//! whatever goes wrong meanwhile; and the figures are those that emitters and Datadog see.

use crate::support::{Daemon, FakeIntake, Scrape, Setup, event, now_ms};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long is sent.
const LENGTH: Duration = Duration::from_secs(4);

const TENANTS: [&str; 7] = ["well", "failing", "throttled", "poisoned", "late", "small", "revoked"];

/// The totals that never fall.
const TOTALS: [&str; 5] = [
    "items_accepted_total",
    "items_delivered_total",
    "items_dead_lettered_total",
    "items_dropped_total",
    "items_late_total",
];

/// Sends requests of all sorts for one tenant until the end; counts the accepted items as soon as their answer is there.
async fn send(daemon: Arc<Daemon>, tenant: &'static str, seed: u64, end: Instant, accepted: Arc<AtomicU64>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut number = 0u64;
    while Instant::now() < end {
        number += 1;
        let count = [1, 3, 40][rng.random_range(0..3)];
        let text = |rng: &mut StdRng| if rng.random_bool(0.02) { "poison" } else { "m" };
        let age = |rng: &mut StdRng| if tenant == "late" && rng.random_bool(0.3) { 20 * 3600 } else { 0 };
        let at = now_ms() / 1000;
        let (path, count, body) = match rng.random_range(0..4) {
            0 | 1 => {
                let log =
                    |_| json!({ "message": text(&mut rng), "timestamp": (at - age(&mut rng)) * 1000, "n": number });
                ("/api/v2/logs", count, (0..count).map(log).collect::<Value>())
            }
            2 => {
                let series = |_| {
                    let points = json!([{ "timestamp": at - age(&mut rng), "value": 1.0 }]);
                    json!({ "metric": format!("m.{}", text(&mut rng)), "points": points })
                };
                ("/api/v2/series", count, json!({ "series": (0..count).map(series).collect::<Value>() }))
            }
            _ => ("/api/v1/events", 1, event(text(&mut rng))),
        };
        let answer = daemon.try_post(tenant, path, body.to_string().into()).await.unwrap();
        match answer.status {
            202 => drop(accepted.fetch_add(count, Ordering::SeqCst)),
            429 => tokio::time::sleep(Duration::from_millis(20)).await,
            other => panic!("{other}: {}", answer.text),
        }
    }
}

/// Scrapes on and on until told to stop: every scrape balances, and no total falls. Gives the number of scrapes.
async fn watch(daemon: Arc<Daemon>, accepted: [Arc<AtomicU64>; TENANTS.len()], stop: Arc<AtomicBool>) -> usize {
    let mut last: BTreeMap<(String, &str), f64> = BTreeMap::new();
    let mut scrapes = 0;
    while !stop.load(Ordering::SeqCst) {
        let before = accepted.each_ref().map(|accepted| accepted.load(Ordering::SeqCst));
        let scrape = daemon.scrape().await;
        scrapes += 1;
        scrape.assert_balanced();
        for (tenant, before) in TENANTS.into_iter().zip(before) {
            let counted = scrape.items(tenant, "items_accepted_total");
            assert!(counted >= before, "{tenant}: {before} were accepted and {counted} counted");
            for name in TOTALS {
                let value = scrape.sum(&format!("dogsled_{name}"), &[("tenant", tenant)]);
                let earlier = last.insert((tenant.to_owned(), name), value).unwrap_or_default();
                assert!(value >= earlier, "{tenant} {name} fell from {earlier} to {value}");
            }
        }
    }
    scrapes
}

async fn break_things(fakeintake: &FakeIntake) {
    let every = |effect: Value| (0..40).map(move |round| json!({ "skip": 7 * round, "times": 1, "effect": effect }));
    let faults = every(json!({ "status": { "code": 503 } })).chain(every(json!({ "close": {} })));
    for fault in faults {
        fakeintake.fault("failing", fault).await;
    }
    let quota = json!({ "limit": 10, "period_s": 1, "retry_after": "seconds" });
    // Events go one a request: at this pace, they would take long.
    fakeintake.fault("throttled", json!({ "path": "/api/v2/logs", "effect": { "quota": quota } })).await;
    fakeintake.fault("poisoned", json!({ "effect": { "reject_items": { "contains": "poison" } } })).await;
    fakeintake.fault("small", json!({ "effect": { "max_body": { "decompressed": 1500 } } })).await;
}

/// The items of a tenant's dead letters.
fn dead_letters(daemon: &Daemon, tenant: &str) -> u64 {
    let text = std::fs::read_to_string(daemon.dead_letters(tenant)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["items"].as_u64().unwrap()).sum()
}

#[tokio::test]
async fn every_scrape_balances_under_load_with_faults() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let fakeintake = FakeIntake::start();
    let setup =
        Setup::new(&fakeintake, &TENANTS).set("delivery.drop_late", true).set("memory.max_queue_bytes", 16 << 20);
    let daemon = Arc::new(setup.start().await);
    break_things(&fakeintake).await;
    let accepted: [Arc<AtomicU64>; TENANTS.len()] = Default::default();
    let stop = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(watch(daemon.clone(), accepted.clone(), stop.clone()));
    let end = Instant::now() + LENGTH;
    let mut sending = JoinSet::new();
    for (index, tenant) in TENANTS.into_iter().enumerate() {
        for task in 0..2 {
            let seed = seed.wrapping_add(index as u64 * 10 + task);
            sending.spawn(send(daemon.clone(), tenant, seed, end, accepted[index].clone()));
        }
    }
    tokio::time::sleep(LENGTH / 4).await;
    fakeintake.set_key("revoked", false).await;
    tokio::time::sleep(LENGTH / 2).await;
    fakeintake.set_key("revoked", true).await;
    sending.join_all().await;
    // What is throttled would take its time.
    fakeintake.end_all_faults().await;
    for tenant in TENANTS {
        daemon.wait_empty(tenant).await;
    }
    stop.store(true, Ordering::SeqCst);
    let scrapes = watching.await.unwrap();
    assert!(scrapes > 50, "only {scrapes} scrapes");
    let scrape = daemon.scrape().await;
    for (tenant, accepted) in TENANTS.into_iter().zip(accepted) {
        settle(&fakeintake, &daemon, &scrape, tenant, accepted.load(Ordering::SeqCst)).await;
    }
    let dropped = |reason| scrape.sum("dogsled_items_dropped_total", &[("reason", reason)]);
    assert_eq!(dropped("evicted") + dropped("purged"), 0.0);
    assert!(scrape.items("poisoned", "items_dead_lettered_total") > 0);
}

/// The figures of one tenant at the end are those of the emitter, of Datadog and on disk.
async fn settle(fakeintake: &FakeIntake, daemon: &Daemon, scrape: &Scrape, tenant: &str, accepted: u64) {
    let count = |name: &str| scrape.items(tenant, name);
    assert!(accepted > 0, "{tenant}");
    assert_eq!(count("items_accepted_total"), accepted, "{tenant}");
    assert_eq!(count("items_delivered_total"), fakeintake.count(tenant, "total", "items").await, "{tenant}");
    assert_eq!(count("items_dead_lettered_total"), dead_letters(daemon, tenant), "{tenant}");
    assert_eq!(count("items_dropped_total") > 0, tenant == "late", "{tenant}");
}

#[tokio::test]
async fn tenants_beyond_the_configured_number_share_a_label_and_still_balance() {
    let fakeintake = FakeIntake::start();
    let tenants: Vec<String> = (0..6).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = tenants.iter().map(String::as_str).collect();
    let daemon = Setup::new(&fakeintake, &names).set("tenancy.max_labels", 2).start().await;
    fakeintake.fault("t5", json!({ "effect": { "hang": {} } })).await;
    // Tenants that have sent nothing take no labels: the first two that do have them.
    for tenant in ["t3", "t4"] {
        daemon.scrape().await;
        daemon.logs(tenant, 0..3).await;
        daemon.wait_empty(tenant).await;
    }
    for tenant in &names {
        daemon.logs(tenant, 0..10).await;
    }
    for tenant in &names[..5] {
        fakeintake.wait_items(tenant, "logs", 10).await;
    }
    daemon.wait_empty("t3").await;
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    let labels: Vec<String> = scrape.accounts().into_iter().map(|(tenant, _)| tenant).collect();
    assert_eq!(labels, ["other", "t3", "t4"]);
    assert_eq!(["t3", "t4", "other"].map(|label| scrape.items(label, "items_accepted_total")), [13, 13, 40]);
    assert!(scrape.items("other", "queue_items") >= 10);
    assert_eq!(scrape.sum("dogsled_tenant_state", &[("tenant", "other")]), 4.0);
}
