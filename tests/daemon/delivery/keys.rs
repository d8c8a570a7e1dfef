//! Keys that Datadog refuses: telemetry is held, the key is validated, and everything goes on by itself.

use super::{LOGS, assert_each_once, dead_letters};
use crate::support::{FakeIntake, Scripted, Setup, answer, event, until};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const VALIDATE: &str = "/api/v1/validate";

#[tokio::test]
async fn a_revoked_key_holds_until_it_works_again() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a", "b"]).start().await;
    daemon.logs("a", 0..10).await;
    daemon.wait_empty("a").await;
    fakeintake.set_key("a", false).await;
    daemon.logs("a", 10..20).await;
    daemon.wait_state("a", "unauthorized").await;
    let attempts = fakeintake.count("a", "total", "attempts").await;
    daemon.logs("a", 20..40).await;
    daemon.series("a", ["one".to_owned()]).await;
    daemon.post("a", "/api/v1/events", &event("held")).await;
    daemon.logs("b", 0..10).await;
    daemon.wait_empty("b").await;
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    assert_eq!((scrape.items("a", "items_accepted_total"), scrape.items("a", "queue_items")), (42, 32));
    assert_eq!(
        fakeintake.count("a", "total", "attempts").await,
        attempts,
        "nothing is sent with a key known to be bad"
    );
    fakeintake.set_key("a", true).await;
    daemon.wait_empty("a").await;
    daemon.wait_state("a", "active").await;
    assert_each_once(&fakeintake, "a", 0..40).await;
    assert_eq!(fakeintake.items("a", "series_v2").await.len(), 1);
    assert_eq!(fakeintake.items("a", "event_v1").await.len(), 1);
    assert!(dead_letters(&daemon, "a").is_empty());
    assert_eq!(daemon.scrape().await.items("a", "items_delivered_total"), 42);
}

#[tokio::test]
async fn a_doubted_key_is_refused_only_by_validation() {
    let (bad, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let script = {
        let (bad, asked) = (bad.clone(), asked.clone());
        move |path: &str| match path {
            VALIDATE if asked.fetch_add(1, Ordering::SeqCst) < 5 => 500,
            VALIDATE => {
                bad.store(false, Ordering::SeqCst);
                200
            }
            _ if bad.load(Ordering::SeqCst) => 401,
            _ => 202,
        }
    };
    let fakeintake = Scripted::start(move |request| std::future::ready(answer(script(&request.path)))).await;
    let daemon = Setup::at(&fakeintake.url, &["a"]).start().await;
    daemon.logs("a", 0..10).await;
    daemon.wait_empty("a").await;
    assert!(asked.load(Ordering::SeqCst) >= 6);
    assert_eq!(fakeintake.seen(LOGS).len(), 2, "nothing is sent while the key is in doubt");
    assert!(daemon.log("refuses the API key").is_empty(), "{}", daemon.log_text());
    assert_eq!(daemon.scrape().await.items("a", "items_delivered_total"), 10);
}

#[tokio::test]
async fn a_refusing_endpoint_holds_up_no_other() {
    let fakeintake =
        Scripted::start(|request| std::future::ready(answer(if request.path == LOGS { 403 } else { 200 }))).await;
    let setup = Setup::at(&fakeintake.url, &["a"]).set("delivery.retry_initial", "100ms");
    let daemon = setup.set("delivery.retry_max", "400ms").start().await;
    daemon.logs("a", 0..10).await;
    let requests = until("the twelfth attempt", async || {
        let seen = fakeintake.seen(LOGS);
        (seen.len() >= 12).then_some(seen)
    })
    .await;
    // Eleven waits of which nine are of up to 400 ms: together below a fifth of a second once in many millions.
    let took = requests[11].at - requests[0].at;
    assert!(took > Duration::from_millis(200), "twelve attempts within {took:?}");
    daemon.series("a", ["one".to_owned()]).await;
    until("the series to be delivered", async || {
        (daemon.scrape().await.items("a", "items_delivered_total") == 1).then_some(())
    })
    .await;
    let scrape = daemon.scrape().await;
    assert_eq!((scrape.items("a", "queue_items"), scrape.state("a").unwrap().as_str()), (10, "retrying"));
}

#[tokio::test]
async fn events_v2_refused_twice_are_dead_lettered() {
    let body = r#"{"errors":[{"status":"403","title":"Forbidden","detail":"needs an application key"}]}"#;
    let fakeintake = Scripted::start(move |request| {
        let mut reply = answer(if request.path == "/api/v2/events" { 403 } else { 202 });
        if reply.status() == 403 {
            *reply.body_mut() = body.into();
        }
        std::future::ready(reply)
    })
    .await;
    let daemon = Setup::at(&fakeintake.url, &["a"]).start().await;
    daemon.post("a", "/api/v2/events", &change()).await;
    daemon.logs("a", [1]).await;
    daemon.wait_empty("a").await;
    let letters = dead_letters(&daemon, "a");
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0]["status"], &letters[0]["kind"]), (&json!(403), &json!("event_v2")));
    assert_eq!((&letters[0]["reason"], &letters[0]["body"]), (&json!(body), &change()));
    assert_eq!(fakeintake.seen("/api/v2/events").len(), 2, "once more after the key was found good");
    assert!(!fakeintake.seen(VALIDATE).is_empty());
    assert_eq!(daemon.scrape().await.items("a", "items_delivered_total"), 1);
}

#[tokio::test]
async fn events_of_a_revoked_key_are_held() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    fakeintake.set_key("a", false).await;
    for _ in 0..5 {
        daemon.post("a", "/api/v2/events", &change()).await;
    }
    daemon.wait_state("a", "unauthorized").await;
    fakeintake.set_key("a", true).await;
    fakeintake.wait_items("a", "event_v2", 5).await;
    daemon.wait_empty("a").await;
    assert!(dead_letters(&daemon, "a").is_empty());
}

fn change() -> serde_json::Value {
    let resource = json!({ "changed_resource": { "name": "flag", "type": "feature_flag" } });
    let attributes = json!({ "title": "t", "category": "change", "attributes": resource });
    json!({ "data": { "type": "event", "attributes": attributes } })
}
