//! `dogsled tenant` and `dogsled status` on the real daemon, with a stand-in for Datadog.

use crate::operator::{Datadog, Operator};
use crate::support::{Daemon, FakeIntake, Nobody, Scripted, Setup, answer, key_of, until};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a command said.
#[derive(Debug)]
struct Told {
    code: i32,
    out: String,
    error: String,
}

impl Told {
    /// Its output, of a command that succeeded and had nothing else to say.
    #[track_caller]
    fn fine(self) -> String {
        assert_eq!((self.code, self.error.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// Its errors, of a command that ended so and printed nothing.
    #[track_caller]
    fn refused(self, code: i32) -> String {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{}", self.error);
        assert!(self.error.starts_with("error: "), "{}", self.error);
        self.error
    }
}

/// The program, asking the daemon of a configuration at `admin`.
fn command(config: &Path, admin: &str, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dogsled"));
    command.args(words.split_whitespace()).arg("--config").arg(config);
    command.env("DOGSLED_ADMIN__LISTEN", admin.trim_start_matches("http://"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn told(mut command: Command) -> Told {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Told { code: output.status.code().unwrap(), out: text(output.stdout), error: text(output.stderr) }
}

/// Runs a command for a daemon.
async fn run(daemon: &Daemon, words: &str) -> Told {
    told(command(&daemon.config(), &daemon.url("admin"), words)).await
}

/// The same with `--json`, which must succeed.
async fn run_json(daemon: &Daemon, words: &str) -> Value {
    let out = run(daemon, &format!("{words} --json")).await.fine();
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// A file beside the daemon's configuration.
fn file(daemon: &Daemon, name: &str, text: &str) -> PathBuf {
    let path = daemon.config().with_file_name(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

#[tokio::test]
async fn commands_cover_a_tenants_whole_life() {
    let datadog = Datadog::start(3600).await;
    let daemon = datadog.setup(&["fixed"]).start().await;
    let added = run(&daemon, "tenant add acme --name Acme").await.fine();
    assert!(
        added.starts_with("added tenant acme: pending") && added.contains("dogsled tenant connect acme"),
        "{added}"
    );
    daemon.logs("acme", [1]).await;

    let begun = run(&daemon, "tenant connect acme --domain datadoghq.com --session session-of-acme").await;
    assert_eq!((begun.code, begun.out.lines().count()), (0, 1), "the address alone is the output: {begun:?}");
    assert!(begun.error.contains("browser until 2"), "{}", begun.error);
    let query = datadog.consent(begun.out.trim(), "alpha", "approve").await;
    assert_eq!(Operator::of(&daemon).callback("acme", &query).await.status, 200);
    datadog.wait_logs("alpha", &[1]).await;

    let shown = run(&daemon, "tenant show acme").await.fine();
    for line in [
        "tenant        acme",
        "name          Acme",
        "organisation  The alpha & Co (unverified name, ",
        "created through OAuth",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert!(!shown.contains(&datadog.keys("alpha").await[0]), "{shown}");
    let listed = run(&daemon, "tenant list").await.fine();
    let rows: Vec<Vec<_>> = listed.lines().map(|line| line.split_whitespace().take(4).collect()).collect();
    assert_eq!(rows[1..], [["acme", "active", "datadoghq.com", "store"], ["fixed", "active", "datadoghq.com", "file"]]);

    assert!(run(&daemon, "tenant pause acme").await.fine().starts_with("paused tenant acme: paused"));
    daemon.logs("acme", [2]).await;
    assert!(run(&daemon, "tenant resume acme").await.fine().starts_with("resumed tenant acme: "));
    datadog.wait_logs("alpha", &[1, 2]).await;
    assert!(run(&daemon, "tenant set acme --name Acme-Inc").await.fine().starts_with("changed tenant acme"));
    assert_eq!(run_json(&daemon, "tenant show acme").await["display_name"], "Acme-Inc");

    let disconnected = run(&daemon, "tenant disconnect acme --yes").await.fine();
    assert!(disconnected.starts_with("disconnected tenant acme; its telemetry is held"), "{disconnected}");
    daemon.logs("acme", [3, 4]).await;
    let removed = run(&daemon, "tenant remove acme --purge --yes").await.fine();
    assert_eq!(removed, "removed tenant acme; 2 items of it dropped\n");
    let gone = run(&daemon, "tenant show acme").await.refused(1);
    assert!(gone.contains("acme") && gone.contains("dogsled tenant list"), "{gone}");
}

#[tokio::test]
async fn own_limits_are_set_shown_and_taken_back() {
    let datadog = Datadog::start(3600).await;
    let daemon = datadog.setup(&["fixed"]).start().await;
    run(&daemon, "tenant add acme --items-per-second 100 --max-bytes 2GiB").await.fine();
    let shown = run(&daemon, "tenant show acme").await.fine();
    for line in
        ["limits        100 items a second (its own)", "quota         2GiB (its own), for 48h, reject when full"]
    {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let own = "tenant set acme --items-per-second default --bytes-per-second 1MiB --max-age 1h --when-full drop_oldest";
    run(&daemon, own).await.fine();
    let json = run_json(&daemon, "tenant show acme").await;
    assert_eq!(json["limits"], json!({ "items_per_second": null, "bytes_per_second": 1 << 20 }));
    assert_eq!(json["journal"], json!({ "max_bytes": 2_u64 << 30, "max_age": "1h", "when_full": "drop_oldest" }));
    let shown = run(&daemon, "tenant show acme").await.fine();
    for line in
        ["limits        1MiB a second (its own)", "quota         2GiB (its own), for 1h (its own), drop_oldest when"]
    {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let fixed = run(&daemon, "tenant show fixed").await.fine();
    assert!(!fixed.contains("limits") && fixed.contains("quota         1GiB, for 48h, reject when full\n"), "{fixed}");
    for (words, told) in [
        ("--items-per-second many", "whole number"),
        ("--max-bytes 2G", "2GiB"),
        ("--max-age 5", "5s"),
        ("--when-full burn", "drop_oldest"),
        ("--max-bytes 1KiB", "out of range"),
    ] {
        let refused = run(&daemon, &format!("tenant set acme {words}")).await.refused(2);
        assert!(refused.contains(told), "{words}: {refused}");
    }
}

#[tokio::test]
async fn a_key_from_a_file_delivers_and_is_replaced() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &[]).start().await;
    let first = file(&daemon, "first.key", &format!("{}\n", key_of("first")));
    let added = run(&daemon, &format!("tenant add acme --api-key-file {}", first.display())).await.fine();
    assert!(added.starts_with("added tenant acme: active") && !added.contains("connect it"), "{added}");
    assert!(!added.contains(&key_of("first")));
    daemon.logs("acme", [1]).await;
    fakeintake.wait_items("first", "logs", 1).await;
    let second = file(&daemon, "second.key", &key_of("second"));
    run(&daemon, &format!("tenant set acme --api-key-file {}", second.display())).await.fine();
    daemon.logs("acme", [2]).await;
    fakeintake.wait_items("second", "logs", 1).await;
}

#[tokio::test]
async fn an_ingest_token_is_created_used_and_revoked() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &[]).set("ingest.require_token", true).start().await;
    let key = file(&daemon, "acme.key", &key_of("acme"));
    run(&daemon, &format!("tenant add acme --api-key-file {}", key.display())).await.fine();
    assert!(run(&daemon, "tenant token list acme").await.fine().contains("no ingest tokens"));
    let made = run(&daemon, "tenant token create acme --label shop").await;
    let token = made.out.trim();
    assert_eq!((made.code, token.len()), (0, 32), "{made:?}");
    assert!(made.error.contains("not shown again") && !made.error.contains(token), "{made:?}");
    let url = format!("http://{}/api/v1/validate", daemon.address());
    let status = async || {
        let request = crate::support::client().get(&url).header("DD-API-KEY", token);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status().await, 200);

    let listed = run(&daemon, "tenant token list acme").await.fine();
    assert!(listed.contains("shop") && listed.contains(&token[28..]) && !listed.contains(token), "{listed}");
    let id = run_json(&daemon, "tenant token list acme").await["tokens"][0]["id"].as_str().unwrap().to_owned();
    let revoked = run(&daemon, &format!("tenant token revoke acme {id}")).await.fine();
    assert_eq!(revoked, format!("revoked ingest token {id} of tenant acme\n"));
    assert_eq!(status().await, 403);
    let again = run(&daemon, &format!("tenant token revoke acme {id}")).await.refused(1);
    assert!(again.contains("dogsled tenant token list"), "{again}");
    let json = run_json(&daemon, "tenant token create acme").await;
    assert_eq!(json["token"].as_str().map(str::len), Some(32), "{json}");
}

#[tokio::test]
async fn commands_drop_or_release_held_telemetry() {
    for (held, arrived) in [("release", vec![1, 2, 3]), ("drop", vec![3])] {
        let datadog = Datadog::start(3600).await;
        let daemon = datadog.setup(&[]).start().await;
        let operator = Operator::of(&daemon);
        operator.create("acme").await;
        operator.connect(&datadog, "acme", "alpha").await;
        run(&daemon, "tenant disconnect acme --yes").await.fine();
        daemon.logs("acme", [1, 2]).await;
        operator.connect(&datadog, "acme", "beta").await;
        operator.wait_state("acme", "paused").await;
        daemon.logs("acme", [3]).await;
        let shown = run(&daemon, "tenant show acme").await.fine();
        assert!(shown.contains("held for") && shown.contains("dogsled tenant held drop acme"), "{shown}");
        if held == "drop" {
            let unasked = run(&daemon, "tenant held drop acme").await.refused(2);
            assert!(unasked.contains("The alpha & Co") && unasked.contains("--yes"), "{unasked}");
            assert!(
                run(&daemon, "tenant held drop acme --yes")
                    .await
                    .fine()
                    .starts_with("dropped 2 items on this host; tenant acme")
            );
        } else {
            assert!(run(&daemon, "tenant held release acme").await.fine().starts_with("released what was held"));
        }
        datadog.wait_logs("beta", &arrived).await;
    }
}

#[tokio::test]
async fn a_refused_command_says_what_to_do() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["fixed"]).start().await;
    run(&daemon, "tenant add acme").await.fine();
    let missing = daemon.config().with_file_name("no-such.key");
    let with_missing = format!("tenant add b --api-key-file {}", missing.display());
    let as_a_key = format!("tenant add b --api-key-file {}", key_of("b"));
    for (words, code, said) in [
        ("tenant pause fixed", 1, "[tenants.fixed]"),
        ("tenant remove fixed --yes", 1, "configuration file"),
        ("tenant add fixed", 1, "choose another id"),
        ("tenant add acme", 1, "dogsled tenant set"),
        ("tenant show nobody", 1, "dogsled tenant list"),
        ("tenant add b --site datadoghq.evil", 2, "datadoghq.eu"),
        ("tenant add a/b", 2, "is not a tenant id"),
        ("tenant set acme", 2, "--api-key-file"),
        ("tenant remove acme", 2, "--yes"),
        ("tenant disconnect acme", 2, "--yes"),
        ("tenant connect acme", 1, "oauth.client_id"),
        ("tenant held release acme", 1, "holds nothing"),
        ("tenant token revoke acme ../x", 2, "token list"),
        ("tenant list --admin ftp://localhost", 2, "http://127.0.0.1:8283"),
        (&with_missing, 2, "no-such.key"),
        (&as_a_key, 2, "looks like a key itself"),
    ] {
        let error = run(&daemon, words).await.refused(code);
        assert!(error.contains(said), "{words}: {error}");
        assert!(!error.contains(&key_of("b")), "{error}");
    }
    let refused = run(&daemon, "tenant pause fixed --json").await;
    let report: Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!((refused.code, refused.error.as_str()), (1, ""));
    assert!(report["error"].as_str().unwrap().contains("[tenants.fixed]"), "{report}");
    let states = run_json(&daemon, "tenant list").await;
    assert_eq!(states["tenants"].as_array().unwrap().len(), 2, "nothing was added or removed: {states}");
}

#[tokio::test]
async fn a_missing_token_says_what_to_do() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    let admin = daemon.url("admin");
    let other = file(&daemon, "other.token", "0123456789abcdef0123456789abcdef");
    let refused = run(&daemon, &format!("tenant list --token-file {}", other.display())).await.refused(1);
    assert!(refused.contains("other.token") && refused.contains("--token-file"), "{refused}");
    assert!(!refused.contains("0123456789abcdef"), "{refused}");
    let none = daemon.config().with_file_name("none.token");
    let refused = run(&daemon, &format!("status --token-file {}", none.display())).await.refused(1);
    assert!(refused.contains("none.token") && refused.contains("first started"), "{refused}");
    let empty = file(&daemon, "empty.token", "\n");
    let refused = run(&daemon, &format!("status --token-file {}", empty.display())).await.refused(1);
    assert!(refused.contains("holds no token"), "{refused}");

    // Both are named: no configuration is read, be it there or not.
    let mut bare = Command::new(env!("CARGO_BIN_EXE_dogsled"));
    let token = daemon.state_dir().join("admin.token");
    bare.args(["tenant", "list", "--admin", &admin, "--token-file"]).arg(token).env("DOGSLED_NO_SUCH__KEY", "x");
    assert!(told(bare).await.fine().contains("a "));

    // Something else answers there.
    let web = Scripted::start(|_| async { answer(404) }).await;
    let words = format!("tenant list --admin {}", web.url);
    let refused = told(command(&daemon.config(), &web.url, &words)).await.refused(1);
    assert!(refused.contains("is it the admin port of a dogsled"), "{refused}");

    daemon.stop().await;
}

#[tokio::test]
async fn without_a_daemon_commands_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("dogsled.toml");
    std::fs::write(&config, format!("state.dir = {:?}\n", dir.path())).unwrap();
    let nobody = Nobody::new();
    let free = nobody.address.to_string();
    let at_port = format!("status --admin {free}");
    let refused = told(command(&config, &free, &at_port)).await.refused(1);
    assert!(refused.contains("admin.token") && refused.contains("first started"), "{refused}");
    std::fs::write(dir.path().join("admin.token"), "0123456789abcdef\n").unwrap();
    for (words, at) in [("status", "admin.sock"), ("status --watch", "admin.sock"), (&at_port, &*free)] {
        let refused = told(command(&config, &free, words)).await.refused(1);
        assert!(refused.contains(at) && refused.contains("dogsled run"), "{words}: {refused}");
    }
    std::fs::write(&config, "stat.dir = 1\n").unwrap();
    assert!(told(command(&config, &free, "tenant list")).await.refused(2).contains("stat"));
}

#[tokio::test]
async fn a_squatter_on_the_admin_port_gets_no_token() {
    let squatter = Scripted::start(|_| async { answer(200) }).await;
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("dogsled.toml");
    std::fs::write(&config, format!("state.dir = {:?}\n", dir.path())).unwrap();
    let token = dir.path().join("admin.token");
    std::fs::write(&token, "0123456789abcdef\n").unwrap();
    std::fs::set_permissions(token, Permissions::from_mode(0o600)).unwrap();
    for words in ["status", "tenant list", "tenant remove acme --yes"] {
        told(command(&config, &squatter.url, words)).await.refused(1);
    }
    for path in ["/metrics", "/admin/v1/status", "/admin/v1/tenants", "/admin/v1/tenants/acme"] {
        assert_eq!(squatter.seen(path).len(), 0, "{path}");
    }
}

#[tokio::test]
async fn a_socket_of_another_user_is_not_asked() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("dogsled.toml");
    std::fs::write(&config, format!("state.dir = {:?}\n", dir.path())).unwrap();
    let socket = dir.path().join("admin.sock");
    let squatter = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    squatter.set_nonblocking(true).unwrap();
    if std::os::unix::fs::chown(&socket, Some(65_534), None).is_err() {
        eprintln!("skipped: only root can give a socket to another user");
        return;
    }
    let refused = told(command(&config, "127.0.0.1:1", "tenant list")).await.refused(1);
    assert!(refused.contains("admin.sock belongs to user 65534"), "{refused}");
    assert!(squatter.accept().is_err(), "nothing was sent");
}

#[tokio::test]
async fn status_has_a_line_for_every_tenant() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["good", "bad"]).start().await;
    run(&daemon, "tenant add waiting").await.fine();
    daemon.logs("waiting", [1, 2]).await;
    fakeintake.set_key("bad", false).await;
    daemon.logs("bad", [1]).await;
    daemon.wait_state("bad", "unauthorized").await;
    daemon.logs("good", 0..10).await;
    daemon.wait_empty("good").await;
    let shown = run(&daemon, "status").await.fine();
    assert!(shown.starts_with("dogsled ") && shown.contains("3 tenants, 3 items queued"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "no colours where there is no terminal: {shown}");
    let rows: Vec<Vec<_>> = shown.lines().skip(3).map(|line| line.split_whitespace().take(3).collect()).collect();
    assert_eq!(
        rows[..3],
        [["bad", "unauthorized", "1"], ["waiting", "pending", "2"], ["good", "active", "0"]],
        "{shown}"
    );
    assert!(shown.contains("403"), "{shown}");

    let status = run_json(&daemon, "status").await;
    assert_eq!(status["queue"]["items"], 3, "{status}");
    let tenants = status["tenants"].as_array().unwrap();
    let good = tenants.iter().find(|tenant| tenant["id"] == "good").unwrap();
    assert!(good["delivered_per_second"].is_number(), "{status}");
}

#[tokio::test]
async fn status_watch_shows_changes() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["acme"]).start().await;
    let mut command = command(&daemon.config(), &daemon.url("admin"), "status --watch --interval 50ms --json");
    let mut child = command.spawn().unwrap();
    let lines = crate::support::gather(child.stdout.take().unwrap());
    let rate_of = |line: &String| {
        let status: Value = serde_json::from_str(line).unwrap();
        status["tenants"][0]["delivered_per_second"].as_f64().unwrap_or_default()
    };
    until("two looks", async || (lines.lock().unwrap().len() >= 2).then_some(())).await;
    daemon.logs("acme", 0..50).await;
    until("a look with a rate", async || lines.lock().unwrap().iter().any(|line| rate_of(line) > 0.0).then_some(()))
        .await;
    daemon.stop().await;
    let status = until("the watching to end with the daemon", async || child.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(1));
    let mut last = lines.lock().unwrap().last().cloned().unwrap();
    until("the last words", async || {
        last = lines.lock().unwrap().last().cloned().unwrap();
        last.contains("\"error\"").then_some(())
    })
    .await;
    assert!(last.contains("no answer"), "{last}");
}
