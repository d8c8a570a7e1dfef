//! `dogsled send` against the real daemon, with the stand-in behind it.

use dogsled::fakeintake::{Effect, FakeIntake, Filter, Handle, Key, Options, Rule};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const TOKEN: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// A daemon in a process of its own, before a stand-in in this one. Ends with the value.
struct House {
    daemon: Child,
    fakeintake: Handle,
    url: String,
    config: PathBuf,
    _dir: tempfile::TempDir,
}

impl House {
    /// With the tenants acme (of [`KEY`] and [`TOKEN`]) and keyless (of neither).
    async fn new(require_token: bool) -> Self {
        let fakeintake = FakeIntake::bind("127.0.0.1:0", Options { any_key: false, ..Options::default() }).unwrap();
        let (handle, base) = (fakeintake.handle(), format!("http://{}", fakeintake.addr()));
        tokio::spawn(fakeintake.serve(std::future::pending()));
        handle.set_key(key(true));
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("dogsled.toml");
        let text = format!(
            "[state]\ndir = {state:?}\n[admin]\nlisten = \"\"\n[log]\nformat = \"json\"\n\
             [batch]\nmax_age = \"20ms\"\n[delivery]\nretry_initial = \"50ms\"\nretry_max = \"100ms\"\n\
             [tenants.acme]\napi_key = {KEY:?}\ningest_tokens = [{TOKEN:?}]\n[tenants.keyless]\n\
             [datadog.sites.\"datadoghq.com\"]\napi = {base:?}\nlogs = {base:?}\nevents = {base:?}\n\
             [ingest]\nrequire_token = {require_token}\n",
            state = dir.path().join("state")
        );
        std::fs::write(&config, &text).unwrap();
        let mut daemon = dogsled(&["run", "--config", config.to_str().unwrap()])
            .env("DOGSLED_INGEST__LISTEN", "127.0.0.1:0")
            .env("DOGSLED_DOGSTATSD__LISTEN", "")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(daemon.stderr.take().unwrap());
        let url = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "the daemon ended without listening");
            let record: Value = serde_json::from_str(&line).unwrap();
            if record["message"] == "listening" && record["listener"] == "ingest" {
                break format!("http://{}", record["address"].as_str().unwrap());
            }
        };
        // What nobody reads would hold the daemon up.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        std::fs::write(&config, format!("{text}listen = {:?}\n", &url["http://".len()..])).unwrap();
        Self { daemon, fakeintake: handle, url, config, _dir: dir }
    }

    /// `dogsled send` to this daemon: its exit code, and what it wrote to standard output and error.
    fn send(&self, arguments: &[&str]) -> (i32, String) {
        let mut all = vec!["send", "--url", &self.url, "--timeout", "20s"];
        all.extend(arguments);
        told(dogsled(&all))
    }

    fn arrived(&self, kind: &str) -> Vec<Value> {
        let filter = Filter { key: Some(KEY.into()), kind: Some(kind.into()) };
        let items = self.fakeintake.items(&filter, 0, usize::MAX);
        items.iter().map(|item| serde_json::from_str(&item.json).unwrap()).collect()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn key(valid: bool) -> Key {
    Key { key: KEY.into(), org: "acme".into(), valid, client_id: None }
}

fn dogsled(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dogsled"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn told(mut command: Command) -> (i32, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn an_item_is_sent_as_a_dogstatsd_line() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("dogsled.toml");
    let address = socket.local_addr().unwrap().to_string();
    std::fs::write(&config, format!("dogstatsd.listen = {address:?}\ntenancy.tag = \"customer\"\n")).unwrap();
    let send = |arguments: &[&str]| {
        let mut all = vec!["send", "--via", "dogstatsd", "--config", config.to_str().unwrap(), "--tenant", "acme"];
        all.extend(arguments);
        told(dogsled(&all))
    };
    for (arguments, expected) in [
        (&["metric", "demo.hits", "-3.5", "--type", "count"][..], "demo.hits:-3.5|c|#customer:acme"),
        (&["event", "Deployed", "a\nb", "--tag", "x:y"], "_e{8,4}:Deployed|a\\nb|t:info|#x:y,customer:acme"),
        (&["check", "demo.up", "critical", "--message", "down"], "_sc|demo.up|2|#customer:acme|m:down"),
    ] {
        let (code, text) = send(arguments);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains(&address), "{text}");
        let mut buffer = [0; 1_000];
        let length = loop {
            match socket.recv(&mut buffer).unwrap() {
                0 => {}
                length => break length,
            }
        };
        assert_eq!(std::str::from_utf8(&buffer[..length]).unwrap(), expected);
    }
    let (code, text) = send(&["log", "hello"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("no logs"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_is_followed_to_delivery() {
    let house = House::new(false).await;
    for (arguments, kind, expected) in [
        (&["log", "hello there", "--status", "warn"][..], "logs", r#"{"message":"hello there","status":"warn"}"#),
        (&["metric", "demo.temperature", "-3.5"], "series_v2", r#"{"metric":"demo.temperature","type":3}"#),
        (&["event", "Deployed", "version 7"], "event_v1", r#"{"title":"Deployed","text":"version 7"}"#),
        (&["check", "demo.up", "critical", "--message", "down"], "check_run", r#"{"check":"demo.up","status":2}"#),
    ] {
        let (code, text) =
            house.send(&[arguments, &["--tenant", "acme", "--tag", "env:test", "--tag", "a:b"]].concat());
        assert_eq!(code, 0, "{text}");
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with(&format!("accepted: {}, HTTP 202", arguments[0])), "{text}");
        assert!(lines[1].starts_with("delivered: Datadog accepted it for tenant acme after "), "{text}");
        assert!(lines[1].ends_with(", 1 attempt"), "{text}");
        let arrived = house.arrived(kind);
        let item = arrived[0].as_object().unwrap();
        for (name, value) in json(expected).as_object().unwrap() {
            assert_eq!(&item[name], value, "{item:?}");
        }
        assert!(arrived[0].to_string().contains("env:test"), "{item:?}");
        assert_eq!(arrived.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outcome_is_one_json_object() {
    let house = House::new(false).await;
    let (code, text) = house.send(&["metric", "demo.x", "1", "--type", "count", "--tenant", "acme", "--json"]);
    let report = json(&text);
    assert_eq!(code, 0, "{text}");
    assert_eq!((&report["outcome"], &report["tenant"]), (&"delivered".into(), &"acme".into()), "{text}");
    assert_eq!((&report["item"], &report["attempts"]), (&"metric".into(), &1.into()), "{text}");
    assert!(report["seconds"].as_f64().unwrap() > 0.0, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_are_counted() {
    let house = House::new(false).await;
    let effect = Effect::Status { code: 503, headers: [].into(), body: None };
    house.fakeintake.add_fault(Rule { key: None, path: None, skip: 0, times: Some(2), effect });
    let (code, text) = house.send(&["log", "--tenant", "acme"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.trim_end().ends_with(", 3 attempts"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_shown_with_datadogs_words_even_in_a_crowd() {
    let house = House::new(false).await;
    let effect = Effect::RejectItems { contains: "poison".into() };
    house.fakeintake.add_fault(Rule { key: None, path: None, skip: 0, times: None, effect });
    let crowd: Vec<_> = (0..8)
        .map(|_| dogsled(&["send", "log", "fine", "--tenant", "acme", "--url", &house.url]).spawn().unwrap())
        .collect();
    let (code, text) = house.send(&["log", "this is poison", "--tenant", "acme"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("\ndead-lettered after "), "{text}");
    assert!(text.contains("400 ") && text.contains("invalid item"), "{text}");
    assert!(text.contains("dead-letters/acme.ndjson"), "{text}");
    for child in crowd {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_item_shows_the_tenants_state() {
    let house = House::new(false).await;
    house.fakeintake.set_key(key(false));
    let (code, text) = house.send(&["log", "--tenant", "acme", "--timeout", "1s"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("still queued after ") && text.contains("tenant acme is unauthorized"), "{text}");
    assert!(text.contains("the last answer was: 403 "), "{text}");
    let (code, text) = house.send(&["log", "--tenant", "keyless", "--timeout", "1s", "--json"]);
    let report = json(&text);
    assert_eq!((code, &report["outcome"], &report["tenant_state"]), (1, &"queued".into(), &"pending".into()), "{text}");
    house.fakeintake.set_key(key(true));
    let both = Filter { key: Some(KEY.into()), kind: None };
    assert!(house.fakeintake.wait_items(&both, 1, Duration::from_secs(20)).await, "the daemon goes on trying");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemons_refusal_is_shown_in_its_words() {
    let house = House::new(false).await;
    for (arguments, words) in [
        (&["log", "--tenant", "nobody"][..], "403: unknown tenant \"nobody\", named by the path"),
        (&["log"], "401: no tenant: name one by the path"),
        (&["metric", "", "1", "--tenant", "acme"], "400: item 0: "),
    ] {
        let (code, text) = house.send(arguments);
        assert_eq!(code, 1, "{text}");
        assert!(text.starts_with("error: http://") && text.contains(words), "{text}");
    }
    let (code, text) = house.send(&["metric", "demo.x", "NaN", "--tenant", "acme"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("finite numbers only"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn address_and_token_come_from_the_configuration() {
    let house = House::new(true).await;
    let (code, text) = house.send(&["log", "--tenant", "acme"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("401: no ingest token"), "{text}");
    let config = house.config.to_str().unwrap();
    let (code, text) = told(dogsled(&["send", "log", "--tenant", "acme", "--config", config]));
    assert_eq!(code, 0, "{text}");
    assert_eq!(house.arrived("logs").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_daemon_is_explained() {
    // A port that is taken, and at which nobody listens.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let (code, text) = told(dogsled(&["send", "log", "--tenant", "acme", "--url", &url]));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(&format!("no answer from {url}: Connection refused")), "{text}");
    assert!(text.contains("dogsled run") && text.contains("--url"), "{text}");
    let (code, text) = told(dogsled(&["send", "log", "--json", "--url", &url]));
    assert_eq!((code, &json(&text)["outcome"]), (1, &"failed".into()), "{text}");
}
