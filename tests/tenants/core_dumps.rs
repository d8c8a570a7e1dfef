//! A core dump would carry every key in memory to the disk.

use crate::operator::Datadog;
use crate::support::until;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

#[tokio::test]
async fn a_crash_of_the_daemon_leaves_no_core_dump() {
    let dir = tempfile::tempdir().unwrap();
    let before = format!("cd {} && ulimit -c unlimited", dir.path().display());
    let crash = format!("{before} && exec sh -c 'kill -ABRT $$'");
    if !Command::new("sh").args(["-c", &crash]).status().unwrap().core_dumped() {
        return eprintln!("SKIPPED: this system writes no core dumps");
    }
    let datadog = Datadog::start(3600).await;
    let mut daemon = datadog.setup(&["acme"]).after(before).start().await;
    let status = Command::new("kill").args(["-ABRT", &daemon.pid().to_string()]).status().unwrap();
    assert!(status.success());
    let end = until("the daemon to crash", async || daemon.ended()).await;
    assert_eq!(end.signal(), Some(6), "{end}");
    assert!(!end.core_dumped());
}
