//! Items that Datadog refuses: exactly those are kept on disk, with its words, and all others are delivered.

use super::{LOGS, assert_each_once, dead_letters};
use crate::support::{FakeIntake, Setup, event, until};
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

const REFUSAL: &str = "Payload is not in the expected format: invalid item";

/// Logs of which those with the ids of `poison` are refused.
fn logs(ids: std::ops::Range<u64>, poison: &BTreeSet<u64>) -> Value {
    let text = |id| if poison.contains(&id) { "poison" } else { "m" };
    ids.map(|id| json!({ "message": text(id), "id": id })).collect()
}

/// So many different numbers below `end`.
fn choose(count: usize, end: u64) -> BTreeSet<u64> {
    let mut all: Vec<u64> = (0..end).collect();
    all.shuffle(&mut rand::rng());
    all.into_iter().take(count).collect()
}

#[tokio::test]
async fn exactly_the_refused_items_are_dead_lettered() {
    for count in [1, 9, 60] {
        let fakeintake = FakeIntake::start();
        let daemon = Setup::new(&fakeintake, &["a"]).start().await;
        fakeintake.fault("a", json!({ "effect": { "reject_items": { "contains": "poison" } } })).await;
        fakeintake.fault("a", json!({ "effect": { "delay_ms": 1 } })).await;
        let poison = choose(count, 1000);
        daemon.post("a", LOGS, &logs(0..1000, &poison)).await;
        daemon.wait_empty("a").await;
        assert_each_once(&fakeintake, "a", (0..1000).filter(|id| !poison.contains(id))).await;
        let letters = dead_letters(&daemon, "a");
        let kept: BTreeSet<u64> = letters.iter().map(|letter| letter["body"][0]["id"].as_u64().unwrap()).collect();
        assert_eq!(kept, poison);
        for letter in &letters {
            assert_eq!(
                (&letter["items"], &letter["status"], &letter["kind"]),
                (&json!(1), &json!(400), &json!("logs"))
            );
            assert!(letter["reason"].as_str().unwrap().contains(REFUSAL), "{letter}");
            assert_eq!(letter["body"].as_array().unwrap().len(), 1);
        }
        let scrape = daemon.scrape().await;
        scrape.assert_balanced();
        assert_eq!(scrape.items("a", "items_dead_lettered_total"), count as u64);
        // With much to send again there is no more under way than else.
        assert!(fakeintake.count("a", "logs", "max_concurrent").await <= 4);
        // Twice whole, then both halves of whatever holds a refused item, down to ten levels.
        let attempts = fakeintake.count("a", "logs", "attempts").await;
        assert!(attempts <= 2 + 20 * count as u64, "{attempts} attempts for {count}: {poison:?}");
    }
}

#[tokio::test]
async fn a_mistaken_400_costs_one_more_attempt() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    fakeintake.fault("a", json!({ "times": 1, "effect": { "status": { "code": 400 } } })).await;
    daemon.logs("a", 0..100).await;
    daemon.wait_empty("a").await;
    assert_each_once(&fakeintake, "a", 0..100).await;
    assert_eq!(fakeintake.count("a", "logs", "attempts").await, 2);
    assert!(dead_letters(&daemon, "a").is_empty());
}

#[tokio::test]
async fn every_kind_is_bisected() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    fakeintake.fault("a", json!({ "effect": { "reject_items": { "contains": "poison" } } })).await;
    let at = crate::support::now_ms() / 1000;
    let name = |id: usize| if id % 10 == 3 { format!("poison.{id}") } else { format!("m.{id}") };
    let names = || (0..20).map(name);
    let series = |point: Value| -> Value { names().map(|name| json!({ "metric": name, "points": [point] })).collect() };
    daemon.series("a", names()).await;
    daemon.post("a", "/api/v1/series", &json!({ "series": series(json!([at, 1.0])) })).await;
    daemon.post("a", "/api/v1/distribution_points", &json!({ "series": series(json!([at, [1.0, 2.0]])) })).await;
    let checks: Value =
        names().map(|name| json!({ "check": name, "host_name": "h", "status": 0, "timestamp": at })).collect();
    daemon.post("a", "/api/v1/check_run", &checks).await;
    for name in names() {
        daemon.post("a", "/api/v1/events", &event(&name)).await;
    }
    daemon.wait_empty("a").await;
    let letters = dead_letters(&daemon, "a");
    for kind in ["series_v2", "series_v1", "distribution_points", "check_run", "event_v1"] {
        assert_eq!(fakeintake.items("a", kind).await.len(), 18, "{kind}");
        let of_kind: Vec<String> =
            letters.iter().filter(|letter| letter["kind"] == kind).map(|letter| letter["body"].to_string()).collect();
        assert_eq!(of_kind.len(), 2, "{kind}");
        for name in ["poison.3", "poison.13"] {
            assert!(of_kind.iter().any(|body| body.contains(&format!("{name:?}"))), "{kind}: {of_kind:?}");
        }
    }
    daemon.scrape().await.assert_balanced();
}

