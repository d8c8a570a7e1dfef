//! A file system that the kernel has made read-only under a running daemon, as ext4 does when it finds itself damaged.
//!
//! What such a file system does not do is become writable again without being unmounted: that the journal goes on by
//! itself when a disk does is tested in `src/journal/tests/room.rs`.

use super::LOGS;
use crate::support::{FakeIntake, Home, Setup, until};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An ext4 in a file of its own, which is gone at the end.
struct Ext4 {
    dir: PathBuf,
    device: String,
    _image: tempfile::NamedTempFile,
}

/// What the command writes, if it can be run and succeeds.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Ext4 {
    /// Nothing, saying so, where this user may not, or where there is no way to make it fail.
    fn new(dir: &Path) -> Option<Self> {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(64 << 20).unwrap();
        let made = run("losetup", &["--find", "--show", image.path().to_str().unwrap()]).and_then(|device| {
            let ext4 = Self { dir: dir.to_owned(), device, _image: image };
            run("mkfs.ext4", &["-q", "-F", &ext4.device])?;
            ext4.mount()?;
            ext4.trigger().exists().then_some(ext4)
        });
        if made.is_none() {
            eprintln!("skipped: this needs the right to mount a file system, loop devices and ext4 with its tools");
        }
        made
    }

    fn mount(&self) -> Option<()> {
        fs::create_dir_all(&self.dir).unwrap();
        run("mount", &["-t", "ext4", "-o", "errors=remount-ro", &self.device, self.dir.to_str()?]).map(|_| ())
    }

    fn trigger(&self) -> PathBuf {
        Path::new("/sys/fs/ext4").join(self.device.trim_start_matches("/dev/")).join("trigger_fs_error")
    }

    /// The kernel takes it for damaged.
    fn fail(&self) {
        fs::write(self.trigger(), "a test").unwrap();
    }

    /// What the administrator does then.
    fn repair(&self) {
        run("umount", &[self.dir.to_str().unwrap()]).expect("nobody uses it");
        // Its code says that there was something to repair.
        Command::new("e2fsck").args(["-f", "-y", &self.device]).output().unwrap();
        self.mount().expect("it is repaired");
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        // Lazily, since a daemon may still be on it when a test fails.
        run("umount", &["-l", self.dir.to_str().unwrap()]);
        run("losetup", &["-d", &self.device]);
    }
}

async fn ids(fakeintake: &FakeIntake) -> BTreeSet<u64> {
    fakeintake.items("a", "logs").await.iter().map(|item| item.item["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_read_only_disk_refuses_new_items_and_delivers() {
    let home = Home::new();
    let Some(ext4) = Ext4::new(&home.state_dir()) else { return };
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a"]).set("journal.fsync", "always");
    let daemon = setup.start_in(&home).await;
    fakeintake.set_key("a", false).await;
    for id in 0..20 {
        daemon.post("a", LOGS, &json!([{ "id": id, "message": "x".repeat(20_000) }])).await;
    }
    ext4.fail();
    for _ in 0..3 {
        let refused = daemon.try_post("a", LOGS, b"[{\"id\":20}]".to_vec()).await.unwrap();
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.retry_after.is_some_and(|seconds| seconds.parse::<u64>().unwrap() > 0));
    }
    until("it to say that it is not ready", async || (daemon.ready().await.0 == 503).then_some(())).await;
    until("the reason in the log", async || daemon.log("the file system is read-only").into_iter().next()).await;
    fakeintake.set_key("a", true).await;
    daemon.wait_empty("a").await;
    assert_eq!(ids(&fakeintake).await, (0..20).collect());
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    assert_eq!(scrape.sum("dogsled_items_dropped_total", &[]), 0.0);
    daemon.stop().await;

    let mut refused = setup.spawn_in(&home);
    assert_eq!(refused.wait_end().await.code(), Some(1));
    let text = refused.log_text();
    assert!(text.contains("Read-only file system") && text.contains(home.state_dir().to_str().unwrap()), "{text}");

    ext4.repair();
    let daemon = setup.start_in(&home).await;
    daemon.logs("a", [20]).await;
    daemon.wait_empty("a").await;
    // That the others were delivered could not be written down: they may have come again.
    assert_eq!(ids(&fakeintake).await, (0..21).collect());
    let scrape = daemon.scrape().await;
    assert_eq!(scrape.sum("dogsled_items_dropped_total", &[]), 0.0);
}
