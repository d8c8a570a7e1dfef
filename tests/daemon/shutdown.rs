//! The end of the daemon: what is queued is delivered, clients cannot hold it up, and what is left is told.

use crate::support::{Daemon, FakeIntake, Setup, event, until};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Waits for the end in good order; gives the line with the final figures.
async fn end(daemon: &mut Daemon) -> Value {
    let status = daemon.wait_end().await;
    assert_eq!(status.code(), Some(0), "{}", daemon.log_text());
    until("the last line of the log", async || daemon.log("stopped").into_iter().next()).await
}

/// Waits until requests are told to come again later.
async fn closed(daemon: &Daemon) {
    until("requests to be turned away", async || {
        let answer = daemon.try_post("a", "/api/v2/logs", b"[]".to_vec()).await.unwrap();
        (answer.status == 503).then(|| assert!(answer.retry_after.is_some(), "{answer:?}"))
    })
    .await;
}

/// A connection on which a request without its last `missing` bytes has been sent, and whose body the daemon reads.
async fn begin(daemon: &Daemon, body: &str, missing: usize) -> TcpStream {
    let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
    let head = [
        "POST /api/v2/logs HTTP/1.1",
        "Host: h",
        "X-Tenant: a",
        "Content-Type: application/json",
        "Expect: 100-continue",
        &format!("Content-Length: {}", body.len()),
        "\r\n",
    ];
    stream.write_all(head.join("\r\n").as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&body.as_bytes()[..body.len() - missing]).await.unwrap();
    stream
}

#[tokio::test]
async fn what_is_queued_is_delivered_before_the_end_without_waiting_for_batches() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a", "b"]).set("batch.max_age", "10m").set("shutdown.grace", "60s");
    let mut daemon = setup.start().await;
    fakeintake.fault("b", json!({ "times": 3, "effect": { "status": { "code": 503 } } })).await;
    for number in 0..10 {
        daemon.logs("a", number * 10..number * 10 + 10).await;
        daemon.series("b", [format!("m{number}")]).await;
        daemon.post("b", "/api/v1/events", &event(&number.to_string())).await;
    }
    let started = Instant::now();
    daemon.terminate();
    let stopped = end(&mut daemon).await;
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(
        (&stopped["accepted"], &stopped["delivered"], &stopped["queued"]),
        (&json!(120), &json!(120), &json!(0))
    );
    assert_eq!(fakeintake.items("a", "logs").await.len(), 100);
    assert_eq!(fakeintake.items("b", "series_v2").await.len(), 10);
    assert_eq!(fakeintake.items("b", "event_v1").await.len(), 10);
}

#[tokio::test]
async fn a_request_under_way_is_answered_and_its_items_are_delivered_while_no_other_is_taken() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a"]).set("shutdown.grace", "60s").set("shutdown.accept", "50ms");
    let mut daemon = setup.start().await;
    let body = json!([{ "message": "m", "id": 1 }]).to_string();
    let mut stream = begin(&daemon, &body, 5).await;
    daemon.terminate();
    closed(&daemon).await;
    stream.write_all(&body.as_bytes()[body.len() - 5..]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(end(&mut daemon).await["delivered"], 1);
    assert_eq!(fakeintake.items("a", "logs").await.len(), 1);
}

#[tokio::test]
async fn what_is_not_delivered_within_the_grace_is_told_with_its_numbers() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a", "b", "c"]).set("shutdown.grace", "500ms");
    let mut daemon = setup.start().await;
    fakeintake.fault("a", json!({ "effect": { "hang": {} } })).await;
    fakeintake.set_key("b", false).await;
    daemon.logs("a", 0..7).await;
    daemon.series("b", ["one".to_owned(), "two".to_owned()]).await;
    daemon.logs("c", 0..3).await;
    daemon.wait_state("b", "unauthorized").await;
    daemon.wait_empty("c").await;
    daemon.terminate();
    let stopped = end(&mut daemon).await;
    assert_eq!((&stopped["accepted"], &stopped["delivered"], &stopped["queued"]), (&json!(12), &json!(3), &json!(9)));
    let lost: Vec<_> =
        daemon.log("not delivered").iter().map(|l| json!([l["tenant"], l["kind"], l["items"]])).collect();
    assert_eq!(lost, [json!(["a", "logs", 7]), json!(["b", "series_v2", 2])]);
}

