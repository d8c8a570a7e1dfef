//! `dogsled check`, run as a user runs it.

use dogsled::journal::{Entry, Journal, Options};
use dogsled::types::UnixMillis;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Gives the tenant `acme` its key.
const KEYED: (&str, &str) = ("DOGSLED_TENANTS__ACME__API_KEY", KEY);

/// A configuration file in a directory of its own.
struct Config(tempfile::TempDir);

impl Config {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("dogsled.toml"), text).unwrap();
        Self(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("dogsled.toml")
    }
}

fn check(config: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dogsled"));
    command.arg("check").arg("--config").arg(config).args(arguments);
    // Only what the test says, whatever surrounds it.
    command.env_clear().envs(environment.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_good_configuration_is_printed_in_effect_and_exits_with_0() {
    let config = Config::new(
        "[tenants.acme]\nsite = \"datadoghq.eu\"\n[batch]\nmax_age = \"5s\"\n\
         [journal]\nmax_bytes = \"64MiB\"\n",
    );
    let environment = [("DOGSLED_BATCH__MAX_AGE", "1500ms"), ("DOGSLED_TENANTS__ACME__API_KEY", KEY)];
    let output = check(&config.path(), &[], &environment);
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    for line in ["max_age = \"1s500ms\"", "[tenants.acme]", "site = \"datadoghq.eu\"", "api_key = \"[redacted]\""] {
        assert!(printed.contains(line), "{line} in\n{printed}");
    }
    assert!(!printed.contains(KEY));
}

#[test]
fn what_is_printed_is_itself_a_good_configuration() {
    let config = Config::new("[ingest]\nmax_body = 5000000\n[tenants.acme]\n");
    let printed = check(&config.path(), &[], &[]).stdout;
    let again = Config::new(text(&printed));
    let output = check(&again.path(), &[], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), text(&printed));
}

#[test]
fn json_is_printed_for_programs() {
    let config = Config::new("[ingest]\nmax_body = \"5MB\"\n");
    let output = check(&config.path(), &["--json"], &[]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["ingest"]["max_body"], "5MB");
    assert_eq!(json["delivery"]["concurrency"], 64);
}

#[test]
fn the_schema_is_printed_for_editors() {
    let output = Command::new(env!("CARGO_BIN_EXE_dogsled")).arg("schema").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["properties"]["ingest"]["properties"]["max_body"]["default"], "16MiB");
}

