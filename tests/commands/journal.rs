//! `dogsled journal`, run as a user runs it.

use dogsled::journal::{Entry, Journal, Options};
use dogsled::types::UnixMillis;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn journal(arguments: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dogsled"));
    command.arg("journal").args(arguments).arg(dir).env_clear().output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Three records of two lanes, the first of them acked.
async fn fill(dir: &Path) {
    let (journal, _) = Journal::open(Options::new(dir)).unwrap();
    let entry = |lane: &'static str| Entry {
        lane: lane.into(),
        items: 7,
        accepted: UnixMillis(1),
        oldest: UnixMillis(1),
        head: "".into(),
        payload: "a payload to be found in the file".into(),
    };
    let range = journal.append(vec![entry("acme/logs"), entry("acme/logs"), entry("b\n")], |_| ()).await.unwrap();
    journal.ack([range.start]);
    journal.close();
}

fn segment(dir: &Path) -> std::path::PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "seg")).unwrap()
}

#[tokio::test]
async fn inspect_says_what_is_waiting() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path()).await;
    let output = journal(&["inspect"], dir.path());
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let printed = text(&output.stdout);
    for line in
        ["2 waiting records", "acme/logs: 7 items in 1 records", "b\\n: 7 items in 1 records", "2 of 3 records live"]
    {
        assert!(printed.contains(line), "{line} in\n{printed}");
    }
    let json = journal(&["inspect", "--json"], dir.path()).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((&json["records"], &json["lanes"][0]["items"], &json["in_use"]), (&2.into(), &7.into(), &false.into()));
}

#[tokio::test]
async fn verify_finds_damage_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path()).await;
    let sound = journal(&["verify"], dir.path());
    assert_eq!(sound.status.code(), Some(0));
    assert!(text(&sound.stdout).contains("every record is sound"));
    let path = segment(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(9).rposition(|window| window == b"a payload").unwrap();
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let damaged = journal(&["verify"], dir.path());
    assert_eq!(damaged.status.code(), Some(1));
    let printed = text(&damaged.stdout);
    assert!(printed.contains("damaged: ") && printed.contains("1 records, of b\\n, 7 items"), "{printed}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert!(!dir.path().join("quarantine").exists());
}

#[tokio::test]
async fn a_journal_in_use_is_warned_about() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, _) = Journal::open(Options::new(dir.path())).unwrap();
    let output = journal(&["inspect"], dir.path());
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("has this journal open"), "{}", text(&output.stderr));
}

#[test]
fn a_bad_journal_argument_exits_with_2() {
    let output = journal(&["inspect"], Path::new("/nonexistent"));
    assert_eq!(output.status.code(), Some(2));
}
