//! Answers that say nothing about the items: of a proxy, of a gateway, of an endpoint that refuses everything. The items are
//! held and sent again, and none becomes a dead letter.

use super::{LOGS, assert_each_once, dead_letters};
use crate::support::{FakeIntake, Setup, event, until};
use serde_json::json;

const PAGE: &str = "<!DOCTYPE html>\n<html><body>Please sign in</body></html>";

/// The daemon holds everything while a fault lasts, says `message`, and delivers all once the fault ends. Gives the attempts
/// made meanwhile.
async fn assert_held(effect: serde_json::Value, message: &str) -> u64 {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    let fault = fakeintake.fault("a", json!({ "effect": effect })).await;
    for first in [0, 100, 200] {
        daemon.logs("a", first..first + 100).await;
    }
    daemon.wait_state("a", "retrying").await;
    until("the reason in the log", async || daemon.log(message).into_iter().next()).await;
    let held = fakeintake.count("a", "logs", "attempts").await;
    // The endpoint goes on failing.
    fakeintake.wait_attempts("a", "logs", held + 5).await;
    assert_eq!(daemon.scrape().await.items("a", "items_delivered_total"), 0, "{effect}");
    let attempts = fakeintake.count("a", "logs", "attempts").await;
    fakeintake.end_fault(fault).await;
    daemon.wait_empty("a").await;
    assert_each_once(&fakeintake, "a", 0..300).await;
    assert!(dead_letters(&daemon, "a").is_empty(), "{effect}");
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    assert_eq!(scrape.items("a", "items_delivered_total"), 300, "{effect}");
    attempts
}

#[tokio::test]
async fn statuses_not_about_the_payload_hold_it() {
    for code in [402, 404, 405, 407, 410, 422, 451] {
        let effect = json!({ "status": { "code": code, "body": "no such thing here" } });
        assert_held(effect, &format!("{code} no such thing here")).await;
    }
}

#[tokio::test]
async fn web_pages_are_not_datadogs_answers() {
    for (code, headers) in [(200, json!({ "content-type": "text/html" })), (202, json!({})), (400, json!({}))] {
        let effect = json!({ "status": { "code": code, "headers": headers, "body": PAGE } });
        assert_held(effect, "Please sign in").await;
    }
}

#[tokio::test]
async fn an_endpoint_that_refuses_everything_is_held() {
    for code in [400, 413] {
        let effect = json!({ "status": { "code": code, "body": "context deadline exceeded" } });
        let attempts = assert_held(effect, "everything is refused, down to single items").await;
        assert!(attempts < 150, "{attempts} attempts while everything was answered {code}");
    }
}

#[tokio::test]
async fn refused_events_wait_for_proof() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    fakeintake.fault("a", json!({ "effect": { "reject_items": { "contains": "poison" } } })).await;
    for title in ["poison 1", "poison 2", "poison 3"] {
        daemon.post("a", "/api/v1/events", &event(title)).await;
    }
    daemon.wait_state("a", "retrying").await;
    assert!(dead_letters(&daemon, "a").is_empty());
    daemon.post("a", "/api/v1/events", &event("good")).await;
    daemon.wait_empty("a").await;
    fakeintake.wait_items("a", "event_v1", 1).await;
    assert_eq!(dead_letters(&daemon, "a").len(), 3);
    daemon.scrape().await.assert_balanced();
}

#[tokio::test]
async fn a_single_refused_item_is_dead_lettered() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    fakeintake.fault("a", json!({ "effect": { "reject_items": { "contains": "poison" } } })).await;
    daemon.post("a", LOGS, &json!([{ "message": "poison", "id": 1 }])).await;
    daemon.wait_empty("a").await;
    let letters = dead_letters(&daemon, "a");
    assert_eq!((letters.len(), &letters[0]["status"]), (1, &json!(400)));
    assert!(fakeintake.count("a", "logs", "attempts").await > 3, "it is tried for a while");
}
