//! Payloads that are too large for Datadog, whatever it has published: divided until they fit.

use super::{LOGS, assert_each_once, dead_letters};
use crate::support::{FakeIntake, Setup};
use serde_json::{Value, json};

fn logs(ids: std::ops::Range<u64>, length: usize) -> Value {
    let text = "x".repeat(length);
    ids.map(|id| json!({ "message": text, "id": id })).collect()
}

#[tokio::test]
async fn a_413_splits_and_shrinks_later_batches() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    fakeintake.fault("a", json!({ "effect": { "max_body": { "decompressed": 20_000 } } })).await;
    daemon.post("a", LOGS, &logs(0..600, 100)).await;
    daemon.wait_empty("a").await;
    assert_each_once(&fakeintake, "a", 0..600).await;
    let counts = fakeintake.counts("a", "logs").await;
    let refused = counts["refused"]["413"].as_u64().unwrap();
    assert!((1..=15).contains(&refused), "{counts}");
    assert!(counts["max_bytes_decompressed"].as_u64().unwrap() <= 20_000);
    for first in (600..1200).step_by(20) {
        daemon.post("a", LOGS, &logs(first..first + 20, 100)).await;
    }
    daemon.wait_empty("a").await;
    assert_each_once(&fakeintake, "a", 0..1200).await;
    let again = fakeintake.counts("a", "logs").await["refused"]["413"].as_u64().unwrap() - refused;
    assert!(again <= 3, "{again} more refusals although the limit was known");
    assert!(dead_letters(&daemon, "a").is_empty());
}

#[tokio::test]
async fn only_the_oversized_item_is_dead_lettered() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    fakeintake.fault("a", json!({ "effect": { "max_body": { "decompressed": 5_000 } } })).await;
    let mut all = logs(0..50, 10);
    all[17]["message"] = "y".repeat(9_000).into();
    daemon.post("a", LOGS, &all).await;
    daemon.wait_empty("a").await;
    assert_each_once(&fakeintake, "a", (0..50).filter(|id| *id != 17)).await;
    let letters = dead_letters(&daemon, "a");
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0]["status"], &letters[0]["body"][0]["id"]), (&json!(413), &json!(17)));
    daemon.scrape().await.assert_balanced();
}

#[tokio::test]
async fn division_goes_on_through_other_failures() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    fakeintake.fault("a", json!({ "effect": { "max_body": { "decompressed": 3_000 } } })).await;
    fakeintake.fault("a", json!({ "effect": { "reject_items": { "contains": "poison" } } })).await;
    for skip in [1, 4, 9, 11] {
        fakeintake.fault("a", json!({ "skip": skip, "times": 2, "effect": { "status": { "code": 503 } } })).await;
        fakeintake.fault("a", json!({ "skip": skip + 5, "times": 1, "effect": { "close": {} } })).await;
    }
    let mut all = logs(0..200, 50);
    all[100]["message"] = "poison".into();
    daemon.post("a", LOGS, &all).await;
    daemon.wait_empty("a").await;
    assert_each_once(&fakeintake, "a", (0..200).filter(|id| *id != 100)).await;
    assert_eq!(dead_letters(&daemon, "a").len(), 1);
    daemon.scrape().await.assert_balanced();
}
