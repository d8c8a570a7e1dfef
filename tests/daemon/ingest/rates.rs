//! A tenant that sends faster than `[limits]` allow.

use super::port::{LOG, Mood, Port, post, post_json};
use dogsled::queue::{Limit, Refused};
use dogsled::settings::{Limits, OwnLimits};
use dogsled::types::TenantId;
use std::time::Duration;

/// A port of which `acme` may send an item a second.
async fn slow_port() -> Port {
    let port = Port::open(|_| {}).await;
    port.limit("acme", OwnLimits { items_per_second: Some(1), ..OwnLimits::default() });
    port
}

fn logs(count: usize) -> String {
    format!("[{}]", vec![LOG; count].join(","))
}

#[tokio::test]
async fn who_sends_too_fast_is_told_which_limit_and_when_to_come_again_and_others_go_on() {
    let port = slow_port().await;
    assert_eq!(port.send(post_json("/api/v2/logs", logs(100))).await.status, 202);
    let refused = port.send(post_json("/api/v2/logs", LOG)).await;
    refused.refused(429, &["acme", "1 items per second", "items_per_second"]);
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((90..=99).contains(&after), "{after}");
    assert_eq!(port.send(post("/api/v2/logs", "X-Tenant: globex\r\n", logs(100))).await.status, 202);
    assert_eq!(port.counts(), ["acme logs 100", "globex logs 100"]);
    // What is lifted is lifted at once.
    port.limit("acme", OwnLimits::default());
    assert_eq!(port.send(post_json("/api/v2/logs", LOG)).await.status, 202);
}

#[tokio::test]
async fn bytes_are_counted_as_they_are_without_compression() {
    let port = Port::open(|_| {}).await;
    port.limit("acme", OwnLimits { bytes_per_second: Some(10), ..OwnLimits::default() });
    assert_eq!(port.send(post_json("/api/v2/logs", LOG)).await.status, 202);
    let refused = port.send(post_json("/api/v2/logs", LOG)).await;
    refused.refused(429, &["acme", "10 bytes", "bytes_per_second"]);
    let after: usize = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((LOG.len() / 10 - 3..=LOG.len() / 10).contains(&after), "{after} s for {} bytes", LOG.len());
}

#[tokio::test]
async fn what_the_queue_refuses_is_not_charged() {
    let port = slow_port().await;
    let tenant = TenantId::new("acme").unwrap();
    let full = Refused::Full { tenant, limit: Limit::Quota, retry_after: Duration::from_secs(5) };
    port.mood(Mood::Refuse(full));
    for _ in 0..20 {
        port.send(post_json("/api/v2/logs", LOG)).await.refused(429, &["queue of tenant acme is full"]);
    }
    port.mood(Mood::Take);
    assert_eq!(port.send(post_json("/api/v2/logs", LOG)).await.status, 202);
}

#[tokio::test]
async fn the_limits_of_all_hold_for_those_without_their_own() {
    let limits = Limits { items_per_second: 1, bytes_per_second: 0 };
    let port = Port::open(|settings| settings.limits = limits).await;
    port.limit("globex", OwnLimits { items_per_second: Some(0), ..OwnLimits::default() });
    for (tenant, status) in [("acme", 202), ("acme", 429), ("globex", 202), ("globex", 202)] {
        let headers = format!("X-Tenant: {tenant}\r\n");
        assert_eq!(port.send(post("/api/v2/logs", &headers, logs(10))).await.status, status, "{tenant}");
    }
}
