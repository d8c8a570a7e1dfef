//! SIGHUP, and what systemd is told.

use crate::support::{FakeIntake, Home, Setup, key_of, until};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

#[tokio::test]
async fn a_tenant_that_is_added_to_the_file_delivers_without_a_restart_and_the_log_names_the_change() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let setup = Setup::new(&fakeintake, &["a"]);
    let daemon = setup.start_in(&home).await;
    assert_eq!(daemon.try_post("b", "/api/v2/logs", b"[]".to_vec()).await.unwrap().status, 403);
    setup.set("tenants.b.api_key", key_of("b")).set("batch.max_age", "30ms").write_in(&home);
    daemon.hang_up();
    until("the reload", async || daemon.log("configuration was reloaded").into_iter().next()).await;
    daemon.logs("b", [1, 2]).await;
    daemon.logs("a", [3]).await;
    fakeintake.wait_items("b", "logs", 2).await;
    fakeintake.wait_items("a", "logs", 1).await;
    let changes = daemon.log("reloaded");
    let of =
        |key: &str| changes.iter().find(|line| line["key"] == key).unwrap_or_else(|| panic!("{changes:?}")).clone();
    let max_age = of("batch.max_age");
    assert_eq!((max_age["from"].as_str(), max_age["to"].as_str()), (Some("20ms"), Some("30ms")));
    assert!(of("tenants.b")["to"].as_str().unwrap().contains("[redacted]"), "{changes:?}");
    assert!(!daemon.log_text().contains(&key_of("b")), "a key is in the log");
    daemon.stop().await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_the_log_says_what_is_wrong_and_where() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let setup = Setup::new(&fakeintake, &["a"]);
    let daemon = setup.start_in(&home).await;
    setup.set("tenants.b.api_key", key_of("b")).set("batch.max_agee", "1s").set("ingest.max_body", 1).write_in(&home);
    daemon.hang_up();
    let told = until("both errors", async || {
        let lines = daemon.log("configuration is not reloaded");
        (lines.len() == 2).then_some(lines)
    });
    let words: Vec<String> = told.await.iter().map(|line| line["message"].to_string()).collect();
    assert!(words.iter().any(|words| words.contains("dogsled.toml:") && words.contains("max_agee")), "{words:?}");
    assert!(words.iter().all(|words| words.contains("stays in force")), "{words:?}");
    assert_eq!(daemon.try_post("b", "/api/v2/logs", b"[]".to_vec()).await.unwrap().status, 403);
    daemon.logs("a", [1]).await;
    fakeintake.wait_items("a", "logs", 1).await;
    Setup::new(&fakeintake, &["a", "b"]).write_in(&home);
    daemon.hang_up();
    until("the reload", async || daemon.log("configuration was reloaded").into_iter().next()).await;
    daemon.logs("b", [1]).await;
    fakeintake.wait_items("b", "logs", 1).await;
}

#[tokio::test]
async fn telemetry_that_comes_during_many_reloads_is_all_delivered() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let setup = |ms: u64| Setup::new(&fakeintake, &["a"]).set("batch.max_age", format!("{ms}ms"));
    let daemon = setup(1).start_in(&home).await;
    for round in 0..20 {
        setup(round + 2).write_in(&home);
        daemon.hang_up();
        for _ in 0..10 {
            daemon.logs("a", 0..10).await;
        }
    }
    fakeintake.wait_items("a", "logs", 2_000).await;
    daemon.wait_empty("a").await;
    assert!(!daemon.log("configuration was reloaded").is_empty());
    daemon.stop().await;
    assert_eq!(fakeintake.count("a", "logs", "items").await, 2_000);
}

#[tokio::test]
async fn systemd_is_told_when_a_reload_begins_and_when_it_is_over_and_of_a_refusal_by_the_status() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let next = || {
        let mut told = [0; 1024];
        let length = socket.recv(&mut told).unwrap();
        String::from_utf8(told[..length].to_vec()).unwrap()
    };
    let setup = Setup::new(&fakeintake, &["a"]).after(format!("export NOTIFY_SOCKET='{}'", path.display()));
    let daemon = setup.start_in(&home).await;
    assert!(next().starts_with("READY=1"));
    for refused in [false, true, false] {
        if refused {
            home.write("dogsled.toml", "[nothing]");
        } else {
            setup.write_in(&home);
        }
        daemon.hang_up();
        let (begun, over) = (next(), next());
        let mut lines = begun.lines();
        assert_eq!(lines.next(), Some("RELOADING=1"), "{begun}");
        let at: u64 = lines.next().unwrap().strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
        let up = std::fs::read_to_string("/proc/uptime").unwrap();
        let up: f64 = up.split(' ').next().unwrap().parse().unwrap();
        assert!((up - at as f64 / 1e6).abs() < 60.0, "{at} microseconds, and the machine is up for {up} s");
        assert!(over.starts_with("READY=1\nSTATUS="), "{over}");
        assert_eq!(over.contains("not reloaded"), refused, "{over}");
    }
    daemon.terminate();
    assert!(next().starts_with("STOPPING=1"));
}
