//! What is refused, and in which words.

use super::harness::{FakeIntake, JSON, KEY, OTHER_KEY, logs, now, series2, zlib, zstd};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn each_endpoint_words_its_refusal_of_keys() {
    let fakeintake = FakeIntake::start(&["--keys", KEY]);
    let detailed = |status: &str, title: &str| json!({ "errors": [{ "status": status, "title": title, "detail": "API key is missing or invalid" }] });
    let cases = [
        ("/api/v2/series", 403, json!({ "errors": ["API key required"] }), json!({ "errors": ["Forbidden"] })),
        ("/api/v1/check_run", 403, json!({ "errors": ["API key required"] }), json!({ "errors": ["Forbidden"] })),
        ("/api/v2/logs", 401, detailed("401", "Unauthorized"), detailed("403", "Forbidden")),
        ("/api/v2/events", 403, detailed("403", "Forbidden"), detailed("403", "Forbidden")),
        (
            "/v1/input",
            403,
            json!({ "code": 403, "message": "API key required" }),
            json!({ "code": 403, "message": "Forbidden" }),
        ),
    ];
    for (path, status, missing, wrong) in cases {
        let request = || fakeintake.request(Method::POST, path).header("Content-Type", JSON).body("{}");
        let reply = fakeintake.send(request()).await;
        assert_eq!((reply.status.as_u16(), reply.json()), (status, missing), "{path}");
        let reply = fakeintake.send(request().header("DD-API-KEY", OTHER_KEY)).await;
        assert_eq!((reply.status.as_u16(), reply.json()), (403, wrong), "{path}");
    }
    let request = fakeintake.request(Method::POST, "/api/v1/series").header("DD-API-KEY", OTHER_KEY);
    let reply = fakeintake.send(request.header("Content-Type", JSON).body("{}")).await;
    let body = reply.json();
    assert_eq!((reply.status.as_u16(), &body["code"], &body["errors"]), (403, &json!(403), &json!(["Forbidden"])));
    assert!(body["statuspage"].is_string());
    assert_eq!(fakeintake.counts(OTHER_KEY, "series_v2").await["refused"], json!({ "403": 1 }));
    assert_eq!(fakeintake.counts("(none)", "logs").await["refused"], json!({ "401": 1, "403": 1 }));
}

#[tokio::test]
async fn a_malformed_key_gets_a_page() {
    let fakeintake = FakeIntake::start(&[]);
    let request = fakeintake.request(Method::POST, "/api/v2/series").header("DD-API-KEY", "not-a-key");
    let reply = fakeintake.send(request.header("Content-Type", JSON).body(series2("a"))).await;
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (403, "text/html; charset=utf-8"));
}

#[tokio::test]
async fn keys_are_validated_in_all_three_forms() {
    let fakeintake = FakeIntake::start(&["--keys", KEY]);
    let validate = |path: &str, key: &str| fakeintake.request(Method::GET, path).header("DD-API-KEY", key);
    let reply = fakeintake.send(validate("/api/v1/validate", KEY)).await;
    assert_eq!((reply.status.as_u16(), reply.json()), (200, json!({ "valid": true })));
    let reply = fakeintake.get("/api/v1/validate").await;
    assert_eq!((reply.status.as_u16(), reply.json()), (403, json!({ "errors": ["API key required"] })));
    let reply = fakeintake.get(&format!("/api/v1/validate?api_key={OTHER_KEY}")).await;
    assert_eq!((reply.status.as_u16(), reply.json()), (403, json!({ "errors": ["Forbidden"] })));
    let reply = fakeintake.send(validate("/api/v2/validate", KEY)).await.json();
    assert_eq!(reply["data"]["attributes"]["valid"], true);
    assert_eq!(reply["data"]["id"].as_str().unwrap().len(), 36);
    assert_eq!(fakeintake.send(validate("/api/v2/validate_keys", KEY)).await.status, 401);
    let both = validate("/api/v2/validate_keys", KEY).header("DD-APPLICATION-KEY", "0".repeat(40));
    assert_eq!(fakeintake.send(both).await.json(), json!({ "status": "ok" }));
}

#[tokio::test]
async fn keys_can_be_added_revoked_and_restored() {
    let fakeintake = FakeIntake::start(&["--keys", KEY]);
    let status = async || {
        let path = format!("/v1/input/{OTHER_KEY}");
        let request = fakeintake.request(Method::POST, &path).header("Content-Type", JSON).body(logs(1));
        fakeintake.send(request).await.status.as_u16()
    };
    let set = |valid: bool| fakeintake.control("keys", json!({ "key": OTHER_KEY, "org": "b", "valid": valid }));
    assert_eq!(status().await, 403);
    set(true).await;
    assert_eq!(status().await, 200);
    set(false).await;
    assert_eq!(status().await, 403);
    set(true).await;
    assert_eq!(status().await, 200);
    let keys = fakeintake.get("/_fakeintake/keys").await.json();
    assert!(keys.as_array().unwrap().iter().any(|key| key["key"] == OTHER_KEY && key["org"] == "b"));
}