#[tokio::test]
async fn protobuf_is_bisected_too_and_kept_in_base64() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    fakeintake.fault("a", json!({ "effect": { "reject_items": { "contains": "poison" } } })).await;
    let at = crate::support::now_ms() / 1000;
    let name = |id: usize| if id == 4 { "poison".to_owned() } else { format!("m.{id}") };
    let body: Vec<u8> = (0..10).flat_map(|id| crate::support::sketch(&name(id), at, &[])).collect();
    let answer = daemon.try_post("a", "/api/beta/sketches", body).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text);
    daemon.wait_empty("a").await;
    let mut arrived: Vec<String> = fakeintake
        .items("a", "sketches")
        .await
        .iter()
        .map(|item| item.item["metric"].as_str().unwrap().into())
        .collect();
    arrived.sort();
    assert_eq!(arrived, (0..10).filter(|id| *id != 4).map(name).collect::<Vec<_>>());
    let letters = dead_letters(&daemon, "a");
    assert_eq!(letters.len(), 1);
    let kept =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, letters[0]["base64"].as_str().unwrap());
    assert_eq!(kept.unwrap(), crate::support::sketch("poison", at, &[]));
}

/// Many dead letters at once: each is one whole line, and none displaces another.
#[tokio::test]
async fn simultaneous_dead_letters_are_separate_lines() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a"]).set("delivery.concurrency_per_tenant", 16);
    let daemon = setup.set("delivery.retry_initial", "5ms").set("delivery.retry_max", "20ms").start().await;
    fakeintake.fault("a", json!({ "effect": { "reject_items": { "contains": "xxxx" } } })).await;
    let text = "x".repeat(200_000);
    for number in 0..60 {
        daemon.post("a", "/api/v1/events", &json!({ "title": number.to_string(), "text": text })).await;
    }
    // It is taken, which proves that the others are to blame.
    daemon.post("a", "/api/v1/events", &event("good")).await;
    daemon.wait_empty("a").await;
    let file = std::fs::read_to_string(daemon.dead_letters("a")).unwrap();
    let titles: BTreeSet<u64> = file
        .lines()
        .map(|line| {
            let letter: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:.200}"));
            letter["body"]["title"].as_str().unwrap().parse().unwrap()
        })
        .collect();
    assert_eq!(titles, (0..60).collect());
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let path = daemon.dead_letters("a");
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
}

#[tokio::test]
async fn unwritable_dead_letters_are_written_later() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    let dir = daemon.dead_letters("a").parent().unwrap().to_owned();
    std::fs::write(&dir, "in the way").unwrap();
    fakeintake.fault("a", json!({ "effect": { "reject_items": { "contains": "poison" } } })).await;
    daemon.post("a", LOGS, &json!([{ "message": "poison", "id": 0 }])).await;
    until("the trouble to be told", async || daemon.log("kept and tried again").into_iter().next()).await;
    daemon.logs("a", 10..20).await;
    until("the others to be delivered", async || {
        (daemon.scrape().await.items("a", "items_delivered_total") == 10).then_some(())
    })
    .await;
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    assert_eq!((scrape.items("a", "queue_items"), scrape.items("a", "items_dead_lettered_total")), (1, 0));
    std::fs::remove_file(&dir).unwrap();
    daemon.wait_empty("a").await;
    assert_eq!(dead_letters(&daemon, "a").len(), 1);
    assert_eq!(daemon.scrape().await.items("a", "items_dead_lettered_total"), 1);
}

/// A tenant whose quota on disk is a mebibyte, and whose refused items fill it; how often it was told 429.
async fn fill_with_dead_letters(fakeintake: &FakeIntake, daemon: &crate::support::Daemon) -> usize {
    fakeintake.fault("a", json!({ "effect": { "reject_items": { "contains": "poison" } } })).await;
    let text = format!("poison {}", "x".repeat(100_000));
    let mut refused = 0;
    for id in 0..40 {
        let body = json!([{ "message": "m", "id": 1000 + id }, { "message": text, "id": id }]);
        let answer = daemon.try_post("a", LOGS, body.to_string().into_bytes()).await.unwrap();
        refused += usize::from(answer.status == 429);
        // The next one finds the dead letters counted.
        until("the items to be delivered or refused", async || {
            let scrape = daemon.scrape().await;
            let held = daemon.log("refused items are held").len() as u64;
            (scrape.items("a", "queue_items") <= held.min(8)).then_some(())
        })
        .await;
    }
    refused
}

#[tokio::test]
async fn dead_letters_count_against_the_quota() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a", "b"]).set("journal.max_bytes_per_tenant", 1 << 20);
    let daemon = setup.set("ingest.max_body", 1 << 20).start().await;
    assert!(fill_with_dead_letters(&fakeintake, &daemon).await > 0, "the quota is full of dead letters");
    let size = std::fs::metadata(daemon.dead_letters("a")).unwrap().len();
    assert!((900_000..=1 << 20).contains(&size), "{size} bytes");
    daemon.logs("b", [1]).await;
    daemon.wait_empty("b").await;
    daemon.scrape().await.assert_balanced();
    std::fs::remove_file(daemon.dead_letters("a")).unwrap();
    let taken = async || {
        let body = br#"[{"message":"m","id":5000}]"#.to_vec();
        (daemon.try_post("a", LOGS, body).await?.status == 202).then_some(())
    };
    until("the quota to be free again", taken).await;
    daemon.wait_empty("a").await;
    daemon.scrape().await.assert_balanced();
}

#[tokio::test]
async fn drop_oldest_drops_what_dead_letters_have_no_room_for() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a"]).set("journal.max_bytes_per_tenant", 1 << 20);
    let setup = setup.set("journal.when_full", "drop_oldest").set("ingest.max_body", 1 << 20);
    let daemon = setup.start().await;
    fill_with_dead_letters(&fakeintake, &daemon).await;
    daemon.wait_empty("a").await;
    assert!(std::fs::metadata(daemon.dead_letters("a")).unwrap().len() <= 1 << 20);
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    assert!(scrape.sum("dogsled_items_dropped_total", &[("tenant", "a"), ("reason", "evicted")]) > 0.0);
}
