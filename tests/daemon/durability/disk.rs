//! A disk that is full, missing or somebody else's.

use super::LOGS;
use crate::support::{Daemon, FakeIntake, Home, Setup, until};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A file system of its own for a state directory, unmounted at the end.
struct Mounted(PathBuf);

impl Mounted {
    /// Nothing, saying so, where this user may not mount.
    fn new(dir: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir_all(dir).unwrap();
        let options = format!("size={bytes},mode=0700");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir).output();
        let mounted = mount.is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("skipped: this needs the right to mount a file system");
        }
        mounted.then(|| Self(dir.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily, since a daemon may still be on it when a test fails.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Posts logs of so many bytes until one is not accepted; gives the ids that were, and the answer to the other.
async fn fill(daemon: &Daemon, tenant: &str, from: u64, bytes: usize) -> (u64, crate::support::Answer) {
    for id in from.. {
        let body = json!([{ "id": id, "message": "x".repeat(bytes) }]).to_string();
        let answer = daemon.try_post(tenant, LOGS, body.into_bytes()).await.unwrap();
        if answer.status != 202 {
            return (id, answer);
        }
    }
    unreachable!("no disk takes all this")
}

async fn assert_ids(fakeintake: &FakeIntake, tenant: &str, expected: impl IntoIterator<Item = u64>) {
    let arrived: Vec<u64> =
        fakeintake.items(tenant, "logs").await.iter().map(|item| item.item["id"].as_u64().unwrap()).collect();
    assert_eq!(arrived, expected.into_iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_disk_refuses_delivers_and_recovers() {
    let home = Home::new();
    let Some(_mounted) = Mounted::new(&home.state_dir(), 40 << 20) else { return };
    let filler = home.state_dir().join("filler");
    fs::write(&filler, vec![1; 20 << 20]).unwrap();
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a", "b"]).set("delivery.concurrency_per_tenant", 1);
    let daemon = setup.start_in(&home).await;
    fakeintake.set_key("a", false).await;
    let fault = fakeintake.fault("b", json!({ "effect": { "status": { "code": 503 } } })).await;
    for id in 0..50 {
        daemon.logs("b", [id]).await;
    }
    let (of_a, refused) = fill(&daemon, "a", 0, 100_000).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.retry_after.is_some_and(|seconds| seconds.parse::<u64>().unwrap() > 0));
    assert!(of_a > 100, "{of_a}");
    until("it to say that it is not ready", async || {
        let (status, text) = daemon.ready().await;
        (status == 503 && text.contains("journal")).then_some(())
    })
    .await;
    until("the reason in the log", async || daemon.log("the disk is full").into_iter().next()).await;
    daemon.scrape().await.assert_balanced();
    // What is queued is delivered all the same.
    fakeintake.end_fault(fault).await;
    daemon.wait_empty("b").await;
    assert_ids(&fakeintake, "b", 0..50).await;
    assert_eq!(daemon.try_post("b", LOGS, b"[{\"id\":50}]".to_vec()).await.unwrap().status, 503);
    let (told, mended) = (daemon.log("the disk is full").len(), daemon.log("can be written again").len());
    assert!(told <= mended + 1, "told more than once:\n{}", daemon.log_text());

    // A start on the full disk, with the backlog.
    daemon.stop().await;
    let daemon = setup.start_in(&home).await;
    assert_eq!(daemon.scrape().await.items("a", "queue_items"), of_a);
    let (none, refused) = fill(&daemon, "a", of_a, 100_000).await;
    assert_eq!((none, refused.status), (of_a, 503));

    fs::remove_file(&filler).unwrap();
    until("it to be ready again", async || (daemon.ready().await.0 == 200).then_some(())).await;
    let body = json!([{ "id": of_a }]).to_string().into_bytes();
    assert_eq!(daemon.try_post("a", LOGS, body).await.unwrap().status, 202);
    fakeintake.set_key("a", true).await;
    daemon.wait_empty("a").await;
    assert_ids(&fakeintake, "a", 0..=of_a).await;
    daemon.scrape().await.assert_balanced();
    assert_eq!(daemon.scrape().await.sum("dogsled_items_dropped_total", &[]), 0.0);
}

#[tokio::test]
async fn delivery_frees_a_disk_filled_by_the_journal() {
    let home = Home::new();
    let Some(_mounted) = Mounted::new(&home.state_dir(), 160 << 20) else { return };
    let fakeintake = FakeIntake::start();
    fakeintake.set_key("a", false).await;
    let daemon = Setup::new(&fakeintake, &["a"]).start_in(&home).await;
    let (of_a, refused) = fill(&daemon, "a", 0, 900_000).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    fakeintake.set_key("a", true).await;
    daemon.wait_empty("a").await;
    until("it to be ready again", async || (daemon.ready().await.0 == 200).then_some(())).await;
    daemon.logs("a", [of_a]).await;
    daemon.wait_empty("a").await;
    assert_eq!(fakeintake.count("a", "logs", "items").await, of_a + 1);
}

/// Fills a disk of this size, less what something else takes, and has it delivered, round after round.
async fn fill_and_empty(size: u64, taken: usize) {
    let home = Home::new();
    let Some(_mounted) = Mounted::new(&home.state_dir(), size) else { return };
    fs::write(home.state_dir().join("filler"), vec![1; taken]).unwrap();
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a", "b"]).set("delivery.concurrency_per_tenant", 1);
    let daemon = setup.start_in(&home).await;
    let mut next = 0;
    for round in 1..4 {
        // A little of somebody else stays where it is.
        fakeintake.set_key("b", false).await;
        daemon.logs("b", [round]).await;
        fakeintake.set_key("a", false).await;
        let (full, refused) = fill(&daemon, "a", next, 300_000).await;
        assert_eq!(refused.status, 503, "round {round}: {refused:?}");
        assert!(refused.retry_after.is_some_and(|seconds| seconds.parse::<u64>().unwrap() > 0));
        assert!(full - next > 5, "round {round}: {next} to {full}");
        next = full;
        until("it to say that it is not ready", async || (daemon.ready().await.0 == 503).then_some(())).await;
        fakeintake.set_key("a", true).await;
        daemon.wait_empty("a").await;
        if taken > 0 {
            // All of it is in one segment.
            fakeintake.set_key("b", true).await;
            daemon.wait_empty("b").await;
        }
        until("it to be ready again", async || (daemon.ready().await.0 == 200).then_some(())).await;
        daemon.scrape().await.assert_balanced();
    }
    fakeintake.set_key("b", true).await;
    daemon.wait_empty("b").await;
    assert_ids(&fakeintake, "a", 0..next).await;
    assert_ids(&fakeintake, "b", 1..4).await;
    assert_eq!(daemon.scrape().await.sum("dogsled_items_dropped_total", &[]), 0.0);
    daemon.stop().await;
    let daemon = setup.start_in(&home).await;
    daemon.logs("a", [next]).await;
    daemon.wait_empty("a").await;
    assert_ids(&fakeintake, "a", 0..=next).await;
}

#[tokio::test]
async fn a_disk_below_a_segment_fills_and_empties() {
    fill_and_empty(20 << 20, 0).await;
}

#[tokio::test]
async fn less_disk_than_a_segment_is_enough() {
    fill_and_empty(110 << 20, 105 << 20).await;
}

#[tokio::test]
async fn a_second_daemon_on_one_state_exits() {
    let fakeintake = FakeIntake::start();
    // Two requests at once may arrive in any order.
    let setup = Setup::new(&fakeintake, &["a"]).set("delivery.concurrency_per_tenant", 1);
    let home = Home::new();
    let first = setup.start_in(&home).await;
    fakeintake.set_key("a", false).await;
    first.logs("a", [0, 1]).await;
    let mut second = setup.spawn_in(&home);
    // Not 2, with which systemd would not try again: the other one may end.
    assert_eq!(second.wait_end().await.code(), Some(1));
    // Its log is read by a thread, which may be behind.
    let said = async || Some(second.log("another process uses this journal")).filter(|told| !told.is_empty());
    let told = until("it to say why", said).await;
    assert_eq!(told.len(), 1, "{}", second.log_text());
    assert!(told[0]["message"].as_str().unwrap().contains("state/journal"), "{told:?}");
    first.logs("a", [2]).await;
    fakeintake.set_key("a", true).await;
    first.wait_empty("a").await;
    assert_ids(&fakeintake, "a", 0..3).await;
    // The lock goes with its owner, however that ends.
    first.kill();
    setup.start_in(&home).await.logs("a", [3]).await;
}

#[tokio::test]
async fn a_journal_directory_that_cannot_be_is_named() {
    let fakeintake = FakeIntake::start();
    let home = Home::new();
    fs::create_dir_all(home.state_dir()).unwrap();
    let file = home.state_dir().join("file");
    fs::write(&file, "").unwrap();
    let dir = file.join("journal").display().to_string();
    let mut daemon = Setup::new(&fakeintake, &["a"]).set("journal.dir", dir.as_str()).spawn_in(&home);
    assert_eq!(daemon.wait_end().await.code(), Some(1));
    assert!(daemon.log_text().contains(&dir), "{}", daemon.log_text());
}

#[tokio::test]
async fn a_vanished_segment_is_reported_while_others_flow() {
    let fakeintake = FakeIntake::start();
    // What has no room in memory is read back when the key works again, and not before.
    let setup = Setup::new(&fakeintake, &["a", "b"]).set("memory.max_queue_bytes", 1 << 20);
    let (setup, home) = (setup.set("ingest.max_body", 1 << 20), Home::new());
    fakeintake.set_key("a", false).await;
    let daemon = setup.start_in(&home).await;
    daemon.logs("a", [0]).await;
    daemon.wait_state("a", "unauthorized").await;
    for id in 1..10 {
        daemon.post("a", LOGS, &json!([{ "id": id, "message": "x".repeat(400_000) }])).await;
    }
    for file in home.files("journal", "seg") {
        fs::remove_file(file).unwrap();
    }
    fakeintake.set_key("a", true).await;
    until("the trouble in the log", async || daemon.log("the journal cannot be read").into_iter().next()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(daemon.log("the journal cannot be read").len() < 3, "{}", daemon.log_text());
    daemon.logs("b", [1]).await;
    daemon.wait_empty("b").await;
    daemon.scrape().await.assert_balanced();
}