/// JSON logs of exactly so many bytes.
fn logs_of(bytes: usize) -> String {
    let frame = r#"[{"message":""}]"#;
    format!(r#"[{{"message":"{}"}}]"#, "x".repeat(bytes - frame.len()))
}

/// A v2 series body of exactly so many bytes, hard to compress if `noise`.
fn series_of(bytes: usize, noise: bool) -> String {
    let body = series2("a.b");
    let frame = body.len() + r#""unit":"","#.len();
    let mut state = 1u64;
    let filler: String = (0..bytes - frame)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if noise { char::from(b'0' + (state >> 60) as u8) } else { 'x' }
        })
        .collect();
    body.replacen(r#""metric""#, &format!(r#""unit":"{filler}","metric""#), 1)
}

#[tokio::test]
async fn at_most_five_million_bytes_are_taken() {
    let fakeintake = FakeIntake::start(&[]);
    assert_eq!(fakeintake.logs(logs_of(5_000_000)).await.status, 202);
    assert_eq!(fakeintake.logs(logs_of(5_000_001)).await.status, 413);
    for (bytes, status) in [(5_000_000, 202), (5_000_001, 413)] {
        let body = zstd(logs_of(bytes).as_bytes());
        let request = fakeintake.submission("/api/v2/logs", JSON, body).header("Content-Encoding", "zstd");
        assert_eq!(fakeintake.send(request).await.status.as_u16(), status, "{bytes}");
    }
    assert_eq!(fakeintake.counts(KEY, "logs").await["items_cut"], 2);
}

#[tokio::test]
async fn at_most_a_thousand_logs_are_taken() {
    let fakeintake = FakeIntake::start(&[]);
    assert_eq!(fakeintake.logs(logs(1_000)).await.status, 202);
    let reply = fakeintake.logs(logs(1_001)).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["errors"][0]["title"]), (413, &json!("Payload Too Large")));
    assert_eq!(fakeintake.counts(KEY, "logs").await["items"], 1_000);
}

#[tokio::test]
async fn series_are_bounded_as_sent_and_once_decompressed() {
    let fakeintake = FakeIntake::start(&[]);
    for (bytes, status) in [(512_000, 202), (512_001, 413)] {
        let reply = fakeintake.submit("/api/v2/series", JSON, series_of(bytes, true)).await;
        assert_eq!(reply.status.as_u16(), status, "{bytes} bytes as sent");
    }
    for (bytes, status) in [(5_242_879, 202), (5_242_880, 413)] {
        let body = zlib(series_of(bytes, false).as_bytes());
        assert!(body.len() < 512_000);
        let request = fakeintake.submission("/api/v2/series", JSON, body).header("Content-Encoding", "deflate");
        assert_eq!(fakeintake.send(request).await.status.as_u16(), status, "{bytes} bytes decompressed");
    }
    let body = zlib(series_of(5_242_880, false).as_bytes());
    let request = fakeintake.submission("/api/v1/series", JSON, body).header("Content-Encoding", "deflate");
    // Too large for v2 and fine for v1, whose points are written differently.
    assert_eq!(fakeintake.send(request).await.status, 400);
    let reply = fakeintake.submit("/api/v1/series", JSON, " ".repeat(3_200_001)).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (413, &json!(413)));
}

#[tokio::test]
async fn a_bomb_is_refused_without_being_unpacked() {
    let fakeintake = FakeIntake::start(&[]);
    let bomb = zstd(&vec![b' '; 1 << 30]);
    assert!(bomb.len() < 512_000);
    let request = fakeintake.submission("/api/v2/series", JSON, bomb).header("Content-Encoding", "zstd");
    assert_eq!(fakeintake.send(request).await.status, 413);
}

