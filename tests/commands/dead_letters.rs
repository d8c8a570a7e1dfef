//! `dogsled dead-letter` on the files of the real daemon, while it runs.

use crate::support::{Daemon, FakeIntake, Nobody, Scripted, Setup, answer, event, now_ms, sketch, until};
use rand::RngExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// The exit code of `dogsled dead-letter`, its standard output and its standard error.
type Told = (i32, String, String);

fn command(config: &Path, listen: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dogsled"));
    command.arg("dead-letter").args(arguments).arg("--config").arg(config).env("DOGSLED_INGEST__LISTEN", listen);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn told(mut command: Command) -> Told {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Runs the command for a daemon.
async fn run(daemon: &Daemon, arguments: &[&str]) -> Told {
    told(command(&daemon.config(), &daemon.address().to_string(), arguments)).await
}

/// The same with `--json`, which must succeed.
async fn run_json(daemon: &Daemon, arguments: &[&str]) -> Value {
    let (code, out, error) = run(daemon, &[arguments, &["--json"]].concat()).await;
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// A daemon's files without the daemon: tenant `a`, whose local port is at `listen`.
struct Files {
    dir: TempDir,
    listen: String,
}

impl Files {
    fn new(listen: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        std::fs::create_dir_all(state.join("dead-letters")).unwrap();
        let token = "a".repeat(32);
        let config = format!("state.dir = {state:?}\ntenants.a.ingest_tokens = [{token:?}]\n{more}\n");
        let path = dir.path().join("dogsled.toml");
        std::fs::write(&path, config).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        Self { dir, listen: listen.to_owned() }
    }

    /// With letters of one log each.
    fn with(listen: &str, lines: &[String]) -> Self {
        let files = Self::new(listen, "");
        std::fs::write(files.path(), lines.concat()).unwrap();
        files
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("state/dead-letters/a.ndjson")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap_or_default()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        command(&self.dir.path().join("dogsled.toml"), &self.listen, arguments)
    }

    async fn run(&self, arguments: &[&str]) -> Told {
        told(self.command(arguments)).await
    }
}

/// The line of a letter with these logs.
fn letter(refused_at: i64, logs: &[Value]) -> String {
    let letter = json!({
        "refused_at": refused_at, "accepted_at": refused_at - 1000, "kind": "logs", "items": logs.len(), "status": 400,
        "reason": "no", "body": logs,
    });
    format!("{letter}\n")
}

fn log(id: u64) -> Value {
    json!({ "message": "m", "id": id })
}

fn at(url: &str) -> String {
    url.strip_prefix("http://").unwrap().to_owned()
}

/// A rule by which items with `poison` in them are refused.
fn poison() -> Value {
    json!({ "effect": { "reject_items": { "contains": "poison" } } })
}

/// How often each title has arrived.
async fn titles(fakeintake: &FakeIntake) -> BTreeMap<String, u64> {
    let mut titles = BTreeMap::new();
    for event in fakeintake.items("a", "event_v1").await {
        *titles.entry(event.item["title"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    titles
}

#[tokio::test]
async fn letters_are_counted_and_shown_with_datadogs_words() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a", "b"]).start().await;
    let (code, out, _) = run(&daemon, &["list"]).await;
    assert!(code == 0 && out.starts_with("no dead letters in "), "{out}");
    fakeintake.fault("a", poison()).await;
    daemon.logs("a", ["fine", "poison-1", "poison-2"]).await;
    daemon.post("a", "/api/v1/events", &event("poison-3")).await;
    daemon.wait_empty("a").await;

    let list = run_json(&daemon, &["list"]).await;
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    let tenant = &list[0];
    let bytes = std::fs::metadata(daemon.dead_letters("a")).unwrap().len();
    assert_eq!((&tenant["tenant"], &tenant["bytes"], &tenant["unreadable"]), (&json!("a"), &json!(bytes), &json!([])));
    let kinds: Vec<_> =
        tenant["kinds"].as_array().unwrap().iter().map(|row| (row["kind"].as_str().unwrap(), &row["items"])).collect();
    assert_eq!(kinds, [("logs", &json!(2)), ("event_v1", &json!(1))]);
    let logs = &tenant["kinds"][0];
    assert!(logs["last_reason"].as_str().unwrap().contains("invalid item"), "{logs}");
    assert_eq!(logs["last_status"], 400);
    assert!(logs["oldest_refused_at"].as_i64().unwrap() <= logs["newest_refused_at"].as_i64().unwrap());
    let gauge = daemon.scrape().await.sum("dogsled_dead_letter_bytes", &[("tenant", "a")]);
    assert_eq!(gauge as u64, bytes);

    let (code, out, _) = run(&daemon, &["list"]).await;
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((code, rows.len()), (0, 3), "{out}");
    assert_eq!(rows[1][..4], ["a", "logs", "2", "2"]);
    assert_eq!(rows[2][..4], ["a", "event_v1", "1", "1"]);

    let shown = run_json(&daemon, &["show", "--tenant", "a", "--kind", "logs", "--limit", "1"]).await;
    assert_eq!((&shown["older"], shown["letters"].as_array().unwrap().len()), (&json!(1), 1), "{shown}");
    assert_eq!((&shown["letters"][0]["items"], &shown["letters"][0]["kind"]), (&json!(1), &json!("logs")));
    let id = shown["letters"][0]["body"][0]["id"].as_str().unwrap();
    let (code, out, _) = run(&daemon, &["show", "--tenant", "a", "--kind", "logs", "--limit", "1"]).await;
    assert_eq!(code, 0);
    for words in ["1 older letter not shown", "logs, 1 item, accepted 2", "HTTP 400: ", "invalid item", id] {
        assert!(out.contains(words), "{words}: {out}");
    }
    let none = run_json(&daemon, &["show", "--tenant", "b"]).await;
    assert_eq!(none["letters"], json!([]));
}

#[tokio::test]
async fn replayed_letters_arrive_once_and_go() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    fakeintake.fault("a", poison()).await;
    let at = now_ms() / 1000;
    daemon.logs("a", ["fine".to_owned()].into_iter().chain((0..50).map(|id| format!("poison-{id}")))).await;
    daemon.series("a", ["poison.v2".to_owned()]).await;
    let series = json!({ "series": [{ "metric": "poison.v1", "points": [[at, 1.25]] }] });
    daemon.post("a", "/api/v1/series", &series).await;
    let points = json!({ "series": [{ "metric": "poison.d", "points": [[at, [1.0, 2.0]]] }] });
    daemon.post("a", "/api/v1/distribution_points", &points).await;
    let check = json!([{ "check": "poison", "host_name": "h", "status": 0, "timestamp": at }]);
    daemon.post("a", "/api/v1/check_run", &check).await;
    daemon.post("a", "/api/v1/events", &event("poison")).await;
    let answer = daemon.try_post("a", "/api/beta/sketches", sketch("poison", at, &[])).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text);
    daemon.wait_empty("a").await;
    fakeintake.end_all_faults().await;

    let report = run_json(&daemon, &["replay", "--tenant", "a", "--kind", "sketches"]).await;
    assert_eq!((&report["replayed_letters"], &report["replayed_items"]), (&json!(1), &json!(1)), "{report}");
    fakeintake.wait_items("a", "sketches", 1).await;
    assert_eq!(fakeintake.items("a", "sketches").await[0].item["metric"], "poison");
    assert_eq!(fakeintake.count("a", "logs", "items").await, 1);
    let mode = std::fs::metadata(daemon.dead_letters("a")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let (code, out, error) = run(&daemon, &["replay", "--tenant", "a"]).await;
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(out.starts_with("replayed 55 letters with 55 items of tenant a\n"), "{out}");
    assert!(!daemon.dead_letters("a").exists());
    daemon.wait_empty("a").await;
    for (kind, items) in [("logs", 51), ("series_v2", 1), ("series_v1", 1), ("distribution_points", 1)] {
        assert_eq!(fakeintake.count("a", kind, "items").await, items, "{kind}");
    }
    for kind in ["check_run", "event_v1"] {
        assert_eq!(fakeintake.count("a", kind, "items").await, 1, "{kind}");
    }
    let mut ids: Vec<_> =
        fakeintake.items("a", "logs").await.iter().map(|log| log.item["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 51);
    daemon.scrape().await.assert_balanced();
    let report = run_json(&daemon, &["replay", "--tenant", "a"]).await;
    assert_eq!(report["replayed_letters"], 0);
}

#[tokio::test]
async fn letters_refused_again_are_new_letters() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    fakeintake.fault("a", poison()).await;
    daemon.post("a", "/api/v1/events", &event("poison")).await;
    daemon.wait_empty("a").await;
    let before = run_json(&daemon, &["show", "--tenant", "a"]).await;
    assert_eq!(run_json(&daemon, &["replay", "--tenant", "a"]).await["replayed_letters"], 1);
    let after = until("the letter to come back", async || {
        daemon.wait_empty("a").await;
        let shown = run_json(&daemon, &["show", "--tenant", "a"]).await;
        (shown["letters"].as_array().unwrap().len() == 1).then_some(shown)
    })
    .await;
    assert_eq!(after["letters"][0]["body"], before["letters"][0]["body"]);
    assert!(after["letters"][0]["refused_at"].as_i64() > before["letters"][0]["refused_at"].as_i64());
}

/// The daemon adds letters while replays take others out, some of them killed: none is lost, and each kill costs one
/// letter sent twice at most.
#[tokio::test]
async fn killed_replays_lose_no_letter() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a"]).set("delivery.concurrency_per_tenant", 8);
    let daemon = setup.set("delivery.retry_initial", "1ms").set("delivery.retry_max", "5ms").start().await;
    let fault = fakeintake.fault("a", poison()).await;
    const EVENTS: u64 = 400;
    let posting = async {
        for number in 0..EVENTS {
            daemon.post("a", "/api/v1/events", &event(&format!("poison-{number}"))).await;
            if number % 4 == 0 {
                // It is taken, which proves that the others are to blame.
                daemon.post("a", "/api/v1/events", &event("fine")).await;
            }
            if number == EVENTS / 2 {
                fakeintake.end_fault(fault).await;
                fakeintake.fault("a", json!({ "times": 100, "effect": { "status": { "code": 400 } } })).await;
            }
        }
    };
    let mut kills = 0;
    let replaying = async {
        for round in 0..40 {
            let mut command = command(&daemon.config(), &daemon.address().to_string(), &["replay", "--tenant", "a"]);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            if round % 2 == 0 {
                let after = Duration::from_micros(rand::rng().random_range(5_000..80_000));
                tokio::time::sleep(after).await;
                child.kill().unwrap();
                kills += 1;
            }
            until("the replay to end", async || child.try_wait().unwrap()).await;
        }
    };
    tokio::join!(posting, replaying);
    fakeintake.end_all_faults().await;
    until("the last replay", async || {
        daemon.wait_empty("a").await;
        run_json(&daemon, &["replay", "--tenant", "a"]).await;
        (!daemon.dead_letters("a").exists()).then_some(())
    })
    .await;
    daemon.wait_empty("a").await;
    let titles = titles(&fakeintake).await;
    let missing: Vec<_> =
        (0..EVENTS).map(|number| format!("poison-{number}")).filter(|title| !titles.contains_key(title)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let twice = titles.iter().filter(|(title, _)| *title != "fine").map(|(_, times)| times).sum::<u64>() - EVENTS;
    assert!(twice <= kills, "{twice} duplicates after {kills} kills");
    daemon.scrape().await.assert_balanced();
}

#[tokio::test]
async fn unreadable_lines_are_reported_and_kept() {
    let port = Scripted::start(|_| async { answer(202) }).await;
    let broken: [&[u8]; 4] =
        [b"{\"refused_at\":1,\"acc\n", b"\0\0\0\0\n", b"{\"kind\":\"traces\"}\n", b"{\"torn\":\"at the e"];
    let files = Files::new(&at(&port.url), "");
    let (first, second) = (letter(1, &[log(1)]), letter(2, &[log(2)]));
    let content = [broken[0], first.as_bytes(), broken[1], b"\n", broken[2], second.as_bytes(), broken[3]].concat();
    std::fs::write(files.path(), &content).unwrap();

    let (code, out, error) = files.run(&["list"]).await;
    assert!(code == 0 && out.contains("logs  2        2"), "{out}");
    for line in ["line 1 ", "line 3 ", "line 5 ", "line 7 "] {
        assert!(error.contains(line), "{line}: {error}");
    }
    let (code, out, _) = files.run(&["show", "--tenant", "a", "--json"]).await;
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, shown["unreadable"].as_array().unwrap().len()), (0, 4), "{out}");

    let (code, out, _) = files.run(&["replay", "--tenant", "a"]).await;
    assert_eq!(code, 1, "{out}");
    assert_eq!(std::fs::read(files.path()).unwrap(), broken.concat());
    let (code, ..) = files.run(&["purge", "--tenant", "a", "--yes"]).await;
    assert_eq!(code, 0);
    assert_eq!(std::fs::read(files.path()).unwrap(), broken.concat());
    let replayed = port.seen("/tenants/a/api/v2/logs");
    let bodies: Vec<Value> = replayed.iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    assert_eq!(bodies, [json!([log(1)]), json!([log(2)])]);
}

#[tokio::test]
async fn a_letter_refused_by_the_daemon_stays() {
    let port = Scripted::start(|request| async move { answer(if request.number == 1 { 400 } else { 202 }) }).await;
    let lines: Vec<_> = (0..3).map(|id| letter(id, &[log(id as u64)])).collect();
    let files = Files::with(&at(&port.url), &lines);
    let (code, out, _) = files.run(&["replay", "--tenant", "a", "--json"]).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 1);
    assert_eq!((&report["replayed_letters"], &report["refused_letters"]), (&json!(2), &json!(1)));
    assert_eq!((&report["refused"][0]["line"], &report["refused"][0]["status"]), (&json!(2), &json!(400)));
    assert_eq!(files.text(), lines[1]);
}

#[tokio::test]
async fn a_silent_daemon_gets_the_rest_later() {
    // Whatever is no 202 leaves the letter where it is.
    for status in [200, 401, 403, 404, 500] {
        let script = move |number| if number == 2 { status } else { 202 };
        let port = Scripted::start(move |request| async move { answer(script(request.number)) }).await;
        let lines: Vec<_> = (0..5).map(|id| letter(id, &[log(id as u64)])).collect();
        let files = Files::with(&at(&port.url), &lines);
        let (code, out, error) = files.run(&["replay", "--tenant", "a"]).await;
        assert_eq!(code, 1);
        assert!(error.contains(&format!("HTTP {status}")), "{error}");
        assert!(out.contains("replayed 2 letters") && out.contains("3 letters not replayed"), "{out}");
        assert_eq!(files.text(), lines[2..].concat());
        let (code, ..) = files.run(&["replay", "--tenant", "a"]).await;
        assert!(code == 0 && !files.path().exists());
        assert_eq!(port.seen("/tenants/a/api/v2/logs").len(), 6);
    }
}

#[tokio::test]
async fn without_a_daemon_the_error_helps() {
    let nobody = Nobody::new();
    let address = nobody.address;
    let files = Files::with(&address.to_string(), &[letter(1, &[log(1)])]);
    let before = files.text();
    let (code, _, error) = files.run(&["replay", "--tenant", "a"]).await;
    assert_eq!(code, 1);
    assert!(error.contains("is it running?"), "{error}");
    let (code, out, _) = files.run(&["replay", "--tenant", "a", "--json"]).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["kept_letters"]), (1, &json!(1)));
    assert!(report["error"].as_str().unwrap().contains(&address.to_string()), "{report}");
    assert_eq!(files.text(), before);
}

