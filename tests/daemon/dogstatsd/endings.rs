use super::*;
use crate::support::{Home, now_ms};
use std::collections::BTreeSet;

#[tokio::test]
async fn the_open_bucket_goes_out_at_shutdown_and_overwrites_nothing() {
    let fakeintake = FakeIntake::start();
    let home = Home::new();
    // Longer than the test: every bucket is an open one.
    let setup = setup(&fakeintake, &["acme"]).set("tenancy.default", "acme").set("dogstatsd.interval", "60s");
    for _ in 0..3 {
        let daemon = setup.start_in(&home).await;
        let client = udp(&daemon);
        for _ in 0..100 {
            client.send(b"hits:6|c\nrt:1|d").unwrap();
        }
        daemon.stop().await;
        // The first bucket bears the second of the start.
        let second = || now_ms() / 1_000;
        let end = second();
        until("the next second", async || (second() > end).then_some(())).await;
    }
    let points = series(&fakeintake, "acme").await.remove("hits").unwrap();
    assert_eq!(points.iter().map(|(_, value)| value).sum::<f64>(), 3.0 * 100.0 * 6.0 / 60.0);
    let times: BTreeSet<_> = points.iter().map(|(time, _)| time).collect();
    assert_eq!(times.len(), 3, "{points:?}");
    assert_eq!(fakeintake.count("acme", "sketches", "items").await, 3);
}

#[tokio::test]
async fn a_kill_costs_the_open_bucket_only() {
    let fakeintake = FakeIntake::start();
    fakeintake.fault("acme", json!({ "effect": { "status": { "code": 503 } } })).await;
    let home = Home::new();
    let setup = setup(&fakeintake, &["acme"]).set("tenancy.default", "acme").set("journal.fsync", "always");
    let daemon = setup.start_in(&home).await;
    udp(&daemon).send(b"closed:7|c").unwrap();
    until("the closed bucket to be accepted", async || {
        (daemon.scrape().await.items("acme", "items_accepted_total") == 1).then_some(())
    })
    .await;
    daemon.kill();
    fakeintake.end_all_faults().await;
    let daemon = setup.start_in(&home).await;
    wait_sum(&fakeintake, "acme", "closed", 7.0).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_reload_loses_no_line() {
    let fakeintake = FakeIntake::start();
    let home = Home::new();
    let setup = setup(&fakeintake, &["acme"]).set("tenancy.default", "acme");
    let daemon = setup.start_in(&home).await;
    let client = udp(&daemon);
    for round in 0..6 {
        setup.clone().set("dogstatsd.tags", json!([format!("round:{round}")])).write_in(&home);
        daemon.hang_up();
        for _ in 0..50 {
            client.send(b"hits:1|c").unwrap();
        }
        until("the reload", async || (daemon.log("the configuration was reloaded").len() > round).then_some(())).await;
    }
    client.send(b"hits:1|c").unwrap();
    wait_sum(&fakeintake, "acme", "hits", 301.0).await;
    let tags: BTreeSet<_> = fakeintake
        .items("acme", "series_v2_protobuf")
        .await
        .iter()
        .map(|arrived| arrived.item["tags"][0].as_str().unwrap_or_default().to_owned())
        .collect();
    assert!(tags.contains("round:5"), "{tags:?}");
}
