//! Answers of one kind each.

use super::{LOGS, assert_each_once, dead_letters, ids};
use crate::support::{FakeIntake, Scripted, Setup, answer, key_of, until};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn accepted_items_are_delivered_and_counted() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a", "b"]).start().await;
    daemon.logs("a", 0..5).await;
    daemon.logs("b", 5..8).await;
    daemon.series("a", ["one".to_owned()]).await;
    fakeintake.wait_items("a", "logs", 5).await;
    fakeintake.wait_items("b", "logs", 3).await;
    fakeintake.wait_items("a", "series_v2", 1).await;
    assert_each_once(&fakeintake, "a", 0..5).await;
    assert_each_once(&fakeintake, "b", 5..8).await;
    daemon.wait_empty("a").await;
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    assert_eq!((scrape.items("a", "items_accepted_total"), scrape.items("a", "items_delivered_total")), (6, 6));
    assert_eq!(scrape.state("a").unwrap(), "active");
}

#[tokio::test]
async fn temporary_failures_are_retried_until_delivered() {
    for code in [408, 500, 502, 503, 504, 302] {
        let fakeintake = FakeIntake::start();
        let daemon = Setup::new(&fakeintake, &["a"]).start().await;
        let fault = fakeintake.fault("a", json!({ "times": 3, "effect": { "status": { "code": code } } })).await;
        daemon.logs("a", 0..10).await;
        fakeintake.wait_items("a", "logs", 10).await;
        assert_each_once(&fakeintake, "a", 0..10).await;
        assert_eq!(fakeintake.fault_figures(fault).await, (3, 0), "{code}");
        assert_eq!(fakeintake.count("a", "logs", "attempts").await, 4, "{code}");
        daemon.wait_empty("a").await;
        assert!(dead_letters(&daemon, "a").is_empty(), "{code}");
    }
}

#[tokio::test]
async fn a_connection_cut_before_the_answer_is_retried() {
    for when in ["headers", "half_body", "body"] {
        let fakeintake = FakeIntake::start();
        let daemon = Setup::new(&fakeintake, &["a"]).start().await;
        let fault = fakeintake.fault("a", json!({ "times": 3, "effect": { "close": { "when": when } } })).await;
        let text = "x".repeat(300_000);
        daemon.post("a", LOGS, &json!([{ "message": text, "id": 1 }, { "message": "m", "id": 2 }])).await;
        fakeintake.wait_items("a", "logs", 2).await;
        assert_each_once(&fakeintake, "a", 1..3).await;
        assert_eq!(fakeintake.fault_figures(fault).await.0, 3, "{when}");
        daemon.wait_empty("a").await;
    }
}

#[tokio::test]
async fn an_unanswered_request_times_out_and_is_retried() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).set("delivery.timeout", "200ms").start().await;
    let fault = fakeintake.fault("a", json!({ "times": 2, "effect": { "hang": {} } })).await;
    daemon.logs("a", 0..10).await;
    until("all to arrive", async || (ids(&fakeintake.items("a", "logs").await).len() == 10).then_some(())).await;
    assert_eq!(fakeintake.fault_figures(fault).await.0, 2);
    // On a busy machine an answer may come too late.
    assert!(fakeintake.count("a", "logs", "attempts").await >= 3);
    daemon.wait_empty("a").await;
}

#[tokio::test]
async fn a_lost_answer_delivers_the_payload_again() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    fakeintake.fault("a", json!({ "times": 2, "effect": { "answer_lost": {} } })).await;
    daemon.logs("a", 0..10).await;
    daemon.wait_empty("a").await;
    let arrived = ids(&fakeintake.items("a", "logs").await);
    assert_eq!(arrived, (0..10).map(|id| (id, 3)).collect());
    assert_eq!(daemon.scrape().await.items("a", "items_delivered_total"), 10);
}