#[tokio::test]
async fn a_daemon_that_is_full_is_waited_for() {
    let script = |number| if number < 2 { 429 } else { 202 };
    let port = Scripted::start(move |request| async move {
        let mut answer = answer(script(request.number));
        answer.headers_mut().insert("retry-after", "0".parse().unwrap());
        answer
    })
    .await;
    let files = Files::with(&at(&port.url), &[letter(1, &[log(1)])]);
    let (code, _, error) = files.run(&["replay", "--tenant", "a"]).await;
    assert!(code == 0 && error.matches("waiting: HTTP 429").count() == 1, "{error}");
    assert_eq!(port.seen("/tenants/a/api/v2/logs").len(), 3);

    let port = Scripted::start(|_| async {
        let mut answer = answer(503);
        answer.headers_mut().insert("retry-after", u64::MAX.to_string().parse().unwrap());
        answer
    })
    .await;
    let files = Files::with(&at(&port.url), &[letter(1, &[log(1)])]);
    let (code, _, error) = files.run(&["replay", "--tenant", "a"]).await;
    assert!(code == 1 && error.contains("HTTP 503"), "{error}");
}

#[tokio::test]
async fn the_tenants_token_goes_along() {
    let port = Scripted::start(|_| async { answer(202) }).await;
    let files = Files::new(&at(&port.url), "ingest.require_token = true");
    std::fs::write(files.path(), letter(1, &[log(1)])).unwrap();
    let (code, ..) = files.run(&["replay", "--tenant", "a"]).await;
    assert_eq!(code, 0);
    assert_eq!(port.seen("/tenants/a/api/v2/logs")[0].headers["dd-api-key"], "a".repeat(32));
    let (code, _, error) = files.run(&["replay", "--tenant", "other"]).await;
    assert!(code == 2 && error.contains("tenant other") && error.contains("ingest_tokens"), "{error}");
}

