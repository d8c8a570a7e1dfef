//! What is accepted, counted and recorded.

use super::harness::{FakeIntake, JSON, KEY, OTHER_KEY, gzip, logs, now, series2, zlib, zstd};
use reqwest::Method;
use serde_json::{Value, json};

const SERIES_PROTO: &str = "0a460a0a0a04686f737412026831120c6170702e72657175657374731a08656e763a70726f641a0b\
    736572766963653a776562220f0900000000000029401080e2cfaa062801400a";
const SKETCH_PROTO: &str = "0a590a0b6170702e6c6174656e6379120268312208656e763a70726f643a3c0880e2cfaa061005190000\
    00000000f03f210000000000005940296666666666663540310000000000c05a403a08f414ce158216c619420402010101";

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn series1() -> Value {
    json!({ "series": [{ "metric": "a.b", "points": [[now(), 1.5]], "type": "count", "host": "h" }] })
}

fn distribution() -> Value {
    json!({ "series": [{ "metric": "a.b", "points": [[now(), [1.0, 2.0]]], "tags": ["a:b"] }] })
}

fn check() -> Value {
    json!({ "check": "app.up", "host_name": "h", "status": 0, "tags": ["a:b"], "timestamp": now() })
}

fn change_event() -> Value {
    let changed = json!({ "changed_resource": { "name": "flag", "type": "feature_flag" } });
    let attributes = json!({ "title": "t", "category": "change", "message": "m", "attributes": changed });
    json!({ "data": { "type": "event", "attributes": attributes } })
}

#[tokio::test]
async fn every_endpoint_answers_with_its_own_success() {
    let fakeintake = FakeIntake::start(&[]);
    let ok = json!({ "status": "ok" });
    let none = json!({ "errors": [] });
    let cases: [(&str, Vec<u8>, u16, &Value, &str); 9] = [
        ("/api/v2/series", series2("a.b").into(), 202, &none, "series_v2"),
        ("/api/v1/series", series1().to_string().into(), 202, &ok, "series_v1"),
        ("/api/v1/distribution_points", distribution().to_string().into(), 202, &ok, "distribution_points"),
        ("/api/v2/logs", logs(1).into(), 202, &json!({}), "logs"),
        ("/v1/input", logs(1).into(), 200, &json!({}), "logs"),
        ("/api/v1/input", logs(1).into(), 200, &json!({}), "logs"),
        ("/api/v1/check_run", check().to_string().into(), 202, &ok, "check_run"),
        ("/api/v1/check_run", json!([check()]).to_string().into(), 202, &ok, "check_run"),
        (
            "/intake/",
            json!({ "events": { "api": [{ "msg_title": "t", "msg_text": "x" }] } }).to_string().into(),
            202,
            &ok,
            "agent_intake",
        ),
    ];
    for (path, body, status, answer, kind) in cases {
        let before = fakeintake.counts(KEY, kind).await["items"].as_u64().unwrap_or(0);
        let reply = fakeintake.submit(path, JSON, body).await;
        assert_eq!((reply.status.as_u16(), &reply.json()), (status, answer), "{path}");
        assert_eq!(fakeintake.counts(KEY, kind).await["items"], before + 1, "{path}");
    }
}

#[tokio::test]
async fn protobuf_is_decoded_for_the_record() {
    let fakeintake = FakeIntake::start(&[]);
    for (path, body) in [("/api/v2/series", SERIES_PROTO), ("/api/beta/sketches", SKETCH_PROTO)] {
        let reply = fakeintake.submit(path, "application/x-protobuf", unhex(body)).await;
        assert_eq!((reply.status.as_u16(), reply.json()), (202, json!({ "errors": [] })), "{path}");
    }
    let series = fakeintake.items("series_v2_protobuf").await;
    assert_eq!(series.len(), 1);
    assert_eq!(series[0]["metric"], "app.requests");
    assert_eq!(series[0]["points"], json!([{ "timestamp": 1_700_000_000, "value": 12.5 }]));
    let sketches = fakeintake.items("sketches").await;
    assert_eq!(sketches.len(), 1);
    assert_eq!(sketches[0]["dogsketches"][0]["k"], json!([1338, 1383, 1409, 1635]));
}

