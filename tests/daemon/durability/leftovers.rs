//! What stays behind: dead letters, and items of tenants that are no longer there.

use super::LOGS;
use super::load::seed;
use crate::support::{FakeIntake, Home, Setup, until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

#[tokio::test]
async fn a_dead_letter_is_never_lost_to_a_crash_and_at_most_written_twice_by_one() {
    let mut rng = StdRng::seed_from_u64(seed());
    let fakeintake = FakeIntake::start();
    fakeintake.fault("a", json!({ "effect": { "reject_items": { "contains": "poison" } } })).await;
    let (setup, home) = (Setup::new(&fakeintake, &["a"]).set("batch.max_age", "1ms"), Home::new());
    let mut accepted = Vec::new();
    let rounds = 12;
    for round in 0..rounds {
        let daemon = setup.start_in(&home).await;
        for number in 0..5 {
            let id = round * 10 + number;
            let message = if number % 2 == 0 { "poison" } else { "m" };
            daemon.post("a", LOGS, &json!([{ "id": id, "message": message }])).await;
            accepted.push(id);
        }
        let before = home.dead_letters_text("a").len();
        if round % 2 == 0 {
            until("a dead letter", async || (home.dead_letters_text("a").len() > before).then_some(())).await;
        } else {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..80))).await;
        }
        daemon.kill();
    }
    let daemon = setup.start_in(&home).await;
    daemon.wait_empty("a").await;
    daemon.stop().await;
    let mut dead: BTreeMap<u64, usize> = BTreeMap::new();
    for line in home.dead_letters_text("a").lines() {
        // A line that a crash cut short is followed by a whole one.
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        assert_eq!((line["status"].as_u64(), line["kind"].as_str()), (Some(400), Some("logs")));
        for item in line["body"].as_array().unwrap() {
            *dead.entry(item["id"].as_u64().unwrap()).or_default() += 1;
        }
    }
    assert_eq!(
        dead.keys().copied().collect::<Vec<_>>(),
        accepted.iter().copied().filter(|id| id % 10 % 2 == 0).collect::<Vec<_>>()
    );
    // One crash repeats at most the batch that it came upon.
    assert!(dead.values().map(|times| times - 1).sum::<usize>() <= 3 * rounds as usize, "{dead:?}");
    let arrived: std::collections::BTreeSet<u64> =
        fakeintake.items("a", "logs").await.iter().map(|item| item.item["id"].as_u64().unwrap()).collect();
    assert_eq!(
        arrived.into_iter().collect::<Vec<_>>(),
        accepted.into_iter().filter(|id| id % 10 % 2 == 1).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_missing_tenants_items_are_kept() {
    let fakeintake = FakeIntake::start();
    let home = Home::new();
    let both = Setup::new(&fakeintake, &["a", "b"]);
    fakeintake.set_key("b", false).await;
    let daemon = both.start_in(&home).await;
    daemon.logs("b", 0..10).await;
    daemon.series("b", (0..5).map(|number| format!("m{number}"))).await;
    daemon.stop().await;
    fakeintake.set_key("b", true).await;
    let attempts = fakeintake.count("b", "total", "attempts").await;
    for _ in 0..2 {
        let daemon = Setup::new(&fakeintake, &["a"]).start_in(&home).await;
        let told = daemon.log("neither configured nor in the store");
        assert_eq!((told.len(), &told[0]["tenant"], &told[0]["items"]), (1, &json!("b"), &json!(15)));
        daemon.logs("a", [1]).await;
        daemon.wait_empty("a").await;
        let scrape = daemon.scrape().await;
        scrape.assert_balanced();
        assert_eq!(scrape.items("b", "queue_items"), 15);
        daemon.stop().await;
    }
    assert_eq!(fakeintake.count("b", "total", "attempts").await, attempts);
    let daemon = both.start_in(&home).await;
    daemon.wait_empty("b").await;
    assert_eq!((fakeintake.items("b", "logs").await.len(), fakeintake.items("b", "series_v2").await.len()), (10, 5));
    assert_eq!(fakeintake.items("a", "logs").await.len(), 2);
}