#[tokio::test]
async fn large_letters_are_divided_over_a_socket() {
    let fakeintake = FakeIntake::start();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("ingest.sock");
    let setup = Setup::new(&fakeintake, &["a"]).set("ingest.socket", socket.to_str().unwrap());
    let daemon = setup.set("ingest.max_body", "20KB").start().await;
    let logs: Vec<_> = (0..900).map(|id| json!({ "message": "x".repeat(100), "id": id })).collect();
    std::fs::create_dir_all(daemon.dead_letters("a").parent().unwrap()).unwrap();
    std::fs::write(daemon.dead_letters("a"), letter(1, &logs)).unwrap();
    let mut replay = command(&daemon.config(), "", &["replay", "--tenant", "a"]);
    replay.env("DOGSLED_INGEST__SOCKET", &socket);
    let (code, out, error) = told(replay).await;
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    fakeintake.wait_items("a", "logs", 900).await;
    let mut ids: Vec<_> =
        fakeintake.items("a", "logs").await.iter().map(|log| log.item["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..900).collect::<Vec<_>>());
    assert!(!daemon.dead_letters("a").exists());
}

#[tokio::test]
async fn a_purge_asks_and_removes_what_was_named() {
    let now = now_ms();
    let old = letter(now - 3_600_000, &[log(1), log(2)]);
    let new = letter(now, &[log(3)]);
    let event = new.replace("\"kind\":\"logs\"", "\"kind\":\"event_v1\"");
    let files = Files::with("127.0.0.1:1", &[old.clone(), new.clone(), event.clone()]);
    let (code, _, error) = files.run(&["purge", "--tenant", "a"]).await;
    assert!(code == 2 && error.contains("--yes") && error.contains("3 letters"), "{error}");
    assert_eq!(files.text(), [&*old, &*new, &*event].concat());
    let (code, out, _) = files.run(&["purge", "--tenant", "a", "--before", "30m", "--yes"]).await;
    assert!(code == 0 && out.starts_with("removed 1 letter with 2 items of tenant a"), "{out}");
    assert_eq!(files.text(), [&*new, &*event].concat());
    let (code, out, _) = files.run(&["purge", "--tenant", "a", "--kind", "event_v1", "--yes", "--json"]).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["purged_letters"], &report["purged_items"]), (0, &json!(1), &json!(1)));
    assert_eq!(files.text(), new);
    assert_eq!(std::fs::metadata(files.path()).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, ..) = files.run(&["purge", "--tenant", "a", "--yes"]).await;
    assert!(code == 0 && !files.path().exists());
    assert_eq!(std::fs::read_dir(files.path().parent().unwrap()).unwrap().count(), 0, "something is left over");
}

