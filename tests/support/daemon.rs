//! A daemon in a process of its own.

use super::{FakeIntake, Lines, Scrape, client, gather, key_of, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Where daemons keep their state, one after the other. Removed with the last clone.
#[derive(Clone)]
pub struct Home(Arc<TempDir>);

/// How a daemon is to be started.
#[derive(Clone)]
pub struct Setup {
    settings: BTreeMap<String, String>,
    before: String,
}

/// A running `dogsled run`; it ends with this value.
pub struct Daemon {
    child: Child,
    http: reqwest::Client,
    log: Lines,
    ingest: String,
    admin: String,
    home: Home,
}

/// The daemon's answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The value of `Retry-After`.
    pub retry_after: Option<String>,
    /// The body.
    pub text: String,
}

impl Setup {
    /// The daemon of these tenants, impatient, so that tests are short. All sites are at `fakeintake`.
    pub fn new(fakeintake: &FakeIntake, tenants: &[&str]) -> Self {
        Self::at(&fakeintake.url, tenants)
    }

    /// As [`new`](Self::new), with Datadog at that address.
    pub fn at(url: &str, tenants: &[&str]) -> Self {
        let quoted = |text: &str| Value::from(text).to_string();
        let mut settings = BTreeMap::new();
        for (name, value) in [
            ("ingest.listen", "127.0.0.1:0"),
            ("admin.listen", "127.0.0.1:0"),
            ("dogstatsd.listen", "127.0.0.1:0"),
            ("batch.max_age", "20ms"),
            ("delivery.timeout", "5s"),
            ("delivery.retry_initial", "20ms"),
            ("delivery.retry_max", "200ms"),
            ("shutdown.grace", "10s"),
            ("shutdown.quiet", "20ms"),
            ("log.format", "json"),
        ] {
            settings.insert(name.to_owned(), quoted(value));
        }
        for role in ["api", "logs", "events"] {
            settings.insert(format!("datadog.sites.\"datadoghq.com\".{role}"), quoted(url));
        }
        for tenant in tenants {
            settings.insert(format!("tenants.{tenant}.api_key"), quoted(&key_of(tenant)));
        }
        Self { settings, before: "true".into() }
    }

    /// Sets a key of the configuration, such as `delivery.timeout`, to a TOML value.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.settings.insert(key.to_owned(), value.into().to_string());
        self
    }

    /// Takes a key, or a table, out of the configuration.
    pub fn without(mut self, key: &str) -> Self {
        let is_within =
            |name: &str| name.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.settings.retain(|name, _| !is_within(name));
        self
    }

    /// Runs a command of the shell in its process before it.
    pub fn after(mut self, command: impl Into<String>) -> Self {
        self.before = command.into();
        self
    }

    /// Starts it and waits until it listens.
    pub async fn start(&self) -> Daemon {
        self.start_in(&Home::new()).await
    }

    /// The same, with the state that another one has left.
    pub async fn start_in(&self, home: &Home) -> Daemon {
        let mut daemon = self.spawn_in(home);
        let listening = until("the daemon to listen", async || {
            if daemon.ended().is_some() {
                return Some(None);
            }
            Some(Some((daemon.listener("ingest")?, daemon.listener("admin")?)))
        });
        let Some((ingest, admin)) = listening.await else { panic!("the daemon did not start:\n{}", daemon.log_text()) };
        (daemon.ingest, daemon.admin) = (ingest, admin);
        daemon
    }

    /// Writes its configuration file, for the next start or for one that runs already.
    pub fn write_in(&self, home: &Home) -> PathBuf {
        let mut config = format!("state.dir = {}\n", json!(home.state_dir()));
        for (key, value) in &self.settings {
            config += &format!("{key} = {value}\n");
        }
        home.write("dogsled.toml", &config)
    }

    /// Starts it without waiting for anything.
    pub fn spawn_in(&self, home: &Home) -> Daemon {
        let file = self.write_in(home);
        let mut command = Command::new("sh");
        let script = format!("{} && exec \"$0\" \"$@\"", self.before);
        command.args(["-c", &script, env!("CARGO_BIN_EXE_dogsled"), "run", "--config"]).arg(file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "NOTIFY_SOCKET"] {
            command.env_remove(name);
        }
        let mut child = command.spawn().unwrap();
        let log = gather(child.stderr.take().unwrap());
        Daemon { child, http: client(), log, ingest: String::new(), admin: String::new(), home: home.clone() }
    }
}

impl Home {
    /// A new one.
    pub fn new() -> Self {
        Self(Arc::new(tempfile::tempdir().unwrap()))
    }

