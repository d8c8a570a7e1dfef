//! Clients that take their time are told so, or hung up on, by the real daemon, and nobody else notices.

use crate::support::{Daemon, FakeIntake, Setup};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const HEAD: &str = "POST /api/v2/logs HTTP/1.1\r\nHost: h\r\nX-Tenant: a\r\nContent-Type: application/json\r\n";

async fn connect(daemon: &Daemon, first: &str) -> TcpStream {
    let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
    stream.write_all(first.as_bytes()).await.unwrap();
    stream
}

/// All that comes until the daemon hangs up, and how long that took.
async fn rest(mut stream: TcpStream) -> (String, Duration) {
    let (from, mut text) = (Instant::now(), Vec::new());
    // It may well be a reset: what was sent is not read to its end.
    let _ = timeout(crate::support::DEADLINE, stream.read_to_end(&mut text)).await.expect("the daemon hangs up");
    (String::from_utf8(text).unwrap(), from.elapsed())
}

#[tokio::test]
async fn a_slow_body_is_answered_408_a_slow_header_is_hung_up_on_and_others_are_served_meanwhile() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a"]).set("ingest.header_timeout", "500ms").set("ingest.body_timeout", "1s");
    let daemon = setup.start().await;
    let stopped = connect(&daemon, &format!("{HEAD}Content-Length: 100\r\n\r\n[{{\"message\":")).await;
    let unsized_body = connect(&daemon, &format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\n[{{\"me\r\n")).await;
    // One byte now and then does not help: the time is for the whole.
    let mut dribbling = connect(&daemon, &format!("{HEAD}Content-Length: 100000\r\n\r\n[")).await;
    let (mut reading, mut writing) = dribbling.split();
    let header = connect(&daemon, HEAD).await;
    let silent = connect(&daemon, "").await;
    let dribble = async {
        while writing.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answered = async {
        let mut start = [0; 12];
        timeout(crate::support::DEADLINE, reading.read_exact(&mut start)).await.expect("an answer").unwrap();
        start
    };
    daemon.logs("a", [1]).await;
    let (stopped, unsized_body, header, silent, dribbled) =
        tokio::join!(rest(stopped), rest(unsized_body), rest(header), rest(silent), async {
            tokio::select! {
                start = answered => start,
                () = dribble => panic!("hung up on without an answer"),
            }
        });
    for (answer, took) in [&stopped, &unsized_body] {
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let detail = "the body did not arrive within 1 seconds (ingest.body_timeout)";
        let words = json!({ "errors": [{ "status": "408", "title": "Request Timeout", "detail": detail }] });
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap(), words);
        assert!(*took < Duration::from_secs(20), "{took:?}");
    }
    assert_eq!(&dribbled, b"HTTP/1.1 408");
    // There is no request yet that could be answered.
    for (answer, _) in [header, silent] {
        assert_eq!(answer, "");
    }
    fakeintake.wait_items("a", "logs", 1).await;
    let scrape = daemon.scrape().await;
    assert_eq!(scrape.sum("dogsled_ingest_requests_total", &[("status", "408")]), 3.0);
    assert_eq!(scrape.sum("dogsled_items_accepted_total", &[("tenant", "a")]), 1.0, "nothing of them was taken");
}