#[tokio::test]
async fn a_second_replay_is_refused() {
    let port = Scripted::start(|_| std::future::pending()).await;
    let files = Files::with(&at(&port.url), &[letter(1, &[log(1)])]);
    let mut first = files.command(&["replay", "--tenant", "a"]).spawn().unwrap();
    until("the first to be at work", async || (!port.seen("/tenants/a/api/v2/logs").is_empty()).then_some(())).await;
    let before = files.text();
    for action in ["replay", "purge"] {
        let (code, _, error) = files.run(&[action, "--tenant", "a"]).await;
        assert!(code == 1 && error.contains("another `dogsled dead-letter`"), "{error}");
    }
    let (code, ..) = files.run(&["list"]).await;
    assert_eq!(code, 0);
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(files.text(), before);
}

#[tokio::test]
async fn invalid_tenants_and_kinds_are_refused() {
    let files = Files::with("127.0.0.1:1", &[]);
    for arguments in [
        &["show", "--tenant", "../../etc/passwd"][..],
        &["purge", "--yes", "--tenant", ".."],
        &["replay", "--tenant", ""],
        &["show", "--tenant", "a", "--kind", "traces"],
        &["purge", "--yes"],
    ] {
        let (code, out, _) = files.run(arguments).await;
        assert!(code == 2 && out.is_empty(), "{arguments:?}: {out}");
    }
}

#[tokio::test]
async fn customers_text_is_escaped_for_terminals() {
    let line =
        letter(1, &[json!({ "message": "\u{1b}]0;x\u{7}\u{9b}2J" })]).replace("\"no\"", r#""\u001b[2J\u009bno""#);
    let files = Files::with("127.0.0.1:1", &[line]);
    for arguments in [&["list"][..], &["show", "--tenant", "a"]] {
        let (code, out, _) = files.run(arguments).await;
        assert!(code == 0 && out.contains("no"), "{out:?}");
        assert!(out.chars().all(|c| c == '\n' || !c.is_control()), "{out:?}");
    }
}
