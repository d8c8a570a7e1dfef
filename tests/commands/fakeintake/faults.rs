//! Faults, as a client sees them.

use super::harness::{FakeIntake, JSON, KEY, OTHER_KEY, logs, series2};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_status_fault_affects_matching_requests() {
    let fakeintake = FakeIntake::start(&[]);
    let status = json!({ "code": 503, "headers": { "Retry-After": "7" }, "body": "{\"errors\":[\"down\"]}" });
    let rule = json!({ "key": KEY, "path": "/api/v2/logs", "skip": 1, "times": 2, "effect": { "status": status } });
    let id = fakeintake.fault(rule).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let reply = fakeintake.logs(logs(1)).await;
        if reply.status == 503 {
            assert_eq!((reply.header("retry-after"), reply.json()), ("7", json!({ "errors": ["down"] })));
        }
        statuses.push(reply.status.as_u16());
    }
    assert_eq!(statuses, [202, 503, 503, 202]);
    assert_eq!(fakeintake.submit("/api/v2/series", JSON, series2("a")).await.status, 202);
    let fault = fakeintake.fault_counts(id).await;
    assert_eq!((&fault["matched"], &fault["hits"]), (&json!(4), &json!(2)));
    assert_eq!(fakeintake.counts(KEY, "logs").await["refused"], json!({ "503": 2 }));
}

