//! Paths and what they answer.

use super::port::{LOG, Mood, Port, get, post, post_json};
use dogsled::queue::{Limit, Refused};
use dogsled::tenancy::TenantState;
use dogsled::types::TenantId;
use serde_json::{Value, json};
use std::time::Duration;

const SERIES_V2: &str = r#"{"series":[{"metric":"a.b","type":3,"points":[{"timestamp":1700000000,"value":1}]}]}"#;
const SERIES_V1: &str = r#"{"series":[{"metric":"a.b","points":[[1700000000,1]]}]}"#;
const DISTRIBUTION: &str = r#"{"series":[{"metric":"a.b","points":[[1700000000,[1,2]]]}]}"#;
const CHECK: &str = r#"[{"check":"c","host_name":"h","status":0,"tags":["a:b"],"timestamp":1700000000}]"#;
const EVENT: &str = r#"{"title":"t","text":"x","tags":["a:b"]}"#;
const AGENT_EVENTS: &str = r#"{"internalHostname":"h","events":{"api":[{"msg_title":"t","msg_text":"x"}]}}"#;

/// The series of the test vector for `MetricPayload`.
fn series_protobuf() -> Vec<u8> {
    let mut series = Vec::new();
    series.extend_from_slice(b"\x0a\x0a\x0a\x04host\x12\x02h1");
    series.extend_from_slice(b"\x12\x0capp.requests\x1a\x08env:prod");
    series.extend_from_slice(b"\x22\x0f\x09\x00\x00\x00\x00\x00\x00\x29\x40\x10\x80\xe2\xcf\xaa\x06\x28\x01\x40\x0a");
    [&[0x0a, u8::try_from(series.len()).unwrap()], &series[..]].concat()
}

