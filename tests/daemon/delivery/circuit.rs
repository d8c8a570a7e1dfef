//! Failures: backoff with full jitter below a cap, and one probe at a time until Datadog answers well again.

use super::{LOGS, assert_each_once};
use crate::support::{FakeIntake, Nobody, Scripted, Setup, answer, event, until};
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const EVENTS: &str = "/api/v1/events";

/// A request: when it came, when it was answered, and how.
type Span = (Instant, Instant, u16);

#[tokio::test]
async fn a_failing_endpoint_gets_one_probe() {
    const FAILING: usize = 12;
    let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
    let log = spans.clone();
    let fakeintake = Scripted::start(move |request| {
        let log = log.clone();
        async move {
            if request.path != EVENTS {
                // A key is validated some time in its first minute.
                return answer(200);
            }
            let status = if request.number < FAILING { 503 } else { 202 };
            tokio::time::sleep(Duration::from_millis(30)).await;
            log.lock().unwrap().push((request.at, Instant::now(), status));
            answer(status)
        }
    })
    .await;
    let daemon = Setup::at(&fakeintake.url, &["a"]).set("delivery.concurrency_per_tenant", 4).start().await;
    for number in 0..30 {
        daemon.post("a", EVENTS, &event(&number.to_string())).await;
    }
    daemon.wait_empty("a").await;
    let mut spans = spans.lock().unwrap().clone();
    spans.sort();
    assert_eq!(spans.len(), 30 + FAILING);
    let opened = spans.iter().filter(|span| span.2 == 503).map(|span| span.1).min().unwrap();
    let closed = spans.iter().filter(|span| span.2 == 202).map(|span| span.1).min().unwrap();
    let probes: Vec<&Span> = spans.iter().filter(|span| span.0 > opened && span.0 < closed).collect();
    assert!(probes.len() > FAILING - 4, "{spans:?}");
    // Those that were under way when the first one failed may have been seen only after that.
    let stragglers = 4 - spans.iter().filter(|span| span.0 <= opened).count();
    let (mut besides, mut free) = (0, opened);
    for probe in probes {
        let at_once = probe.0 < free;
        besides += usize::from(at_once);
        free = if at_once { free.min(probe.1) } else { probe.1 };
    }
    assert!(besides <= stragglers, "two probes at once: {spans:?}");
    let at_once = |at: Instant| spans.iter().filter(|span| span.0 <= at && at < span.1).count();
    assert!(spans.iter().all(|span| at_once(span.0) <= 4), "{spans:?}");
    assert!(spans.iter().any(|span| span.0 > closed && at_once(span.0) > 1), "afterwards all flow again");
}

#[tokio::test]
async fn waits_grow_with_jitter_up_to_the_cap() {
    let fakeintake =
        Scripted::start(|request| std::future::ready(answer(if request.number < 20 { 500 } else { 202 }))).await;
    let setup = Setup::at(&fakeintake.url, &["a"]).set("delivery.retry_initial", "10ms");
    let daemon = setup.set("delivery.retry_max", "80ms").start().await;
    daemon.logs("a", 0..10).await;
    daemon.wait_empty("a").await;
    let seen = fakeintake.seen(LOGS);
    assert_eq!(seen.len(), 21);
    let mut waits: Vec<Duration> = seen.windows(2).map(|pair| pair[1].at - pair[0].at).skip(3).collect();
    waits.sort();
    let total: Duration = waits.iter().sum();
    // 17 waits of up to 80 ms: the sum of so many is below 200 ms once in many millions.
    assert!(total > Duration::from_millis(200), "{waits:?}");
    // The machine may be busy, but not each time.
    assert!(waits[waits.len() / 2] < Duration::from_millis(80 + 40), "{waits:?}");
    assert!(waits[0] * 2 < waits[waits.len() - 1], "no jitter: {waits:?}");
}

