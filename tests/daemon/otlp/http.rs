//! OTLP over HTTP.

use super::{Headers, Sent, answered, logs, messages, metric, nanos, resource, series};
use crate::support::{FakeIntake, Setup, key_of, now_ms};
use serde_json::{Value, json};

const VECTORS: &str = include_str!("../../otlp/vectors.jsonl");

fn setup(fakeintake: &FakeIntake) -> Setup {
    Setup::new(fakeintake, &["acme", "globex"]).set("otlp.http_listen", "127.0.0.1:0")
}

fn bytes_of(hex: &Value) -> Option<Vec<u8>> {
    let hex = hex.as_str()?;
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()).collect()
}

#[tokio::test]
async fn requests_are_answered_as_the_vectors_say() {
    let fakeintake = FakeIntake::start();
    let daemon = setup(&fakeintake).set("tenancy.default", "acme").start().await;
    let vectors = VECTORS.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut tried = 0;
    for vector in vectors.filter(|vector| vector["signal"] == "http" && vector.get("condition").is_none()) {
        for listener in ["ingest", "otlp"] {
            let text = |name: &str| vector[name].as_str();
            let sent = Sent {
                path: text("path").unwrap(),
                content_type: text("content_type").unwrap_or_default(),
                headers: &[],
                body: bytes_of(&vector["body_hex"]).unwrap_or_else(|| text("body").unwrap_or_default().into()),
            };
            let answer = sent.to(&daemon.url(listener)).await;
            let id = format!("{} on {listener}", vector["id"]);
            assert_eq!(u64::from(answer.status().as_u16()), vector["status"].as_u64().unwrap(), "{id}");
            let is_json = text("content_type") == Some("application/json");
            if is_json {
                assert_eq!(answer.headers()["content-type"], "application/json", "{id}");
            }
            let body = answer.bytes().await.unwrap();
            if let Some(expected) = bytes_of(&vector["answer_hex"]) {
                assert_eq!(body, expected, "{id}");
            }
            if let (Some(expected), true) = (text("answer").filter(|answer| answer.starts_with('{')), is_json) {
                let (expected, mut told): (Value, Value) =
                    (serde_json::from_str(expected).unwrap(), serde_json::from_slice(&body).unwrap());
                if let Some(message) = told.pointer_mut("/partialSuccess/errorMessage") {
                    *message = "…".into();
                }
                assert_eq!(told, expected, "{id}");
            }
            tried += 1;
        }
    }
    assert_eq!(tried, 16);
    daemon.stop().await;
}

