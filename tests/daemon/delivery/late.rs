//! Items older than Datadog keeps them.

use super::{LOGS, assert_each_once};
use crate::support::{FakeIntake, Setup, event, now_ms, until};
use serde_json::{Value, json};

const HOUR: i64 = 3_600;

/// A v2 series with one point of that age in seconds.
fn aged(name: &str, age: i64) -> Value {
    let points = json!([{ "timestamp": now_ms() / 1000 - age, "value": 1.0 }]);
    json!({ "metric": name, "type": 3, "points": points })
}

/// A log of that age in seconds.
fn log(id: u64, age: i64) -> Value {
    json!({ "message": "m", "id": id, "timestamp": now_ms() - age * 1000 })
}

#[tokio::test]
async fn late_items_are_sent_and_counted() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    let series = [aged("old", 2 * HOUR), aged("new", 60), aged("older", 30 * HOUR), aged("nearly", HOUR - 60)];
    daemon.post("a", "/api/v2/series", &json!({ "series": series })).await;
    daemon.post("a", LOGS, &json!([log(1, 17 * HOUR), log(2, 19 * HOUR), log(3, 0)])).await;
    fakeintake.wait_items("a", "series_v2", 4).await;
    fakeintake.wait_items("a", "logs", 3).await;
    daemon.wait_empty("a").await;
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    let late = |kind| scrape.sum("dogsled_items_late_total", &[("tenant", "a"), ("kind", kind)]);
    assert_eq!((late("series_v2"), late("logs")), (2.0, 1.0));
    assert_eq!(scrape.items("a", "items_delivered_total"), 7);
}

#[tokio::test]
async fn drop_late_drops_exactly_the_late_items() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).set("delivery.drop_late", true).start().await;
    // Its answer tells the time: before that nothing is dropped for its age.
    daemon.post("a", "/api/v1/events", &crate::support::event("first")).await;
    daemon.wait_empty("a").await;
    let series: Vec<Value> = (0..20).map(|n| aged(&format!("m{n}"), if n % 3 == 0 { 2 * HOUR } else { 10 })).collect();
    daemon.post("a", "/api/v2/series", &json!({ "series": series })).await;
    daemon.post("a", LOGS, &json!([log(1, 17 * HOUR), log(2, 19 * HOUR), log(3, 0)])).await;
    let old = json!({ "title": "t", "text": "x", "date_happened": now_ms() / 1000 - 19 * HOUR });
    daemon.post("a", "/api/v1/events", &old).await;
    daemon.wait_empty("a").await;
    let names: Vec<String> = fakeintake
        .items("a", "series_v2")
        .await
        .iter()
        .map(|item| item.item["metric"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, (0..20).filter(|n| n % 3 != 0).map(|n| format!("m{n}")).collect::<Vec<_>>());
    assert_each_once(&fakeintake, "a", [1, 3]).await;
    assert_eq!(fakeintake.count("a", "event_v1", "attempts").await, 1, "the first alone");
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    let expired = scrape.sum("dogsled_items_dropped_total", &[("tenant", "a"), ("reason", "expired")]);
    assert_eq!((expired, scrape.items("a", "items_late_total")), (9.0, 0));
}

#[tokio::test]
async fn undated_logs_keep_their_time_of_acceptance() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    let fault = fakeintake.fault("a", json!({ "effect": { "status": { "code": 503 } } })).await;
    let before = now_ms();
    daemon.logs("a", [1]).await;
    let after = now_ms();
    daemon.post("a", LOGS, &json!([{ "message": "dated", "id": 2, "timestamp": 1_700_000_000_000i64 }])).await;
    daemon.post("a", "/api/v1/events", &event("undated")).await;
    until("some time to pass", async || (now_ms() > after + 50).then_some(())).await;
    fakeintake.end_fault(fault).await;
    fakeintake.wait_items("a", "logs", 2).await;
    let items = fakeintake.items("a", "logs").await;
    let time = |id: u64| items.iter().find(|item| item.item["id"] == id).unwrap().item["timestamp"].as_i64();
    assert!(time(1).is_some_and(|at| (before..=after).contains(&at)), "{items:?}");
    assert_eq!(time(2), Some(1_700_000_000_000));
}