#[tokio::test]
async fn events_are_answered_with_their_content() {
    let fakeintake = FakeIntake::start(&[]);
    let event = json!({ "title": "t", "text": "x", "tags": ["a:b"], "priority": "low" });
    let answer = fakeintake.submit("/api/v1/events", JSON, event.to_string()).await;
    assert_eq!(answer.status, 202);
    let answer = answer.json();
    assert_eq!(
        (&answer["status"], &answer["event"]["title"], &answer["event"]["priority"]),
        (&json!("ok"), &json!("t"), &json!("low"))
    );
    let id = answer["event"]["id"].as_u64().unwrap();
    assert!(id > 1 << 53 && answer["event"]["id_str"].as_str() == Some(&id.to_string()));
    let answer = fakeintake.submit("/api/v2/events", JSON, change_event().to_string()).await;
    assert_eq!(answer.status, 202);
    assert!(answer.json()["data"]["attributes"]["attributes"]["evt"]["id"].is_string());
    assert_eq!(fakeintake.items("event_v1").await, [event]);
    assert_eq!(fakeintake.items("event_v2").await, [change_event()]);
}

#[tokio::test]
async fn each_endpoint_takes_datadogs_encodings_only() {
    let fakeintake = FakeIntake::start(&[]);
    let protobuf = "application/x-protobuf";
    type Case = (&'static str, &'static str, Vec<u8>, &'static [&'static str], u16);
    let cases: [Case; 10] = [
        ("/api/v2/series", JSON, series2("a").into(), &["deflate", "gzip", "zstd", "zstd1"], 400),
        ("/api/v2/series", protobuf, unhex(SERIES_PROTO), &["deflate", "gzip", "zstd", "zstd1"], 400),
        ("/api/v1/series", JSON, series1().to_string().into(), &["deflate", "gzip"], 400),
        ("/api/v1/distribution_points", JSON, distribution().to_string().into(), &["deflate"], 400),
        ("/api/beta/sketches", protobuf, unhex(SKETCH_PROTO), &["deflate", "gzip", "zstd", "zstd1"], 400),
        ("/api/v2/logs", JSON, logs(1).into(), &["deflate", "gzip", "zstd"], 415),
        ("/v1/input", JSON, logs(1).into(), &["deflate", "gzip"], 415),
        ("/api/v1/events", JSON, json!({ "title": "t", "text": "x" }).to_string().into(), &[], 400),
        ("/api/v2/events", JSON, change_event().to_string().into(), &[], 400),
        ("/api/v1/check_run", JSON, check().to_string().into(), &["deflate", "zstd"], 400),
    ];
    for (path, content_type, body, taken, refusal) in cases {
        for (encoding, encoded) in [
            ("identity", body.clone()),
            ("deflate", zlib(&body)),
            ("gzip", gzip(&body)),
            ("zstd", zstd(&body)),
            ("zstd1", zstd(&body)),
            ("br", body.clone()),
            ("gzip, zstd", body.clone()),
        ] {
            let request = fakeintake.submission(path, content_type, encoded).header("Content-Encoding", encoding);
            let reply = fakeintake.send(request).await;
            if encoding == "identity" || taken.contains(&encoding) {
                assert!(reply.status.is_success(), "{path} {encoding}: {reply:?}");
            } else {
                assert_eq!(reply.status.as_u16(), refusal, "{path} {encoding}");
                assert!(reply.text.contains(encoding), "{path} {encoding}: {reply:?}");
            }
        }
    }
}