/// Answers each connection's first request with the next of these texts as they stand, and hangs up. Gives the address, and the
/// number of requests to `path`.
async fn verbatim(path: &'static str, answers: &'static [&'static str]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let is_whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request).to_lowercase();
                let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
                let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
                request.len() >= head.len() + 4 + length.unwrap_or(0)
            };
            while !is_whole(&request) && stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {}
            let is_wanted = request.starts_with(format!("POST {path} ").as_bytes());
            let number = if is_wanted { counter.fetch_add(1, Ordering::Relaxed) } else { usize::MAX };
            let text = answers.get(number).unwrap_or(&"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            // The client may have gone.
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    (url, count)
}

#[tokio::test]
async fn a_truncated_answer_counts_by_its_status() {
    let cut: &[&str] = &[
        "",
        "HTTP/1.1 202 Acc",
        "HTTP/1.1 202 Accepted\r\ncontent-le",
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 100\r\n\r\n{",
        "HTTP/1.1 202 Accepted\r\ncontent-length: 100\r\n\r\n{\"err",
    ];
    let (url, count) = verbatim(LOGS, cut).await;
    let daemon = Setup::at(&url, &["a"]).start().await;
    daemon.logs("a", [1]).await;
    daemon.wait_empty("a").await;
    assert_eq!(daemon.scrape().await.items("a", "items_delivered_total"), 1);
    assert_eq!(count.load(Ordering::Relaxed), cut.len());
}

#[tokio::test]
async fn a_good_answer_is_good_whatever_is_in_it() {
    let odd: &[&str] = &[
        "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nOK",
        "HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"errors\":[\"no\"]}",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 202 Accepted\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc",
        "HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\nffff\r\nnot that much\r\n",
        "HTTP/1.0 202\r\nretry-after: soon\r\nx-ratelimit-limit: many\r\n\r\n\u{0}\u{1}",
    ];
    let (url, count) = verbatim(LOGS, odd).await;
    let daemon = Setup::at(&url, &["a"]).start().await;
    for number in 0..odd.len() {
        daemon.logs("a", [number as u64]).await;
        daemon.wait_empty("a").await;
    }
    assert_eq!(daemon.scrape().await.items("a", "items_delivered_total"), odd.len() as u64);
    assert_eq!(count.load(Ordering::Relaxed), odd.len());
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Scripted::start(|_| async { answer(202) }).await;
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    for code in [301, 302, 303, 307, 308] {
        let location = format!("{}{LOGS}", elsewhere.url);
        let effect = json!({ "status": { "code": code, "headers": { "location": location } } });
        let fault = fakeintake.fault("a", json!({ "effect": effect })).await;
        let before = fakeintake.count("a", "logs", "attempts").await;
        daemon.logs("a", [code]).await;
        fakeintake.wait_attempts("a", "logs", before + 2).await;
        fakeintake.end_fault(fault).await;
        daemon.wait_empty("a").await;
    }
    assert_each_once(&fakeintake, "a", [301, 302, 303, 307, 308]).await;
    assert!(elsewhere.seen(LOGS).is_empty(), "{:?}", elsewhere.seen(LOGS));
}

#[tokio::test]
async fn a_refused_encoding_is_replaced_by_the_next() {
    let refusals = [(415, "unsupported media type"), (400, r#"{"errors":["unsupported Content-Encoding"]}"#)];
    for (code, body) in refusals {
        let fakeintake = Scripted::start(move |request| async move {
            let plain = !request.headers.contains_key("content-encoding");
            let mut reply = answer(if plain { 202 } else { code });
            *reply.body_mut() = body.into();
            reply
        })
        .await;
        let daemon = Setup::at(&fakeintake.url, &["a"]).start().await;
        daemon.logs("a", 0..3).await;
        daemon.wait_empty("a").await;
        daemon.logs("a", 3..5).await;
        daemon.wait_empty("a").await;
        let requests = fakeintake.seen(LOGS);
        let encoding =
            |index: usize| requests[index].headers.get("content-encoding").map(|value| value.to_str().unwrap());
        assert_eq!((0..4).map(encoding).collect::<Vec<_>>(), [Some("zstd"), Some("gzip"), Some("deflate"), None]);
        assert_eq!(requests.len(), 5, "what was learnt is kept");
        assert_eq!(encoding(4), None);
        let sent: Vec<serde_json::Value> = serde_json::from_slice(&requests[3].body).unwrap();
        assert_eq!(sent.iter().map(|log| log["id"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(daemon.scrape().await.items("a", "items_delivered_total"), 5);
        assert!(dead_letters(&daemon, "a").is_empty());
    }
}

#[tokio::test]
async fn the_headers_are_those_that_datadog_asks_for() {
    let fakeintake = Scripted::start(|_| async { answer(202) }).await;
    let daemon = Setup::at(&fakeintake.url, &["a"]).start().await;
    daemon.logs("a", [1]).await;
    daemon.wait_empty("a").await;
    let request = fakeintake.seen(LOGS).remove(0);
    let header =
        |name: &str| request.headers.get(name).unwrap_or_else(|| panic!("{name}")).to_str().unwrap().to_owned();
    assert_eq!(header("dd-api-key"), key_of("a"));
    assert_eq!(header("content-type"), "application/json");
    assert!(header("user-agent").starts_with("dogsled/"));
}
