//! What is remembered of cumulative series, from one request to the next and from one run to the next.

use super::{Sent, answered, metric, nanos, series};
use crate::support::{Daemon, FakeIntake, Home, Setup, now_ms};
use serde_json::json;
use std::fs;

/// Sends a cumulative count of 100 and 10 for each of `rounds`, at that many seconds from `begin`.
async fn send(daemon: &Daemon, begin: i64, rounds: std::ops::Range<i64>) {
    for round in rounds {
        let point = json!({
            "startTimeUnixNano": nanos(begin - 1_000), "timeUnixNano": nanos(begin + round),
            "asInt": (100 + 10 * round).to_string(),
        });
        let sum = json!({ "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [point] });
        let request = metric(json!({ "name": "req", "sum": sum }));
        answered(Sent::json("/v1/metrics", &request).to(&daemon.url("ingest")).await, 200).await;
    }
}

async fn total(fakeintake: &FakeIntake, daemon: &Daemon) -> f64 {
    series(fakeintake, daemon, "acme").await.iter().map(|(_, value)| value).sum()
}

#[tokio::test]
async fn a_restart_counts_what_grew_across_it_once() {
    let fakeintake = FakeIntake::start();
    let (home, begin) = (Home::new(), now_ms() / 1_000 - 100);
    let setup = Setup::new(&fakeintake, &["acme"]).set("tenancy.default", "acme");
    let file = home.state_dir().join("otlp-series");
    let daemon = setup.start_in(&home).await;
    send(&daemon, begin, 0..3).await;
    assert_eq!(total(&fakeintake, &daemon).await, 20.0);
    daemon.stop().await;
    assert!(file.exists());
    let daemon = setup.start_in(&home).await;
    assert!(!file.exists(), "a crash from now on must not find it again");
    assert_eq!(daemon.scrape().await.sum("dogsled_otlp_series", &[]), 1.0);
    send(&daemon, begin, 4..6).await;
    assert_eq!(total(&fakeintake, &daemon).await, 50.0);
    daemon.stop().await;
}

#[tokio::test]
async fn a_crash_costs_the_difference_across_it_only() {
    let fakeintake = FakeIntake::start();
    let (home, begin) = (Home::new(), now_ms() / 1_000 - 100);
    let setup = Setup::new(&fakeintake, &["acme"]).set("tenancy.default", "acme");
    let daemon = setup.start_in(&home).await;
    send(&daemon, begin, 0..3).await;
    assert_eq!(total(&fakeintake, &daemon).await, 20.0);
    daemon.kill();
    let mut daemon = daemon;
    daemon.wait_end().await;
    let daemon = setup.start_in(&home).await;
    // From 120 to 140 was never told, and is lost; from 140 to 160 is not.
    send(&daemon, begin, 4..7).await;
    assert_eq!(total(&fakeintake, &daemon).await, 40.0);
    daemon.stop().await;
}

#[tokio::test]
async fn a_damaged_file_is_told_and_series_begin_anew() {
    let fakeintake = FakeIntake::start();
    let (home, begin) = (Home::new(), now_ms() / 1_000 - 100);
    let setup = Setup::new(&fakeintake, &["acme"]).set("tenancy.default", "acme");
    let daemon = setup.start_in(&home).await;
    send(&daemon, begin, 0..1).await;
    daemon.stop().await;
    let file = home.state_dir().join("otlp-series");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let daemon = setup.start_in(&home).await;
    assert_eq!(daemon.log("cumulative series").len(), 1, "{}", daemon.log_text());
    send(&daemon, begin, 1..3).await;
    assert_eq!(total(&fakeintake, &daemon).await, 10.0);
    daemon.stop().await;
}

#[tokio::test]
async fn requests_at_once_never_take_one_difference_twice() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["acme"]).set("tenancy.default", "acme").start().await;
    let begin = now_ms() / 1_000 - 100;
    send(&daemon, begin, 0..1).await;
    // The same points, ten times at once.
    let sends: Vec<_> = (0..10).map(|_| send(&daemon, begin, 1..4)).collect();
    futures_of(sends).await;
    assert_eq!(total(&fakeintake, &daemon).await, 30.0);
    daemon.stop().await;
}

/// Drives all of them at once.
async fn futures_of(futures: Vec<impl Future<Output = ()>>) {
    let mut pinned: Vec<_> = futures.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        pinned.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if pinned.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