#[tokio::test]
async fn logs_are_objects_or_text_lines() {
    let fakeintake = FakeIntake::start(&[]);
    assert_eq!(fakeintake.logs(r#"{"message":"one"}"#).await.status, 202);
    assert_eq!(fakeintake.submit("/api/v2/logs", "text/plain", "two \"quoted\"\nthree\n").await.status, 202);
    let messages: Vec<_> = fakeintake.items("logs").await.iter().map(|log| log["message"].clone()).collect();
    assert_eq!(messages, ["one", "two \"quoted\"", "three"]);
}

#[tokio::test]
async fn probes_succeed_and_count_as_nothing() {
    let fakeintake = FakeIntake::start(&[]);
    for path in ["/api/v2/series", "/api/v1/series", "/api/v2/logs", "/intake/"] {
        assert!(fakeintake.submit(path, JSON, "{}").await.status.is_success(), "{path}");
    }
    let received = fakeintake.get("/_fakeintake/received").await.json();
    let total = &received["keys"][KEY]["total"];
    assert_eq!((&total["requests"], &total["items"]), (&json!(4), &json!(0)));
}

#[tokio::test]
async fn keys_are_in_header_query_or_path() {
    let fakeintake = FakeIntake::start(&[]);
    for path in [
        format!("/api/v2/logs?dd-api-key={OTHER_KEY}"),
        format!("/api/v2/logs?api_key={OTHER_KEY}"),
        format!("/v1/input/{OTHER_KEY}"),
    ] {
        let request = fakeintake.request(Method::POST, &path).header("Content-Type", JSON).body(logs(1));
        assert!(fakeintake.send(request).await.status.is_success(), "{path}");
    }
    assert_eq!(fakeintake.counts(OTHER_KEY, "logs").await["requests"], 3);
}

#[tokio::test]
async fn the_counts_tell_sizes_encodings_and_concurrency() {
    let fakeintake = FakeIntake::start(&[]);
    let (small, large) = (logs(2), logs(700));
    let packed = zstd(large.as_bytes());
    fakeintake.logs(small.clone()).await;
    let request = fakeintake.submission("/api/v2/logs", JSON, packed.clone()).header("Content-Encoding", "zstd");
    assert_eq!(fakeintake.send(request).await.status, 202);
    let counts = fakeintake.counts(KEY, "logs").await;
    let expected = json!({
        "attempts": 2, "requests": 2, "items": 702, "bytes_sent": small.len() + packed.len(),
        "bytes_decompressed": small.len() + large.len(), "encodings": { "identity": 1, "zstd": 1 }, "max_items": 700,
        "max_bytes_sent": packed.len().max(small.len()), "max_bytes_decompressed": large.len(), "max_concurrent": 1,
        "refused": {}, "rate_limit_violations": 0, "items_cut": 0,
    });
    assert_eq!(counts, expected);

    let id = fakeintake.fault(json!({ "effect": { "hang": {} } })).await;
    let three = async { tokio::join!(fakeintake.logs(logs(1)), fakeintake.logs(logs(1)), fakeintake.logs(logs(1))) };
    let release = async {
        assert_eq!(fakeintake.get("/_fakeintake/wait?attempts=5").await.status, 200);
        fakeintake.request(Method::DELETE, &format!("/_fakeintake/faults/{id}")).send().await.unwrap()
    };
    tokio::join!(three, release);
    assert_eq!(fakeintake.counts(KEY, "logs").await["max_concurrent"], 3);
}

#[tokio::test]
async fn recorded_items_keep_text_and_order() {
    let fakeintake = FakeIntake::start(&[]);
    let exact = r#"{"message":"a","n":1.50,"b":"\u00e9","a":1}"#;
    fakeintake.logs(format!("[{exact} , {{\"message\":\"b\"}}]")).await;
    fakeintake.logs(r#"[{"message":"c"}]"#).await;
    let reply = fakeintake.get("/_fakeintake/received?items=true").await;
    assert!(reply.text.contains(&format!(r#""item":{exact}}}"#)), "{reply:?}");
    let rows = reply.json()["items"].clone();
    let column =
        |name: &str| rows.as_array().unwrap().iter().map(|row| row[name].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!((column("order"), column("request")), (vec![0, 1, 2], vec![1, 1, 2]));
    assert!(column("at_ms").iter().all(|at| at.abs_diff(now() * 1000) < 60_000));
    let part = fakeintake.get("/_fakeintake/received?items=true&from=1&limit=1").await.json();
    assert_eq!(part["items"][0]["item"]["message"], "b");
    assert_eq!(part["items"].as_array().unwrap().len(), 1);
    let none = fakeintake.get(&format!("/_fakeintake/received?items=true&key={OTHER_KEY}")).await.json();
    assert_eq!(none["items"], json!([]));
}

#[tokio::test]
async fn without_recording_everything_is_counted_and_nothing_kept() {
    let fakeintake = FakeIntake::start(&["--no-record", "--quiet"]);
    fakeintake.logs(logs(10)).await;
    assert_eq!(fakeintake.counts(KEY, "logs").await["items"], 10);
    let reply = fakeintake.get("/_fakeintake/received?items=true").await.json();
    assert_eq!((&reply["items"], &reply["recording"]["on"]), (&json!([]), &json!(false)));
}

#[tokio::test]
async fn waiting_ends_with_items_or_timeout() {
    let fakeintake = FakeIntake::start(&[]);
    let late = fakeintake.get("/_fakeintake/wait?items=1&timeout_ms=50").await;
    assert_eq!((late.status.as_u16(), &late.json()["reached"]), (408, &json!(false)));
    let path = format!("/_fakeintake/wait?kind=logs&key={KEY}&items=3");
    let waiting = fakeintake.get(&path);
    let sending = async {
        for _ in 0..3 {
            fakeintake.logs(logs(1)).await;
        }
    };
    let (waited, ()) = tokio::join!(waiting, sending);
    assert_eq!((waited.status.as_u16(), &waited.json()["items"]), (200, &json!(3)));
}

#[tokio::test]
async fn a_reset_clears_records_and_faults() {
    let fakeintake = FakeIntake::start(&[]);
    fakeintake.logs(logs(1)).await;
    fakeintake.fault(json!({ "effect": { "status": { "code": 503 } } })).await;
    fakeintake.control("reset", json!({})).await;
    assert_eq!(fakeintake.get("/_fakeintake/received").await.json()["keys"], json!({}));
    assert_eq!(fakeintake.get("/_fakeintake/faults").await.json(), json!([]));
    assert_eq!(fakeintake.logs(logs(1)).await.status, 202);
}

#[tokio::test]
async fn a_stand_in_runs_in_process() {
    use dogsled::fakeintake::{Effect, FakeIntake, Filter, Options, Rule};
    let _ = rustls::crypto::ring::default_provider().install_default();
    let fakeintake = FakeIntake::bind("127.0.0.1:0", Options::default()).unwrap();
    let (url, handle) = (format!("http://{}/api/v2/logs", fakeintake.addr()), fakeintake.handle());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(fakeintake.serve(async { drop(stopped.await) }));
    let send = async || {
        let request = reqwest::Client::new().post(&url).header("DD-API-KEY", KEY).header("Content-Type", JSON);
        request.body(logs(2)).send().await.unwrap().status().as_u16()
    };
    assert_eq!(send().await, 202);
    let filter = Filter { key: Some(KEY.into()), kind: None };
    assert!(handle.wait_items(&filter, 2, std::time::Duration::from_secs(10)).await);
    assert_eq!(handle.items(&filter, 0, 10)[1].json, r#"{"message":"log 1"}"#);
    let effect = Effect::Status { code: 500, headers: Default::default(), body: None };
    handle.add_fault(Rule { key: None, path: None, skip: 0, times: None, effect });
    assert_eq!((send().await, handle.faults()[0].hits), (500, 1));
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_termination_signal_ends_it_in_order() {
    let mut fakeintake = FakeIntake::start(&[]);
    assert_eq!(fakeintake.logs(logs(1)).await.status, 202);
    assert_eq!(fakeintake.terminate().code(), Some(0));
}
