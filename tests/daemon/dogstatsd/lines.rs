use super::*;

#[tokio::test]
async fn every_type_arrives_as_the_agent_sends_it() {
    let fakeintake = FakeIntake::start();
    let daemon = setup(&fakeintake, &["acme"]).set("tenancy.default", "acme").start().await;
    let packet = "hits:3|c|#b,a,b\nhits:2|c|@0.5|#a,b\ntemp:-4.5|g|#host:db1\nusers:a|s\nusers:b|s\nusers:a|s\n\
                  lat:3:1:4:1:5|ms\nrt:5:12.5:12.5:250|d|#r:eu\nold:7|g|T1700000003\n\
                  _e{6,4}:deploy|done|t:warning|#x\n_sc|db.up|2|m:no route|h:h9";
    udp(&daemon).send(packet.as_bytes()).unwrap();
    for (name, kind, value) in [
        ("hits", 2, 7.0),
        ("temp", 3, -4.5),
        ("users", 3, 2.0),
        ("lat.max", 3, 5.0),
        ("lat.median", 3, 3.0),
        ("lat.avg", 3, 2.8),
        ("lat.count", 2, 5.0),
        ("lat.95percentile", 3, 5.0),
    ] {
        let series = item(&fakeintake, "acme", "series_v2_protobuf", "metric", json!(name)).await;
        assert_eq!((&series["type"], &series["points"][0]["value"]), (&json!(kind), &json!(value)), "{series}");
        assert_eq!(series["interval"], 1);
        assert_eq!(series["unit"], if name.starts_with("lat") { "millisecond" } else { "" });
        let hosts = if name == "temp" { json!([{ "type": "host", "name": "db1" }]) } else { json!([]) };
        assert_eq!(series["resources"], hosts, "no host is made up");
        assert_eq!(series["tags"], if name == "hits" { json!(["a", "b"]) } else { json!([]) });
    }
    let sketch = item(&fakeintake, "acme", "sketches", "metric", json!("rt")).await;
    let of = &sketch["dogsketches"][0];
    assert_eq!(
        (&of["cnt"], &of["sum"], &of["k"], &of["n"]),
        (&json!(4), &json!(280.0), &json!([1442, 1501, 1694]), &json!([1, 2, 1]))
    );
    let event = item(&fakeintake, "acme", "event_v1", "title", json!("deploy")).await;
    assert_eq!(
        (&event["text"], &event["alert_type"], &event["tags"]),
        (&json!("done"), &json!("warning"), &json!(["x"]))
    );
    let check = item(&fakeintake, "acme", "check_run", "check", json!("db.up")).await;
    assert_eq!(
        (&check["status"], &check["host_name"], &check["message"]),
        (&json!(2), &json!("h9"), &json!("no route"))
    );
    daemon.wait_empty("acme").await;
    daemon.scrape().await.assert_balanced();
}

#[tokio::test]
async fn lines_that_are_not_taken_are_counted_by_reason() {
    let fakeintake = FakeIntake::start();
    let daemon = setup(&fakeintake, &["acme"]).set("dogstatsd.buffer_size", 512).start().await;
    let client = udp(&daemon);
    let bad = [
        ("no_pipe", "broken"),
        ("bad_value", "a:x|c|#tenant:acme"),
        ("bad_type", "a:1|q|#tenant:acme"),
        ("no_tenant", "a:1|c"),
        ("unknown_tenant", "a:1|c|#tenant:globex"),
        ("tenant_conflict", "a:1|c|#tenant:acme,tenant:globex"),
        ("bad_name", "___:1|c|#tenant:acme"),
        ("non_finite", "a:NaN|c|#tenant:acme"),
        ("timestamp_unsupported_type", "a:1|h|T5|#tenant:acme"),
    ];
    for (_, line) in bad {
        // A good one on either side of it.
        client.send(format!("good:1|c|#tenant:acme\n{line}\ngood:1|c|#tenant:acme").as_bytes()).unwrap();
    }
    // Longer than the buffer: what was cut off may have been the end of a number.
    let long = format!(
        "good:1|c|#tenant:acme\n{}\ncut:1|c|#tenant:acme",
        "x:1|c|#tenant:acme\n".repeat(25) + &"y".repeat(200)
    );
    client.send(long.as_bytes()).unwrap();
    wait_sum(&fakeintake, "acme", "good", 2.0 * bad.len() as f64 + 1.0).await;
    for (reason, _) in bad {
        assert_eq!(errors(&daemon, reason).await, 1, "{reason}");
    }
    assert_eq!(errors(&daemon, "truncated").await, 1);
    assert_eq!(series(&fakeintake, "acme").await.keys().collect::<Vec<_>>(), ["good", "x"]);
}

#[tokio::test]
async fn counters_of_ten_tenants_add_up_exactly() {
    let fakeintake = FakeIntake::start();
    let tenants: Vec<_> = (0..10).map(|tenant| format!("t{tenant}")).collect();
    let names: Vec<_> = tenants.iter().map(String::as_str).collect();
    let daemon = setup(&fakeintake, &names).start().await;
    let address = listeners(&daemon)[0].parse().unwrap();
    let senders: Vec<_> = (0..10_u32)
        .map(|tenant| {
            std::thread::spawn(move || {
                let client = udp_to(address);
                let mut sum = 0;
                for round in 0..200 {
                    let lines: Vec<_> = (0..20)
                        .map(|line| format!("hits:{}|c|#shard:{},tenant:t{tenant}", line * tenant + round, line % 7))
                        .collect();
                    sum += (0..20).map(|line| line * tenant + round).sum::<u32>();
                    client.send(lines.join("\n").as_bytes()).unwrap();
                    // Slower than the daemon, so that nothing is lost in the kernel on a busy machine.
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
                sum
            })
        })
        .collect();
    let sums: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
    wait_lines(&daemon, 10 * 200 * 20).await;
    for (tenant, expected) in tenants.iter().zip(sums) {
        wait_sum(&fakeintake, tenant, "hits", f64::from(expected)).await;
        for arrived in fakeintake.items(tenant, "series_v2_protobuf").await {
            assert!(
                arrived.item["tags"].as_array().unwrap().iter().all(|tag| tag.as_str().unwrap().starts_with("shard:"))
            );
        }
    }
    let scrape = daemon.scrape().await;
    assert_eq!(scrape.sum("dogsled_dogstatsd_kernel_drops_total", &[]), 0.0);
    assert_eq!(scrape.sum("dogsled_dogstatsd_errors_total", &[]), 0.0);
}

#[tokio::test]
async fn garbage_costs_nothing_but_itself() {
    let fakeintake = FakeIntake::start();
    let daemon = setup(&fakeintake, &["acme"]).set("tenancy.default", "acme").start().await;
    let client = udp(&daemon);
    let mut state = 7_u64;
    for round in 0..300 {
        let mut bytes = vec![0; 500];
        for byte in &mut bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = b"a:1|c#@,T._e{}sm\n\r\xff\x00"[(state >> 33) as usize % 20];
        }
        client.send(&bytes).unwrap();
        client.send(b"good.one:1|c").unwrap();
        if round % 50 == 0 {
            wait_lines(&daemon, round).await;
        }
    }
    wait_sum(&fakeintake, "acme", "good.one", 300.0).await;
    daemon.stop().await;
}