#[tokio::test]
async fn a_body_of_another_encoding_is_refused() {
    let fakeintake = FakeIntake::start(&[]);
    let cases: [(&str, &'static str, &str); 9] = [
        ("/api/v2/series", "text/plain", "{}"),
        ("/api/v2/series", JSON, r#"{"series":[{"metric":"a","points":[]"#),
        ("/api/v2/series", JSON, r#"{"metrics":[]}"#),
        ("/api/v2/series", "application/x-protobuf", "\x0a\x05abc"),
        ("/api/beta/sketches", JSON, "{}"),
        ("/api/v2/logs", JSON, r#"[{"message":"a"},]"#),
        ("/api/v2/logs", JSON, r#"["a"]"#),
        ("/api/v2/logs", JSON, r#"[{"message":"a"}] more"#),
        ("/api/v1/check_run", JSON, r#"[{"check":"a","host_name":"h","status":4}]"#),
    ];
    for (path, content_type, body) in cases {
        let reply = fakeintake.submit(path, content_type, body.to_owned()).await;
        assert_eq!(reply.status, 400, "{path} {body}");
        assert!(reply.json()["errors"].is_array(), "{path} {body}");
    }
    let bad_utf8 = b"[{\"message\":\"\xff\"}]".to_vec();
    assert_eq!(fakeintake.logs(bad_utf8).await.status, 400);
    let request = fakeintake.submission("/api/v2/logs", JSON, logs(1)).header("Content-Encoding", "gzip");
    assert_eq!(fakeintake.send(request).await.status, 400);
}

#[tokio::test]
async fn one_bad_series_costs_the_payload() {
    let fakeintake = FakeIntake::start(&[]);
    let point = |time: u64| json!([{ "timestamp": time, "value": 1 }]);
    let bad = [
        (json!({ "metric": "", "points": point(now()) }), "empty"),
        (json!({ "metric": "1.2", "points": point(now()) }), "no letter"),
        (json!({ "metric": "m".repeat(351), "points": point(now()) }), "351"),
        (json!({ "metric": "a", "points": [] }), "no points"),
        (json!({ "metric": "a", "points": point(now() + 700) }), "ahead"),
        (json!({ "metric": "a", "points": [{ "timestamp": now(), "value": "1" }] }), "invalid type"),
        (json!({ "metric": "a", "points": [{ "timestamp": now(), "value": null }] }), "invalid type"),
        (json!({ "metric": "a", "type": 4, "points": point(now()) }), "type 4"),
        (json!({ "metric": "a", "points": point(now()), "tags": ["device:sda"] }), "reserved"),
        (json!({ "metric": "a", "points": point(now()), "tags": ["t".repeat(102_401)] }), "102401"),
        (
            json!({ "metric": "a", "points": point(now()), "resources": [{ "type": "host", "name": "h".repeat(256) }] }),
            "256",
        ),
    ];
    for (series, reason) in bad {
        let good = json!({ "metric": "good", "points": point(now()) });
        let reply = fakeintake.submit("/api/v2/series", JSON, json!({ "series": [good, series] }).to_string()).await;
        assert_eq!(reply.status, 400, "{reason}");
        assert!(reply.text.contains("series 1") && reply.text.contains(reason), "{reason}: {}", reply.text);
    }
    let nan = format!(r#"{{"series":[{{"metric":"a","points":[[{},NaN]]}}]}}"#, now());
    assert_eq!(fakeintake.submit("/api/v1/series", JSON, nan).await.status, 400);
    assert_eq!(fakeintake.counts(KEY, "series_v2").await["items"], 0);
}

#[tokio::test]
async fn events_that_datadog_refuses_are_refused() {
    let fakeintake = FakeIntake::start(&[]);
    let v1 = [
        (json!({ "title": "t" }), "text"),
        (json!({ "title": "t", "text": "x".repeat(4_001) }), "4001"),
        (json!({ "title": "t", "text": "x", "alert_type": "bad" }), "alert_type"),
        (json!({ "title": "t", "text": "x", "date_happened": now() - 70_000 }), "Event too far in the past"),
    ];
    for (event, reason) in v1 {
        let reply = fakeintake.submit("/api/v1/events", JSON, event.to_string()).await;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (400, "text/plain"), "{reason}");
        assert!(reply.json()["errors"][0].as_str().unwrap().contains(reason), "{reason}: {}", reply.text);
    }
    let event = |category: &str, title: &str, attributes: Value| {
        let inner = json!({ "title": title, "category": category, "attributes": attributes });
        json!({ "data": { "type": "event", "attributes": inner } })
    };
    let status = json!({ "status": "ok" });
    let v2 = [
        (
            event("other", "t", status.clone()),
            r#"$.data.attributes.category: value must be one of: ["alert", "change"]."#,
        ),
        (event("alert", "", status.clone()), "$.data.attributes.title"),
        (event("alert", "t", json!({})), "missing property \"status\""),
        (event("change", "t", status), "unknown property \"status\""),
    ];
    for (event, reason) in v2 {
        let reply = fakeintake.submit("/api/v2/events", JSON, event.to_string()).await;
        let error = reply.json()["errors"][0].clone();
        assert_eq!((&error["status"], &error["title"]), (&json!("400"), &json!("Bad Request")), "{reason}");
        assert!(error["detail"].as_str().unwrap().contains(reason), "{reason}: {}", reply.text);
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused() {
    let fakeintake = FakeIntake::start(&[]);
    assert_eq!(fakeintake.submit("/api/intake/metrics/v3/series", JSON, "{}").await.status, 404);
    let request = fakeintake.request(Method::GET, "/api/v2/logs").header("DD-API-KEY", KEY);
    assert_eq!(fakeintake.send(request).await.status, 405);
    assert_eq!(fakeintake.get("/_fakeintake/nothing").await.status, 404);
    let wrong = fakeintake.request(Method::POST, "/_fakeintake/faults").body(r#"{"effect":{"explode":{}}}"#);
    let reply = fakeintake.send(wrong).await;
    assert_eq!(reply.status, 400);
    assert!(reply.text.contains("explode"), "{}", reply.text);
    assert!(fakeintake.get("/").await.text.contains("/_fakeintake/received"));
}