#[tokio::test]
async fn a_second_sigterm_ends_it_at_once() {
    let fakeintake = FakeIntake::start();
    let mut daemon = Setup::new(&fakeintake, &["a"]).set("shutdown.grace", "10m").start().await;
    fakeintake.fault("a", json!({ "effect": { "hang": {} } })).await;
    daemon.logs("a", 0..7).await;
    fakeintake.wait_attempts("a", "logs", 1).await;
    daemon.terminate();
    until("it to begin to end", async || daemon.log("shutting down").into_iter().next()).await;
    assert!(daemon.ended().is_none());
    daemon.terminate();
    assert_eq!(end(&mut daemon).await["queued"], 7);
    assert_eq!(daemon.log("not delivered").len(), 1);
}

#[tokio::test]
async fn connections_that_clients_keep_open_do_not_hold_it_up() {
    let fakeintake = FakeIntake::start();
    let mut daemon = Setup::new(&fakeintake, &["a"]).set("shutdown.grace", "10m").start().await;
    // One that never sent anything, one that has been served, and the pool of the tests' own client.
    let _silent = TcpStream::connect(daemon.address()).await.unwrap();
    let body = json!([{ "message": "m", "id": 1 }]).to_string();
    let mut served = begin(&daemon, &body, 0).await;
    let mut answer = [0; 12];
    served.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 202");
    daemon.logs("a", [2]).await;
    daemon.terminate();
    assert_eq!(end(&mut daemon).await["delivered"], 2);
}

#[tokio::test]
async fn a_client_that_never_ends_its_request_gets_no_more_than_the_grace() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a"]).set("shutdown.grace", "500ms");
    let setup = setup.set("ingest.header_timeout", "10m").set("ingest.body_timeout", "10m");
    let setup = setup.set("shutdown.accept", "50ms");
    let mut daemon = setup.start().await;
    let _slow = begin(&daemon, &"x".repeat(1000), 10).await;
    let mut header = TcpStream::connect(daemon.address()).await.unwrap();
    header.write_all(b"POST /api/v2/logs HTTP/1.1\r\nHo").await.unwrap();
    daemon.logs("a", [2]).await;
    daemon.terminate();
    assert_eq!(end(&mut daemon).await["delivered"], 1);
}

#[tokio::test]
async fn it_says_that_it_is_not_ready_while_it_ends() {
    let fakeintake = FakeIntake::start();
    let mut daemon = Setup::new(&fakeintake, &["a"]).set("shutdown.grace", "10m").start().await;
    let fault = fakeintake.fault("a", json!({ "effect": { "hang": {} } })).await;
    daemon.logs("a", 0..7).await;
    fakeintake.wait_attempts("a", "logs", 1).await;
    assert_eq!(daemon.admin_status("/readyz").await, 200);
    daemon.terminate();
    until("it not to be ready", async || (daemon.admin_status("/readyz").await == 503).then_some(())).await;
    assert_eq!(daemon.admin_status("/healthz").await, 200);
    daemon.scrape().await.assert_balanced();
    fakeintake.end_fault(fault).await;
    assert_eq!(end(&mut daemon).await["delivered"], 7);
}

#[tokio::test]
async fn the_last_telemetry_of_others_is_taken_and_no_connection_refused() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a"]).set("shutdown.grace", "10m").set("shutdown.accept", "2s");
    let setup = setup.set("shutdown.quiet", "2s");
    let mut daemon = setup.start().await;
    let fault = fakeintake.fault("a", json!({ "effect": { "hang": {} } })).await;
    daemon.logs("a", 0..3).await;
    daemon.terminate();
    until("it not to be ready", async || (daemon.admin_status("/readyz").await == 503).then_some(())).await;
    // On a kept connection, and on a new one.
    daemon.logs("a", 3..5).await;
    let body = json!([{ "message": "m", "id": 5 }]).to_string();
    let mut stream = begin(&daemon, &body, 0).await;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 202");
    closed(&daemon).await;
    // For as long as it lives.
    for _ in 0..20 {
        assert!(TcpStream::connect(daemon.address()).await.is_ok());
    }
    closed(&daemon).await;
    fakeintake.end_fault(fault).await;
    assert_eq!(end(&mut daemon).await["delivered"], 6);
}