#[tokio::test]
async fn a_taken_request_is_answered_in_datadogs_words_and_every_item_is_in_the_queue() {
    let port = Port::open(|_| {}).await;
    for (path, body, status, answer, taken) in [
        ("/api/v2/series", SERIES_V2, 202, r#"{"errors":[]}"#, "acme series_v2 1"),
        ("/api/v1/series", SERIES_V1, 202, r#"{"status":"ok"}"#, "acme series_v1 1"),
        ("/api/v1/distribution_points", DISTRIBUTION, 202, r#"{"status":"ok"}"#, "acme distribution_points 1"),
        ("/api/v2/logs", LOG, 202, "{}", "acme logs 1"),
        ("/v1/input", LOG, 200, "{}", "acme logs 1"),
        ("/v1/input/0123456789abcdef", LOG, 200, "{}", "acme logs 1"),
        ("/intake/", AGENT_EVENTS, 202, r#"{"status":"ok"}"#, "acme event_v1 1"),
        ("/api/v1/check_run", CHECK, 202, r#"{"status":"ok"}"#, "acme check_run 1"),
    ] {
        let before = port.counts().len();
        let reply = port.send(post_json(path, body)).await;
        assert_eq!((reply.status, &*reply.body), (status, answer), "{path}");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{path}");
        assert_eq!(port.counts()[before..], [taken], "{path}");
    }
}

#[tokio::test]
async fn the_content_type_tells_protobuf_and_text_from_json() {
    let port = Port::open(|_| {}).await;
    let protobuf = "Content-Type: application/x-protobuf\r\nX-Tenant: acme\r\n";
    let reply = port.send(post("/api/v2/series", protobuf, series_protobuf())).await;
    assert_eq!((reply.status, &*reply.body), (202, r#"{"errors":[]}"#));
    let text = "Content-Type: text/plain\r\nX-Tenant: acme\r\n";
    let reply = port.send(post("/api/v2/logs?ddsource=nginx&host=h", text, "one\ntwo\n")).await;
    assert_eq!(reply.status, 202);
    assert_eq!(port.counts(), ["acme series_v2_protobuf 1", "acme logs 2"]);
    let logs = &port.items()[1];
    assert!(logs.contains("\"nginx\"") && logs.contains("\"h\"") && logs.contains("\"two\""), "{logs}");
    let csv = "Content-Type: text/csv\r\nX-Tenant: acme\r\n";
    let reply = port.send(post("/api/v2/series", csv, "a,b")).await;
    reply.refused(415, &["text/csv", "application/x-protobuf"]);
}

#[tokio::test]
async fn refusals_have_the_form_that_clients_decode() {
    let port = Port::open(|_| {}).await;
    let refusal = async |path: &str, body: &str| {
        let reply = port.send(post_json(path, body)).await;
        assert_eq!(reply.status, 400, "{path} {reply:?}");
        serde_json::from_str::<Value>(&reply.body).unwrap()
    };
    let objects = |detail: &str| json!({"errors": [{"status": "400", "title": "Bad Request", "detail": detail}]});
    let message = "malformed body at byte 0: expected an object or an array of objects";
    assert_eq!(refusal("/api/v2/logs", "7").await, objects(message));
    assert_eq!(refusal("/v1/input", "7").await, json!({"code": 400, "message": message}));
    let event = r#"{"data":{"type":"event","attributes":{"title":"t","category":"x","attributes":{}}}}"#;
    let message = "`category` must be `change` or `alert`; other events go to version 1";
    assert_eq!(refusal("/api/v2/events", event).await, objects(message));
    let event = r#"{"title":"t","text":"x","date_happened":1}"#;
    assert_eq!(refusal("/api/v1/events", event).await, json!({"errors": ["Event too far in the past"]}));
    assert_eq!(
        refusal("/api/v1/check_run", "7").await,
        json!({"errors": ["malformed body at byte 0: expected an object or an array of objects"]})
    );
}

#[tokio::test]
async fn an_event_is_answered_with_what_clients_read_from_it() {
    let port = Port::open(|_| {}).await;
    let reply = port.send(post_json("/api/v1/events", EVENT)).await;
    assert_eq!(reply.status, 202);
    let answer: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((&answer["status"], &answer["event"]["title"]), (&json!("ok"), &json!("t")));
    assert!(answer["event"]["id"].as_i64().is_some_and(|id| id >= 0));
    assert_eq!(answer["event"]["id_str"], answer["event"]["id"].to_string());
    assert_eq!(answer["event"]["url"], "https://app.datadoghq.eu/event/explorer");
    assert!(answer.get("errors").is_none());

    let event = r#"{"data":{"type":"event","attributes":{"title":"t","category":"change",
        "attributes":{"changed_resource":{"name":"f","type":"feature_flag"}}}}}"#;
    let reply = port.send(post_json("/api/v2/events", event)).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let answer: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(answer["data"]["type"], "event");
    assert_eq!(port.counts(), ["acme event_v1 1", "acme event_v2 1"]);
}

#[tokio::test]
async fn probes_succeed_and_count_as_nothing() {
    let port = Port::open(|_| {}).await;
    for path in
        ["/api/v2/series", "/api/v1/series", "/api/beta/sketches", "/api/v2/logs", "/api/v1/check_run", "/intake/"]
    {
        for body in ["", "{}"] {
            let reply = port.send(post_json(path, body)).await;
            assert_eq!(reply.status, 202, "{path} {body:?} {reply:?}");
        }
    }
    let gzipped_nothing = "Content-Encoding: gzip\r\nX-Tenant: acme\r\n";
    assert_eq!(port.send(post("/api/v2/logs", gzipped_nothing, "")).await.status, 202);
    for path in ["/api/v1/metadata", "/api/v2/host_metadata"] {
        assert_eq!(port.send(post(path, "", r#"{"host":"h"}"#)).await.status, 202);
    }
    let host_metadata = port.send(post_json("/intake/", r#"{"internalHostname":"h","meta":{}}"#)).await;
    assert_eq!(host_metadata.status, 202);
    assert_eq!(port.counts(), [""; 0]);
}

#[tokio::test]
async fn a_full_queue_and_a_stopping_daemon_say_when_to_come_again() {
    let port = Port::open(|_| {}).await;
    let limit = Limit::Quota;
    let full =
        Refused::Full { tenant: TenantId::new("acme").unwrap(), limit, retry_after: Duration::from_millis(2_100) };
    port.mood(Mood::Refuse(full));
    let reply = port.send(post_json("/api/v2/logs", LOG)).await;
    reply.refused(429, &["acme", "full"]);
    assert_eq!(reply.header("retry-after"), Some("3"));
    port.mood(Mood::Refuse(Refused::Stopping));
    let reply = port.send(post_json("/api/v2/logs", LOG)).await;
    reply.refused(503, &["shutting down"]);
    assert!(reply.header("retry-after").is_some());
}

#[tokio::test]
async fn wrong_paths_and_methods_say_what_is_right() {
    let port = Port::open(|_| {}).await;
    port.send(post_json("/api/v9/series", SERIES_V2)).await.refused(404, &["/api/v9/series", "/api/v2/series"]);
    for path in ["/api/intake/metrics/v3/series", "/api/intake/metrics/v3beta/series"] {
        port.send(post(path, "", "x")).await.refused(404, &["use_v3_api.series.enabled: false"]);
    }
    let reply = port.send(get("/api/v2/series", "")).await;
    reply.refused(405, &["POST"]);
    assert_eq!(reply.header("allow"), Some("POST"));
    let reply = port.send(post("/api/v1/validate", "", "")).await;
    reply.refused(405, &["GET"]);
    assert_eq!(reply.header("allow"), Some("GET, HEAD"));
}

#[tokio::test]
async fn validate_is_true_for_a_connected_tenant_only() {
    let port = Port::open(|settings| settings.tenancy.from_tags = false).await;
    let by_token = get(&format!("/api/v1/validate?api_key={}", super::port::ACME_TOKEN), "");
    for request in
        [by_token.clone(), get("/api/v1/validate", "X-Tenant: acme\r\n"), get("/tenants/acme/api/v1/validate", "")]
    {
        let reply = port.send(request).await;
        assert_eq!((reply.status, &*reply.body), (200, r#"{"valid":true}"#));
    }
    let forbidden = (403, r#"{"errors":["Forbidden"]}"#);
    let unknown = port.send(get("/api/v1/validate", "DD-API-KEY: 0123456789abcdef0123456789abcdef\r\n")).await;
    assert_eq!((unknown.status, &*unknown.body), forbidden);
    let none = port.send(get("/api/v1/validate", "")).await;
    assert_eq!((none.status, &*none.body), (403, r#"{"errors":["API key required"]}"#));
    for (state, status) in [
        (TenantState::Pending, 403),
        (TenantState::Unauthorized, 403),
        (TenantState::Throttled, 200),
        (TenantState::Paused, 200),
    ] {
        port.registry.get("acme").unwrap().set_state(state);
        assert_eq!(port.send(&by_token).await.status, status, "{state:?}");
    }
}

#[tokio::test]
async fn health_and_readiness_need_no_tenant() {
    let port = Port::open(|settings| settings.ingest.require_token = true).await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(port.send(get(path, "")).await.status, 200);
    }
}

#[tokio::test]
async fn a_fault_in_one_request_costs_no_other() {
    let port = Port::open(|_| {}).await;
    port.mood(Mood::Panic);
    let mut client = port.connect().await;
    client.write(post_json("/api/v2/logs", LOG)).await;
    client.reply().await.refused(500, &["internal error"]);
    assert!(port.metrics.render().contains("dogsled_panics_total{part=\"ingest\"} 1"));
    port.mood(Mood::Take);
    assert_eq!(port.send(post_json("/api/v2/logs", LOG)).await.status, 202);
}

#[tokio::test]
async fn requests_are_counted_by_status() {
    let port = Port::open(|_| {}).await;
    for path in ["/api/v2/logs", "/api/v2/logs", "/v1/input", "/nowhere"] {
        port.send(post_json(path, LOG)).await;
    }
    let metrics = port.metrics.render();
    for line in [
        r#"dogsled_ingest_requests_total{status="202"} 2"#,
        r#"dogsled_ingest_requests_total{status="200"} 1"#,
        r#"dogsled_ingest_requests_total{status="404"} 1"#,
        r#"dogsled_ingest_requests_total{status="400"} 0"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}