#[tokio::test]
async fn every_way_names_the_tenant() {
    let fakeintake = FakeIntake::start();
    let token = "0123456789abcdef0123456789abcdef";
    let daemon = setup(&fakeintake).set("tenants.acme.ingest_tokens", json!([token])).start().await;
    let bearer = format!("Bearer {token}");
    let sends: [(&str, Headers<'_>, &str); 5] = [
        ("/tenants/acme/v1/logs", &[], "path"),
        ("/v1/logs", &[("x-tenant", "acme")], "header"),
        ("/v1/logs", &[("dd-api-key", token)], "token"),
        ("/v1/logs", &[("authorization", &bearer)], "bearer"),
        ("/v1/logs", &[], "attribute"),
    ];
    for (path, headers, message) in sends {
        let attributes: Headers<'_> = if message == "attribute" { &[("tenant", "acme")] } else { &[] };
        let body = logs(attributes, &[message]);
        let answer = Sent::json(path, &body).with(headers).to(&daemon.url("otlp")).await;
        assert_eq!(answered(answer, 200).await, json!({}), "{message}");
    }
    fakeintake.wait_items("acme", "logs", sends.len()).await;
    let arrived = fakeintake.items("acme", "logs").await;
    assert!(arrived.iter().all(|log| log.item.get("tenant").is_none()), "{arrived:?}");
    let answer = Sent::json("/v1/logs", &logs(&[], &["nobody's"])).to(&daemon.url("otlp")).await;
    let told = answered(answer, 401).await;
    assert!(told["message"].as_str().unwrap().contains("an attribute tenant of the resource"), "{told}");
    let answer =
        Sent::json("/v1/logs", &logs(&[], &["x"])).with(&[("x-tenant", "nobody")]).to(&daemon.url("otlp")).await;
    assert!(answered(answer, 403).await["message"].as_str().unwrap().contains("\"nobody\""));
    daemon.stop().await;
}

#[tokio::test]
async fn one_request_reaches_several_tenants_and_tells_of_the_unknown() {
    let fakeintake = FakeIntake::start();
    let daemon = setup(&fakeintake).start().await;
    let mut request = logs(&[("tenant", "acme")], &["a"]);
    for (tenant, messages) in [("globex", &["b"][..]), ("nobody", &["c", "d"])] {
        let more = logs(&[("tenant", tenant)], messages)["resourceLogs"][0].clone();
        request["resourceLogs"].as_array_mut().unwrap().push(more);
    }
    let told = answered(Sent::json("/v1/logs", &request).to(&daemon.url("ingest")).await, 200).await;
    assert_eq!(told["partialSuccess"]["rejectedLogRecords"], "2", "{told}");
    let message = told["partialSuccess"]["errorMessage"].as_str().unwrap();
    assert!(message.contains("unknown tenant \"nobody\""), "{message}");
    for (tenant, message) in [("acme", "a"), ("globex", "b")] {
        fakeintake.wait_items(tenant, "logs", 1).await;
        assert_eq!(messages(&fakeintake, tenant).await, [message]);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn metrics_and_their_rejections_are_told_by_name() {
    let fakeintake = FakeIntake::start();
    let daemon = setup(&fakeintake).set("tenancy.default", "acme").start().await;
    let now = nanos(now_ms() / 1_000);
    let buckets =
        json!({ "timeUnixNano": now, "count": "3", "sum": 6.0, "bucketCounts": ["1", "2"], "explicitBounds": [2] });
    let scope = json!({ "metrics": [
        { "name": "up", "gauge": { "dataPoints": [{ "timeUnixNano": now, "asInt": "1" }, { "timeUnixNano": now, "asDouble": "NaN" }] } },
        { "name": "took", "histogram": { "aggregationTemporality": 1, "dataPoints": [buckets] } },
        { "name": "went", "exponentialHistogram": { "aggregationTemporality": 2, "dataPoints": [{ "timeUnixNano": now }] } },
    ] });
    let request = json!({ "resourceMetrics": [resource(&[("service.name", "web"), ("host.name", "h1")], "scopeMetrics", scope)] });
    let told = answered(Sent::json("/v1/metrics", &request).to(&daemon.url("otlp")).await, 200).await;
    assert_eq!(told["partialSuccess"]["rejectedDataPoints"], "2", "{told}");
    let message = told["partialSuccess"]["errorMessage"].as_str().unwrap();
    assert!(message.contains("\"up\"") && message.contains("\"went\"") && message.contains("delta"), "{message}");
    fakeintake.wait_items("acme", "sketches", 1).await;
    let sketch = &fakeintake.items("acme", "sketches").await[0].item;
    assert_eq!((&sketch["metric"], &sketch["host"]), (&json!("took"), &json!("h1")), "{sketch}");
    assert_eq!(series(&fakeintake, &daemon, "acme").await, [("up".to_owned(), 1.0)]);
    let scrape = daemon.scrape().await;
    assert_eq!(scrape.sum("dogsled_otlp_rejected_total", &[("signal", "metrics")]), 2.0);
    scrape.assert_balanced();
    daemon.stop().await;
}

#[tokio::test]
async fn a_full_queue_is_told_when_to_send_again_and_remembers_nothing() {
    let fakeintake = FakeIntake::start();
    let key = key_of("acme");
    fakeintake.fault("acme", json!({ "path": "*", "effect": { "status": { "code": 503 } } })).await;
    let daemon = setup(&fakeintake)
        .set("tenancy.default", "acme")
        .set("journal.max_bytes_per_tenant", "1MiB")
        .set("ingest.max_body", "1MiB")
        .start()
        .await;
    // With a tag that takes more room than will be left.
    let name = json!({ "stringValue": "y".repeat(90_000) });
    let point = |start: i64, time: i64, value: i64| {
        let point = json!({
            "startTimeUnixNano": nanos(start), "timeUnixNano": nanos(time), "asInt": value.to_string(),
            "attributes": [{ "key": "y", "value": name }],
        });
        let sum = json!({ "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [point] });
        metric(json!({ "name": "req", "sum": sum }))
    };
    let now = now_ms() / 1_000;
    let send = async |body: &Value| Sent::json("/v1/metrics", body).to(&daemon.url("otlp")).await;
    answered(send(&point(now - 1_000, now - 20, 100)).await, 200).await;
    let mut sizes = [200_000, 20_000].into_iter();
    let mut filler = logs(&[], &["x".repeat(sizes.next().unwrap()).as_str()]);
    let refused = loop {
        let answer = Sent::json("/v1/logs", &filler).to(&daemon.url("otlp")).await;
        if answer.status() != 200 {
            let Some(size) = sizes.next() else { break answer };
            filler = logs(&[], &["x".repeat(size).as_str()]);
        }
    };
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    assert!(!answered(refused, 429).await.to_string().contains(&key));
    let next = point(now - 1_000, now - 10, 130);
    answered(send(&next).await, 429).await;
    fakeintake.end_all_faults().await;
    daemon.wait_empty("acme").await;
    // What was refused is sent again as it was, and counts; a third time it is known.
    answered(send(&next).await, 200).await;
    answered(send(&next).await, 200).await;
    assert_eq!(series(&fakeintake, &daemon, "acme").await, [("req".to_owned(), 30.0)]);
    daemon.stop().await;
}