    /// The state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.0.path().join("state")
    }

    /// Writes a file that only its user can read, beside the configuration.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let (path, new) = (self.0.path().join(name), self.0.path().join(format!("{name}.new")));
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, Permissions::from_mode(0o600)).unwrap();
        // In one step: a daemon that reloads just now must not read half of it.
        std::fs::rename(&new, &path).unwrap();
        path
    }

    /// The files with this extension in a directory below the state directory, in order.
    pub fn files(&self, dir: &str, extension: &str) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.state_dir().join(dir)) else { return Vec::new() };
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
        files.sort();
        files
    }

    /// A tenant's dead letters as they stand in their file; nothing without one.
    pub fn dead_letters_text(&self, tenant: &str) -> String {
        let path = self.state_dir().join("dead-letters").join(format!("{tenant}.ndjson"));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// The lines of a tenant's dead letters.
    pub fn dead_letters(&self, tenant: &str) -> Vec<Value> {
        self.dead_letters_text(tenant).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Daemon {
    fn listener(&self, name: &str) -> Option<String> {
        let found = self.log("listening").into_iter().find(|line| line["listener"] == name);
        found.map(|line| format!("http://{}", line["address"].as_str().unwrap()))
    }

    /// The lines of its log whose message contains `text`.
    pub fn log(&self, text: &str) -> Vec<Value> {
        let lines = self.log.lock().unwrap();
        let parsed = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        parsed.filter(|line| line["message"].as_str().is_some_and(|message| message.contains(text))).collect()
    }

    /// Everything that it has logged, as text.
    pub fn log_text(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Where its dead letters of a tenant are.
    pub fn dead_letters(&self, tenant: &str) -> PathBuf {
        self.state_dir().join("dead-letters").join(format!("{tenant}.ndjson"))
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.home.0.path().join("dogsled.toml")
    }

    /// Its state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.home.state_dir()
    }

    /// Posts for a tenant; nothing when the connection fails.
    pub async fn try_post(&self, tenant: &str, path: &str, body: Vec<u8>) -> Option<Answer> {
        self.send(path, body, Some(tenant)).await
    }

    /// Posts items that name their tenants by tags.
    pub async fn post_tagged(&self, path: &str, body: Vec<u8>) -> Answer {
        self.send(path, body, None).await.unwrap()
    }

    async fn send(&self, path: &str, body: Vec<u8>, tenant: Option<&str>) -> Option<Answer> {
        let url = format!("{}{path}", self.ingest);
        let kind = if path.contains("sketches") { "application/x-protobuf" } else { "application/json" };
        let mut request = self.http.post(url).header("Content-Type", kind).body(body);
        if let Some(tenant) = tenant {
            request = request.header("X-Tenant", tenant);
        }
        let response = request.send().await.ok()?;
        let header = response.headers().get("retry-after");
        let retry_after = header.map(|value| value.to_str().unwrap().to_owned());
        Some(Answer { status: response.status().as_u16(), retry_after, text: response.text().await.ok()? })
    }

    /// Posts JSON for a tenant, and expects it to be accepted.
    pub async fn post(&self, tenant: &str, path: &str, body: &Value) {
        let answer = self.try_post(tenant, path, body.to_string().into_bytes()).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text);
    }

    /// Posts logs, one for each id.
    pub async fn logs<I: Into<Value>>(&self, tenant: &str, ids: impl IntoIterator<Item = I>) {
        let logs: Vec<Value> = ids.into_iter().map(|id| json!({ "message": "m", "id": id.into() })).collect();
        self.post(tenant, "/api/v2/logs", &Value::from(logs)).await;
    }

    /// Posts one v2 series for each name.
    pub async fn series(&self, tenant: &str, names: impl IntoIterator<Item = String>) {
        let at = super::now_ms() / 1000;
        let series = |name| json!({ "metric": name, "type": 3, "points": [{ "timestamp": at, "value": 1.5 }] });
        let all: Vec<Value> = names.into_iter().map(series).collect();
        self.post(tenant, "/api/v2/series", &json!({ "series": all })).await;
    }

    /// The status that its admin port answers with.
    pub async fn admin_status(&self, path: &str) -> u16 {
        self.http.get(format!("{}{path}", self.admin)).send().await.unwrap().status().as_u16()
    }

    /// Reads the daemon's metrics.
    pub async fn scrape(&self) -> Scrape {
        self.try_scrape().await.unwrap()
    }

    /// Reads the daemon's metrics, if it still answers.
    pub async fn try_scrape(&self) -> Option<Scrape> {
        let response = self.http.get(format!("{}/metrics", self.admin)).send().await.ok()?;
        Some(Scrape::parse(&response.text().await.ok()?))
    }

    /// The status and text of `/readyz`.
    pub async fn ready(&self) -> (u16, String) {
        let response = self.http.get(format!("{}/readyz", self.admin)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Processor time that it has taken so far.
    pub fn cpu(&self) -> Duration {
        // In user and in system mode.
        let ticks: u64 = self.stat()[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Bytes of memory that the process has resident.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Waits until nothing of a tenant is queued.
    pub async fn wait_empty(&self, tenant: &str) {
        until(&format!("the queue of {tenant} to be empty"), async || {
            self.scrape().await.is_empty(tenant).then_some(())
        })
        .await;
    }

    /// Waits until the tenant is shown in a state.
    pub async fn wait_state(&self, tenant: &str, state: &str) {
        until(&format!("{tenant} to be {state}"), async || {
            (self.scrape().await.state(tenant).as_deref() == Some(state)).then_some(())
        })
        .await;
    }

    /// Where one of its listeners is, as `http://ADDRESS`.
    pub fn url(&self, listener: &str) -> String {
        self.listener(listener).unwrap_or_else(|| panic!("no listener {listener}:\n{}", self.log_text()))
    }

    /// Where it takes telemetry.
    pub fn address(&self) -> SocketAddr {
        self.ingest.strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it SIGHUP.
    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    /// Sends it SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it SIGKILL and waits until it is dead, and its files are closed.
    pub fn kill(&self) {
        self.signal("KILL");
        // A thread that is syncing outlives the others.
        let threads = || std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().count();
        while self.stat()[0] != "Z" || threads() > 1 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What the system says of the process, from its state on.
    fn stat(&self) -> Vec<String> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // Its name, which may hold anything, is in brackets.
        stat.rsplit_once(')').unwrap().1.split_whitespace().map(str::to_owned).collect()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Has it end in order, and fails unless it does.
    pub async fn stop(mut self) {
        self.terminate();
        assert!(self.wait_end().await.success());
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub async fn wait_end(&mut self) -> ExitStatus {
        until("the daemon to end", async || self.child.try_wait().unwrap()).await
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let tail = lines.len().saturating_sub(40);
            eprintln!("the daemon's last words:\n{}", lines[tail..].join("\n"));
        }
    }
}