#[tokio::test]
async fn one_endpoints_failures_are_not_the_others() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    let fault = fakeintake.fault("a", json!({ "path": LOGS, "effect": { "status": { "code": 500 } } })).await;
    daemon.logs("a", 0..10).await;
    daemon.wait_state("a", "retrying").await;
    daemon.series("a", (0..10).map(|number| format!("m{number}"))).await;
    daemon.post("a", EVENTS, &event("e")).await;
    fakeintake.wait_items("a", "series_v2", 10).await;
    fakeintake.wait_items("a", "event_v1", 1).await;
    assert_eq!(fakeintake.count("a", "logs", "items").await, 0);
    fakeintake.end_fault(fault).await;
    daemon.wait_empty("a").await;
    assert_each_once(&fakeintake, "a", 0..10).await;
    assert_eq!(daemon.scrape().await.state("a").unwrap(), "active");
}

#[tokio::test]
async fn nobody_listening_is_a_failure_like_any_other() {
    let nobody = Nobody::new();
    let daemon = Setup::at(&format!("http://{}", nobody.address), &["a"]).start().await;
    daemon.logs("a", 0..10).await;
    daemon.wait_state("a", "retrying").await;
    until("the failure to be logged", async || daemon.log("submission failed").into_iter().next()).await;
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    assert_eq!(scrape.items("a", "queue_items"), 10);
}

#[tokio::test]
async fn a_tenant_keeps_its_concurrency() {
    for at_once in [1, 3] {
        let fakeintake = FakeIntake::start();
        let setup = Setup::new(&fakeintake, &["a", "b"]).set("delivery.concurrency_per_tenant", at_once);
        let daemon = setup.start().await;
        for tenant in ["a", "b"] {
            fakeintake.fault(tenant, json!({ "effect": { "delay_ms": 20 } })).await;
        }
        for number in 0..15 {
            for tenant in ["a", "b"] {
                daemon.post(tenant, EVENTS, &event(&number.to_string())).await;
                daemon.series(tenant, [format!("m{number}")]).await;
            }
        }
        for tenant in ["a", "b"] {
            fakeintake.wait_items(tenant, "event_v1", 15).await;
            fakeintake.wait_items(tenant, "series_v2", 15).await;
            assert_eq!(fakeintake.count(tenant, "total", "max_concurrent").await, at_once, "{tenant}");
        }
    }
}

#[tokio::test]
async fn all_tenants_keep_the_common_concurrency() {
    const AT_ONCE: usize = 5;
    let under_way = Arc::new(Mutex::new((0usize, 0usize)));
    let counts = under_way.clone();
    let fakeintake = Scripted::start(move |request| {
        let counts = counts.clone();
        async move {
            if request.path == "/api/v1/validate" {
                return answer(200);
            }
            {
                let mut counts = counts.lock().unwrap();
                counts.0 += 1;
                counts.1 = counts.1.max(counts.0);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            counts.lock().unwrap().0 -= 1;
            // Failures too: probes count as others do.
            answer(if request.number % 7 == 3 { 503 } else { 202 })
        }
    })
    .await;
    let tenants: Vec<String> = (0..12).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = tenants.iter().map(String::as_str).collect();
    let daemon = Setup::at(&fakeintake.url, &names).set("delivery.concurrency", AT_ONCE).start().await;
    for number in 0..8 {
        for tenant in &names {
            daemon.post(tenant, EVENTS, &event(&number.to_string())).await;
            daemon.logs(tenant, [number]).await;
        }
    }
    for tenant in &names {
        daemon.wait_empty(tenant).await;
    }
    assert_eq!(under_way.lock().unwrap().1, AT_ONCE);
}

/// An endpoint that takes nothing but answers is well, and a tenant that has nothing more to send waits for nothing.
#[tokio::test]
async fn a_refused_probe_closes_the_circuit() {
    for (first, then) in [(503, 400), (429, 400), (503, 413)] {
        let fakeintake = FakeIntake::start();
        let daemon = Setup::new(&fakeintake, &["a"]).start().await;
        fakeintake.fault("a", json!({ "times": 1, "effect": { "status": { "code": first } } })).await;
        fakeintake.fault("a", json!({ "skip": 1, "times": 1, "effect": { "status": { "code": then } } })).await;
        daemon.logs("a", [1]).await;
        daemon.wait_empty("a").await;
        // What was refused is tried once more.
        assert_eq!(fakeintake.count("a", "logs", "attempts").await, 3);
        daemon.wait_state("a", "active").await;
    }
}
