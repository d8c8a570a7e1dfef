//! `dogsled demo`, played as a newcomer would. What makes it fail is tested beside its audit.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dogsled"));
    command.arg("demo").args(arguments).stdin(Stdio::null());
    command
}

/// The figures of a tenant's line of the ledger.
fn figures(text: &str, tenant: &str) -> Vec<u64> {
    let ledger = text.split("accepted = delivered").nth(1).unwrap_or_else(|| panic!("no ledger: {text}"));
    let line = ledger.lines().find(|line| line.starts_with(tenant)).unwrap_or_else(|| panic!("no {tenant}: {text}"));
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn the_demo_meets_every_trouble_and_balances() {
    let scratch = tempfile::tempdir().unwrap();
    let output = demo(&["--seconds", "5"]).env("TMPDIR", scratch.path()).output().unwrap();
    let (text, complaints) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{text}{complaints}");
    assert_eq!(complaints, "");
    assert!(!text.contains('\x1b'), "what is no terminal gets no escape codes: {text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for part in [
        "clicks Connect, and is sent to Datadog",
        "approves on Datadog's page",
        "→ connected: code exchanged, API key created and encrypted",
        "globex    → connected the same way",
        "initech   → connected the same way",
        "→ tokens rotated before they expire",
        "→ throttled",
        "× 429",
        "→ found by halving",
        "→ new key, by a refreshed token",
        "→ unauthorized",
        "→ connected again, with a new key",
        "→ held telemetry is delivered",
        "all       delivered: ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for tenant in TENANTS {
        let figures = figures(&text, tenant);
        let [accepted, delivered, queued, dead_lettered, dropped, arrived] = figures[..] else { panic!("{text}") };
        assert!(accepted > 500, "{text}");
        assert_eq!(accepted, delivered + queued + dead_lettered + dropped, "{text}");
        assert_eq!((delivered, queued, dropped), (arrived, 0, 0), "{text}");
        assert_eq!(dead_lettered, u64::from(tenant == "initech"), "{text}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("ok  ")).count(), 7, "{text}");
    assert!(!text.contains("FAIL"), "{text}");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn an_interrupted_one_proves_nothing_and_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let mut child = demo(&["--seconds", "300"])
        .env("TMPDIR", scratch.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("a second of each")));
    let told = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    assert!(!rest.iter().any(|line| line.starts_with("ok  ")), "{rest:?}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut complaints = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
    assert!(complaints.starts_with("error: interrupted"), "{complaints}");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn too_short_a_demo_is_refused() {
    let output = demo(&["--seconds", "1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("5..=300"));
}