#[tokio::test]
async fn a_reset_at_any_stage_takes_nothing() {
    let fakeintake = FakeIntake::start(&[]);
    for when in ["headers", "half_body", "body"] {
        let id = fakeintake.fault(json!({ "path": "/api/v2/logs", "effect": { "close": { "when": when } } })).await;
        let outcome = fakeintake.submission("/api/v2/logs", JSON, logs(1_000)).send().await;
        assert!(outcome.is_err(), "{when}");
        assert_eq!(fakeintake.fault_counts(id).await["hits"], 1, "{when}");
        let removed = fakeintake.send(fakeintake.request(Method::DELETE, &format!("/_fakeintake/faults/{id}"))).await;
        assert_eq!(removed.json(), json!({ "removed": 1 }));
    }
    let counts = fakeintake.counts(KEY, "logs").await;
    assert_eq!((&counts["attempts"], &counts["items"]), (&json!(3), &json!(0)));
    assert_eq!(fakeintake.logs(logs(1)).await.status, 202);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_items_taken() {
    let fakeintake = FakeIntake::start(&[]);
    fakeintake.fault(json!({ "times": 1, "effect": { "answer_lost": {} } })).await;
    assert!(fakeintake.submission("/api/v2/logs", JSON, logs(5)).send().await.is_err());
    assert_eq!(fakeintake.counts(KEY, "logs").await["items"], 5);
    assert_eq!(fakeintake.logs(logs(5)).await.status, 202);
    assert_eq!(fakeintake.items("logs").await.len(), 10);
}

#[tokio::test]
async fn removing_a_fault_answers_hanging_requests() {
    let fakeintake = FakeIntake::start(&[]);
    let id = fakeintake.fault(json!({ "path": "/api/v2/logs", "effect": { "hang": {} } })).await;
    let impatient = fakeintake.submission("/api/v2/logs", JSON, logs(1)).timeout(Duration::from_millis(200));
    assert!(impatient.send().await.unwrap_err().is_timeout());
    let release = async {
        assert_eq!(fakeintake.get("/_fakeintake/wait?attempts=2").await.status, 200);
        fakeintake.send(fakeintake.request(Method::DELETE, &format!("/_fakeintake/faults/{id}"))).await
    };
    let (patient, _) = tokio::join!(fakeintake.logs(logs(1)), release);
    assert_eq!(patient.status, 202);
    assert_eq!(fakeintake.counts(KEY, "logs").await["items"], 1);
}

#[tokio::test]
async fn a_delay_delays() {
    let fakeintake = FakeIntake::start(&[]);
    fakeintake.fault(json!({ "effect": { "delay_ms": 150 } })).await;
    let begun = Instant::now();
    assert_eq!(fakeintake.logs(logs(1)).await.status, 202);
    assert!(begun.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn a_poisoned_item_costs_its_payload() {
    let fakeintake = FakeIntake::start(&[]);
    fakeintake.fault(json!({ "effect": { "reject_items": { "contains": "poison" } } })).await;
    assert_eq!(fakeintake.logs(r#"[{"message":"fine"},{"message":"a poison b"}]"#).await.status, 400);
    assert_eq!(fakeintake.logs(r#"[{"message":"fine"}]"#).await.status, 202);
    assert_eq!(fakeintake.submit("/api/v2/series", JSON, series2("poison.metric")).await.status, 400);
    assert_eq!(fakeintake.items("logs").await, [json!({ "message": "fine" })]);
}

#[tokio::test]
async fn a_smaller_bound_on_bodies_can_be_set() {
    let fakeintake = FakeIntake::start(&[]);
    let body = logs(10);
    fakeintake.fault(json!({ "effect": { "max_body": { "sent": body.len() } } })).await;
    assert_eq!(fakeintake.logs(body.clone()).await.status, 202);
    assert_eq!(fakeintake.logs(logs(11)).await.status, 413);
    fakeintake.control("reset", json!({})).await;
    fakeintake.fault(json!({ "effect": { "max_body": { "decompressed": 100 } } })).await;
    let packed = super::harness::zstd(body.as_bytes());
    assert!(packed.len() < body.len());
    let request = fakeintake.submission("/api/v2/logs", JSON, packed).header("Content-Encoding", "zstd");
    assert_eq!(fakeintake.send(request).await.status, 413);
}

fn quota(limit: u64, period_s: f64, more: Value) -> Value {
    let mut quota = json!({ "limit": limit, "period_s": period_s });
    quota.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "path": "/api/v2/logs", "effect": { "quota": quota } })
}

#[tokio::test]
async fn a_quota_is_announced_and_kept_per_key() {
    let fakeintake = FakeIntake::start(&[]);
    // A period so long that it does not end during the test, save once in decades.
    let id = fakeintake.fault(quota(2, 1e9, json!({ "name": "logs_limit", "retry_after": "seconds" }))).await;
    let first = fakeintake.logs(logs(1)).await;
    assert_eq!(first.status, 202);
    let expected = [("limit", "2"), ("period", "1000000000"), ("remaining", "1"), ("name", "logs_limit")];
    for (name, value) in expected {
        assert_eq!(first.header(&format!("x-ratelimit-{name}")), value, "{name}");
    }
    assert_eq!(fakeintake.logs(logs(1)).await.header("x-ratelimit-remaining"), "0");
    let refused = fakeintake.logs(logs(1)).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), refused.header("x-ratelimit-reset"));
    assert!(refused.header("x-ratelimit-reset").parse::<u64>().unwrap() > 60);
    let other = fakeintake.request(Method::POST, "/api/v2/logs").header("DD-API-KEY", OTHER_KEY);
    assert_eq!(fakeintake.send(other.header("Content-Type", JSON).body(logs(1))).await.status, 202);
    assert_eq!(fakeintake.fault_counts(id).await["hits"], 1);
}

#[tokio::test]
async fn an_early_request_counts_as_a_violation() {
    let fakeintake = FakeIntake::start(&[]);
    let id = fakeintake.fault(quota(0, 1e9, json!({ "grace_ms": 0, "headers": false, "retry_after": "date" }))).await;
    let refused = fakeintake.logs(logs(1)).await;
    assert!(httpdate::parse_http_date(refused.header("retry-after")).is_ok());
    assert_eq!(refused.header("x-ratelimit-limit"), "");
    // The same millisecond would still be within the grace.
    tokio::time::sleep(Duration::from_millis(2)).await;
    fakeintake.logs(logs(1)).await;
    assert_eq!(fakeintake.fault_counts(id).await["violations"], 1);
    let counts = fakeintake.counts(KEY, "logs").await;
    assert_eq!((&counts["rate_limit_violations"], &counts["refused"]), (&json!(1), &json!({ "429": 2 })));
}

#[tokio::test]
async fn a_quota_resets_with_its_period() {
    let fakeintake = FakeIntake::start(&[]);
    let id = fakeintake.fault(quota(1, 1.0, json!({}))).await;
    let mut refused = 0;
    for _ in 0..3 {
        loop {
            let reply = fakeintake.logs(logs(1)).await;
            if reply.status == 202 {
                break;
            }
            refused += 1;
            let reset = reply.header("x-ratelimit-reset").parse().unwrap();
            tokio::time::sleep(Duration::from_secs(reset)).await;
        }
    }
    let fault = fakeintake.fault_counts(id).await;
    assert_eq!((&fault["violations"], &fault["hits"]), (&json!(0), &json!(refused)));
    assert!(refused <= 2, "{refused} refusals for three requests");
}

#[tokio::test]
async fn faults_strike_validation_too() {
    let fakeintake = FakeIntake::start(&[]);
    fakeintake.fault(json!({ "path": "/api/v1/validate", "times": 1, "effect": { "status": { "code": 500 } } })).await;
    let path = format!("/api/v1/validate?api_key={KEY}");
    assert_eq!(fakeintake.get(&path).await.status, 500);
    assert_eq!(fakeintake.get(&path).await.status, 200);
}
