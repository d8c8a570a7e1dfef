//! Shortage of memory for queued items, and of files.

use super::{LOGS, assert_each_once};
use crate::support::{Daemon, FakeIntake, Setup, until};
use serde_json::{Value, json};

/// A tenant that cannot deliver fills its share and is told to come again; the others' share is theirs.
#[tokio::test]
async fn a_full_share_refuses_with_retry_after() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["stuck", "other"])
        .set("journal.max_bytes_per_tenant", 1 << 20)
        .set("tenancy.from_tags", true);
    let setup = setup.set("ingest.max_body", 1 << 18);
    let daemon = setup.start().await;
    let fault = fakeintake.fault("stuck", json!({ "effect": { "status": { "code": 503 } } })).await;
    let text = "x".repeat(900);
    // Once the endpoint is known to fail, no more batches are built, which would take less memory than their items.
    let mut accepted = vec![0];
    daemon.logs("stuck", [0]).await;
    daemon.wait_state("stuck", "retrying").await;
    let refusal = loop {
        let first = accepted.len() as u64;
        let logs: Value = (first..first + 50).map(|id| json!({ "message": text, "id": id })).collect();
        let answer = daemon.try_post("stuck", LOGS, logs.to_string().into()).await.unwrap();
        if answer.status != 202 {
            break answer;
        }
        accepted.extend(first..first + 50);
        assert!(accepted.len() < 5_000, "never refused");
    };
    assert_eq!(refusal.status, 429, "{}", refusal.text);
    assert!(refusal.retry_after.unwrap().parse::<u64>().unwrap() >= 1);
    assert!(refusal.text.contains("stuck"), "{}", refusal.text);
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    assert_eq!(scrape.items("stuck", "items_accepted_total"), accepted.len() as u64);
    // Of one request for both, the other's part is taken.
    let log = |tenant: &str| json!({ "message": text.repeat(60), "id": 0, "ddtags": format!("tenant:{tenant}") });
    let both = json!([log("other"), log("stuck")]);
    let answer = daemon.post_tagged(LOGS, both.to_string().into()).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let scrape = daemon.scrape().await;
    assert_eq!(scrape.items("other", "items_accepted_total"), 1);
    assert_eq!(scrape.sum("dogsled_items_dropped_total", &[("tenant", "stuck"), ("reason", "refused")]), 1.0);
    daemon.logs("other", 1..10).await;
    fakeintake.wait_items("other", "logs", 10).await;
    fakeintake.end_fault(fault).await;
    daemon.wait_empty("stuck").await;
    assert_each_once(&fakeintake, "stuck", accepted).await;
    daemon.logs("stuck", [1_000_000]).await;
    let memory = || async { daemon.scrape().await.sum("dogsled_memory_queue_bytes", &[]) };
    until("all memory to be free again", async || (memory().await == 0.0).then_some(())).await;
}

/// The soft and the hard limit on open files.
fn files(daemon: &Daemon) -> (u64, u64) {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[tokio::test]
async fn the_open_files_limit_is_raised_if_needed() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a"]);
    let daemon = setup.set("ingest.max_connections", 500).after("ulimit -Sn 200 && ulimit -Hn 1000").start().await;
    assert_eq!(files(&daemon), (1000, 1000));
    assert!(daemon.log("fewer files").is_empty(), "{}", daemon.log_text());
}

#[tokio::test]
async fn a_low_open_files_limit_is_warned_of() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a"]).set("ingest.max_connections", 500);
    let daemon = setup.after("ulimit -n 300").start().await;
    let told = daemon.log("fewer files");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["limit"], 300);
    assert!(told[0]["message"].as_str().unwrap().contains("LimitNOFILE"));
    daemon.logs("a", 0..10).await;
    fakeintake.wait_items("a", "logs", 10).await;
}

#[tokio::test]
async fn a_sufficient_open_files_limit_stays() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a"]).set("ingest.max_connections", 100);
    let daemon = setup.after("ulimit -Sn 900 && ulimit -Hn 1000").start().await;
    assert_eq!(files(&daemon), (900, 1000));
}
