//! Rate limits: never too early, then below what Datadog allows, and no other endpoint waits with the one.

use super::{LOGS, assert_each_once};
use crate::support::{FakeIntake, Scripted, Setup, answer, event, until};
use serde_json::json;
use std::time::{Duration, SystemTime};

const SERIES: &str = "/api/v2/series";
const EVENTS: &str = "/api/v1/events";

#[tokio::test]
async fn nothing_is_sent_before_a_429s_reset() {
    let fakeintake = Scripted::start(|request| {
        let mut reply = answer(if request.number == 0 && request.path != "/api/v1/validate" { 429 } else { 202 });
        let now = SystemTime::now();
        let date = |at: SystemTime| httpdate::fmt_http_date(at);
        let headers = match request.path.as_str() {
            LOGS => vec![("retry-after", "1".to_owned())],
            SERIES => vec![("x-ratelimit-reset", "1".to_owned())],
            // A date has whole seconds: two of them are more than one after now.
            _ => vec![("date", date(now)), ("retry-after", date(now + Duration::from_secs(2)))],
        };
        for (name, value) in headers {
            reply.headers_mut().insert(name, value.parse().unwrap());
        }
        std::future::ready(reply)
    })
    .await;
    let setup = Setup::at(&fakeintake.url, &["a"]).set("delivery.retry_initial", "1ms");
    let daemon = setup.set("delivery.retry_max", "1ms").start().await;
    daemon.logs("a", 0..10).await;
    daemon.series("a", ["one".to_owned()]).await;
    daemon.post("a", EVENTS, &event("e")).await;
    daemon.wait_state("a", "throttled").await;
    daemon.wait_empty("a").await;
    for (path, wait) in [(LOGS, 1), (SERIES, 1), (EVENTS, 2)] {
        let seen = fakeintake.seen(path);
        assert_eq!(seen.len(), 2, "{path}");
        let waited = seen[1].at - seen[0].at;
        assert!(waited >= Duration::from_secs(wait), "{path}: again after {waited:?}");
        assert!(waited < Duration::from_secs(wait + 5), "{path}: again after {waited:?}");
    }
    assert_eq!(daemon.scrape().await.state("a").unwrap(), "active");
}

#[tokio::test]
async fn limits_are_kept_however_they_are_told() {
    let fakeintake = FakeIntake::start();
    let tenants = ["seconds", "date", "none"];
    let daemon = Setup::new(&fakeintake, &tenants).start().await;
    let mut faults = Vec::new();
    for tenant in tenants {
        let quota = json!({ "limit": 4, "period_s": 1, "retry_after": tenant });
        faults.push(fakeintake.fault(tenant, json!({ "path": EVENTS, "effect": { "quota": quota } })).await);
        for number in 0..12 {
            daemon.post(tenant, EVENTS, &event(&number.to_string())).await;
        }
    }
    for (tenant, fault) in tenants.into_iter().zip(faults) {
        fakeintake.wait_items(tenant, "event_v1", 12).await;
        assert_eq!(fakeintake.fault_figures(fault).await.1, 0, "{tenant}: sent before the limit's reset");
        let counts = fakeintake.counts(tenant, "event_v1").await;
        let refused = counts["refused"]["429"].as_u64().unwrap_or(0);
        assert!(refused <= 4, "{tenant}: {refused} refused, more than were under way before the limit was known");
    }
}

#[tokio::test]
async fn a_known_limit_is_never_reached() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    let quota = json!({ "limit": 10, "period_s": 1 });
    fakeintake.fault("a", json!({ "path": EVENTS, "effect": { "quota": quota } })).await;
    daemon.post("a", EVENTS, &event("the first")).await;
    daemon.wait_empty("a").await;
    for number in 0..25 {
        daemon.post("a", EVENTS, &event(&number.to_string())).await;
    }
    fakeintake.wait_items("a", "event_v1", 26).await;
    assert_eq!(fakeintake.counts("a", "event_v1").await["refused"], json!({}));
}

#[tokio::test]
async fn throttling_holds_up_no_other_endpoint() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    let headers = json!({ "retry-after": "3600" });
    let effect = json!({ "status": { "code": 429, "headers": headers } });
    fakeintake.fault("a", json!({ "path": LOGS, "effect": effect })).await;
    daemon.logs("a", 0..10).await;
    daemon.wait_state("a", "throttled").await;
    for number in 0..20 {
        daemon.series("a", [format!("m{number}")]).await;
        daemon.post("a", EVENTS, &event(&number.to_string())).await;
        daemon.logs("a", [number]).await;
    }
    fakeintake.wait_items("a", "series_v2", 20).await;
    fakeintake.wait_items("a", "event_v1", 20).await;
    assert_eq!(fakeintake.count("a", "logs", "attempts").await, 1);
    let scrape = until("all answers to be there", async || {
        Some(daemon.scrape().await).filter(|scrape| scrape.items("a", "queue_items") <= 30)
    });
    let scrape = scrape.await;
    scrape.assert_balanced();
    assert_eq!((scrape.items("a", "queue_items"), scrape.state("a").unwrap().as_str()), (30, "throttled"));
}

#[tokio::test]
async fn a_429_without_a_time_backs_off() {
    for headers in [json!({}), json!({ "retry-after": "0", "x-ratelimit-reset": "0" })] {
        let fakeintake = FakeIntake::start();
        let daemon = Setup::new(&fakeintake, &["a"]).start().await;
        let effect = json!({ "status": { "code": 429, "headers": headers } });
        fakeintake.fault("a", json!({ "times": 6, "effect": effect })).await;
        daemon.logs("a", 0..10).await;
        fakeintake.wait_items("a", "logs", 10).await;
        assert_each_once(&fakeintake, "a", 0..10).await;
        assert_eq!(fakeintake.count("a", "logs", "attempts").await, 7);
    }
}

#[tokio::test]
async fn the_rest_of_a_rate_limit_is_shown() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a", "b"]).start().await;
    let quota = json!({ "limit": 50, "period_s": 3600 });
    fakeintake.fault("a", json!({ "path": LOGS, "effect": { "quota": quota } })).await;
    daemon.logs("a", [1]).await;
    daemon.logs("b", [1]).await;
    until("what is left to be 49", async || {
        let labels = [("tenant", "a"), ("endpoint", LOGS)];
        (daemon.scrape().await.sum("dogsled_rate_limit_remaining", &labels) == 49.0).then_some(())
    })
    .await;
    assert_eq!(daemon.scrape().await.count("dogsled_rate_limit_remaining"), 1, "only what Datadog has told");
}