#[test]
fn a_bad_configuration_is_refused_with_all_its_errors_a_line_each_and_exits_with_2() {
    let config = Config::new("[ingest]\nlisten = \"0.0.0.0:8282\"\nmax_boddy = \"1MiB\"\n");
    let output = check(&config.path(), &[], &[("DOGSLED_BATCH__LEVEL", "high")]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    let path = config.path().display().to_string();
    let errors: Vec<_> = text(&output.stderr).lines().collect();
    let expected = [
        format!("error: {path}:2: ingest.listen: 0.0.0.0:8282 is reachable"),
        format!("error: {path}:3: ingest.max_boddy: unknown key; did you mean \"max_body\"?"),
        "error: DOGSLED_BATCH__LEVEL: batch.level: \"high\" is not a whole number".into(),
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, expected) in errors.iter().zip(&expected) {
        assert!(error.starts_with(expected), "{expected:?} but {error:?}");
    }
}

#[test]
fn what_is_not_toml_is_refused_with_its_line_and_without_the_key_in_it() {
    let config = Config::new(&format!("[tenants.acme]\napi_key = \"{KEY}\n"));
    let output = check(&config.path(), &[], &[]);
    assert_eq!(output.status.code(), Some(2));
    let errors = text(&output.stderr);
    assert!(errors.contains("dogsled.toml:2:") && errors.contains("not TOML"), "{errors}");
    assert!(!errors.contains(&KEY[..8]), "{errors}");
}

#[test]
fn a_missing_named_file_exits_with_2() {
    let output = check("/nonexistent/dogsled.toml".as_ref(), &[], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        text(&output.stderr),
        "error: /nonexistent/dogsled.toml: no such file: check the path given with --config\n"
    );
}

#[test]
fn what_is_probably_not_meant_is_warned_of_and_exits_with_0() {
    let config = Config::new("");
    let output = check(&config.path(), &[], &[("DOGSLED_LOG_LEVEL", "debug")]);
    assert_eq!(output.status.code(), Some(0));
    let warnings = text(&output.stderr);
    assert!(warnings.contains("warning: DOGSLED_LOG_LEVEL is ignored; did you mean DOGSLED_LOG__LEVEL"), "{warnings}");
    assert!(warnings.lines().all(|line| line.starts_with("warning: ")), "{warnings}");
}

#[test]
fn a_journal_larger_than_its_volume_is_warned_of() {
    for (size, warned) in [("1024TiB", true), ("64MiB", false)] {
        let config = Config::new(&format!("[tenants.acme]\n[journal]\nmax_bytes = \"{size}\"\n"));
        let output = check(&config.path(), &[], &[KEYED]);
        assert_eq!(output.status.code(), Some(0));
        let warnings = text(&output.stderr);
        assert_eq!(
            warnings.contains("journal.max_bytes: 1024TiB is more than the whole volume of"),
            warned,
            "{warnings}"
        );
    }
}

/// A configuration with a journal of one record, which is open.
async fn with_journal() -> (Config, PathBuf, Journal) {
    let config = Config::new("");
    let dir = config.0.path().join("queue");
    std::fs::write(
        config.path(),
        format!("[tenants.acme]\n[journal]\nmax_bytes = \"64MiB\"\ndir = {:?}\n", dir.display().to_string()),
    )
    .unwrap();
    let (journal, _) = Journal::open(Options::new(&dir)).unwrap();
    let entry = Entry {
        lane: "acme/logs".into(),
        items: 7,
        accepted: UnixMillis(1),
        oldest: UnixMillis(1),
        head: "".into(),
        payload: "a payload to be found in the file".into(),
    };
    journal.append(vec![entry], |_| ()).await.unwrap();
    journal.flush().await;
    (config, dir, journal)
}

/// Flips a bit of the payload.
fn damage(dir: &Path) {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let path = files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "seg")).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(9).position(|window| window == b"a payload").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
}

#[tokio::test]
async fn an_intact_journal_exits_with_0() {
    let (config, dir, journal) = with_journal().await;
    drop(journal);
    let output = check(&config.path(), &[], &[KEYED]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let line = format!("# journal {}: 1 waiting records of 1 lanes, ", dir.display());
    let printed = text(&output.stdout);
    assert!(printed.lines().any(|found| found.starts_with(&line) && found.ends_with(", sound")), "{printed}");
    let json: serde_json::Value = serde_json::from_slice(&check(&config.path(), &["--json"], &[KEYED]).stdout).unwrap();
    let journal = &json["checked"]["journal"];
    assert_eq!(journal["records"], 1);
    assert_eq!(journal["damaged"].as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn a_damaged_journal_exits_with_1() {
    let (config, dir, journal) = with_journal().await;
    drop(journal);
    damage(&dir);
    let output = check(&config.path(), &[], &[KEYED]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).trim_end().ends_with(", damaged"), "{}", text(&output.stdout));
    let told = text(&output.stderr);
    assert!(told.contains(".seg") && told.contains("1 records, of acme/logs, 7 items"), "{told}");
    let json = check(&config.path(), &["--json"], &[KEYED]);
    assert_eq!(json.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["checked"]["journal"]["damaged"][0]["items"], 7);
    assert!(!dir.join("quarantine").exists(), "it only reads");
}

#[tokio::test]
async fn a_running_daemons_journal_is_checked() {
    let (config, _, _journal) = with_journal().await;
    let output = check(&config.path(), &[], &[KEYED]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    assert!(text(&output.stdout).contains(", in use by a daemon, sound"), "{}", text(&output.stdout));
}

#[test]
fn where_no_journal_is_yet_none_is_made() {
    let config = Config::new("");
    let dir = config.0.path().join("queue");
    std::fs::write(
        config.path(),
        format!("[tenants.acme]\n[journal]\nmax_bytes = \"64MiB\"\ndir = {:?}\n", dir.display().to_string()),
    )
    .unwrap();
    let output = check(&config.path(), &[], &[KEYED]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    assert!(text(&output.stdout).contains(": none yet"));
    let json: serde_json::Value = serde_json::from_slice(&check(&config.path(), &["--json"], &[KEYED]).stdout).unwrap();
    assert!(json["checked"]["journal"].is_null());
    assert!(!dir.exists());
}
