use super::*;
use std::process::Command;
use std::time::Duration;

#[tokio::test]
async fn every_datagram_is_taken_or_counted_as_dropped_by_the_kernel() {
    let fakeintake = FakeIntake::start();
    let daemon =
        setup(&fakeintake, &["acme"]).set("tenancy.default", "acme").set("dogstatsd.so_rcvbuf", 65_536).start().await;
    let client = udp(&daemon);
    let signal = |name: &str| {
        let done = Command::new("kill").args([name, &daemon.pid().to_string()]).status().unwrap();
        assert!(done.success());
    };
    // More than the receive buffer holds, while nobody reads.
    signal("-STOP");
    let line = format!("flood:1|c|#{}", "x".repeat(1_000));
    for _ in 0..2_000 {
        client.send(line.as_bytes()).unwrap();
    }
    signal("-CONT");
    // What was dropped is told with the next datagram that is not.
    wait_lines(&daemon, 1).await;
    client.send(line.as_bytes()).unwrap();
    until("all that was sent to be accounted for", async || {
        let dropped = daemon.scrape().await.sum("dogsled_dogstatsd_kernel_drops_total", &[]) as u64;
        (lines(&daemon).await + dropped == 2_001 && dropped > 0).then_some(())
    })
    .await;
    let taken = lines(&daemon).await;
    wait_sum(&fakeintake, "acme", "flood", taken as f64).await;
}

#[tokio::test]
async fn a_runaway_tag_costs_its_tenant_new_contexts_only() {
    let fakeintake = FakeIntake::start();
    let daemon = setup(&fakeintake, &["acme", "globex"])
        .set("dogstatsd.max_contexts_per_tenant", 500)
        .set("dogstatsd.context_expiry", "5m")
        .start()
        .await;
    let client = udp(&daemon);
    client.send(b"old:1|c|#tenant:acme").unwrap();
    wait_lines(&daemon, 1).await;
    let before = daemon.resident();
    let mut id = 0;
    for round in 0..400_u64 {
        let mut lines: Vec<_> = (0..20).map(|n| format!("runaway:1|c|#id:{},tenant:acme", id + n)).collect();
        id += 20;
        lines.push("old:1|c|#tenant:acme\nhits:1|c|#tenant:globex".to_owned());
        client.send(lines.join("\n").as_bytes()).unwrap();
        if round % 10 == 9 {
            wait_lines(&daemon, (round + 1) * 22).await;
        }
    }
    wait_sum(&fakeintake, "acme", "old", 401.0).await;
    wait_sum(&fakeintake, "globex", "hits", 400.0).await;
    assert_eq!(errors(&daemon, "context_limit").await, 8_000 - 499);
    assert_eq!(daemon.scrape().await.sum("dogsled_dogstatsd_contexts", &[]), 501.0);
    assert!(daemon.resident() < before + (48 << 20), "{} to {}", before, daemon.resident());
    // The operator is told which name is to blame.
    let status = status(&daemon).await;
    let acme = status["tenants"].as_array().unwrap().iter().find(|tenant| tenant["tenant"] == "acme").unwrap();
    assert_eq!((&acme["contexts"], &acme["refused"]), (&json!(500), &json!(8_000 - 499)));
    assert_eq!(acme["names"][0], json!({ "name": "runaway", "contexts": 499 }));
    assert_eq!((&status["lines"], &status["errors"][0]["reason"]), (&json!(8_801), &json!("context_limit")));
}

#[tokio::test]
async fn a_tenant_whose_queue_is_full_costs_others_nothing() {
    let fakeintake = FakeIntake::start();
    fakeintake.fault("full", json!({ "effect": { "status": { "code": 503 } } })).await;
    let daemon = setup(&fakeintake, &["full", "acme"]).set("tenants.full.max_bytes", "1MiB").start().await;
    let client = udp(&daemon);
    until("the queue of one tenant to be full", async || {
        for shard in 0..100 {
            let tags = format!("{},shard:{shard},tenant:full", "x".repeat(4_000));
            client.send(format!("hits:1|g|#{tags}").as_bytes()).unwrap();
        }
        client.send(b"hits:1|c|#tenant:acme").unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        (!daemon.log("what was aggregated of DogStatsD is dropped").is_empty()).then_some(())
    })
    .await;
    let before = sum(&fakeintake, "acme", "hits").await;
    client.send(b"hits:5|c|#tenant:acme").unwrap();
    until("the other tenant's to arrive", async || {
        (sum(&fakeintake, "acme", "hits").await >= before + 5.0).then_some(())
    })
    .await;
    daemon.scrape().await.assert_balanced();
}
