//! The log is never in the way: what cannot be written is dropped and counted, and everything else goes on.

use crate::support::{DEADLINE, FakeIntake, Home, Scrape, Setup, client, until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

/// Long enough for a busy machine, and shorter than forever.
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon whose standard error is a pipe that is read no further than to the addresses of its listeners.
struct Unheard {
    child: Child,
    log: Option<BufReader<ChildStderr>>,
    ingest: String,
    admin: String,
    http: reqwest::Client,
    _home: Home,
}

impl Unheard {
    fn start(setup: &Setup) -> Self {
        let home = Home::new();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dogsled"));
        command.args(["run", "--config"]).arg(setup.write_in(&home)).env_remove("NOTIFY_SOCKET");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut address = |listener: &str| loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "the daemon did not start");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["listener"] == listener {
                break format!("http://{}", line["address"].as_str().unwrap());
            }
        };
        let (ingest, admin) = (address("ingest"), address("admin"));
        Self { child, log: Some(log), ingest, admin, http: client(), _home: home }
    }

    async fn get(&self, url: String) -> (u16, String) {
        let response =
            self.http.get(&url).timeout(PATIENCE).send().await.unwrap_or_else(|error| panic!("{url}: {error}"));
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn post(&self, tenant: &str) {
        let request =
            self.http.post(format!("{}/api/v2/logs", self.ingest)).header("X-Tenant", tenant).timeout(PATIENCE);
        let request = request.header("Content-Type", "application/json").body(json!([{ "message": "m" }]).to_string());
        assert_eq!(request.send().await.expect("telemetry to be taken").status(), 202);
    }

    async fn dropped(&self) -> f64 {
        let (status, text) = self.get(format!("{}/metrics", self.admin)).await;
        assert_eq!(status, 200);
        Scrape::parse(&text).sum("dogsled_log_lines_dropped_total", &[])
    }

    async fn terminate(&mut self) {
        let status = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
        let status = until("the daemon to end", async || self.child.try_wait().unwrap()).await;
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn setup(fakeintake: &FakeIntake, tenants: &[String]) -> Setup {
    let tenants: Vec<_> = tenants.iter().map(String::as_str).collect();
    Setup::new(fakeintake, &tenants).set("log.level", "trace").set("shutdown.grace", "1s")
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_nothing() {
    let fakeintake = FakeIntake::start();
    let tenants: Vec<_> = (0..300).map(|number| format!("t{number}")).collect();
    for tenant in &tenants {
        fakeintake.fault(tenant, json!({ "effect": { "status": { "code": 503 } } })).await;
    }
    let mut daemon = Unheard::start(&setup(&fakeintake, &tenants));
    for tenant in &tenants {
        daemon.post(tenant).await;
    }
    until("lines to be dropped", async || {
        daemon.post("t0").await;
        (daemon.dropped().await > 0.0).then_some(())
    })
    .await;
    daemon.post("t1").await;
    assert_eq!(daemon.get(format!("{}/healthz", daemon.ingest)).await.0, 200);
    assert_eq!(daemon.get(format!("{}/readyz", daemon.admin)).await.0, 200);
    daemon.terminate().await;
}

#[tokio::test]
async fn a_log_that_is_read_again_tells_what_was_dropped() {
    let fakeintake = FakeIntake::start();
    let mut daemon = Unheard::start(&setup(&fakeintake, &["a".into()]));
    until("lines to be dropped", async || {
        daemon.post("a").await;
        (daemon.dropped().await > 0.0).then_some(())
    })
    .await;
    let (told, heard) = std::sync::mpsc::channel();
    let mut log = daemon.log.take().unwrap();
    std::thread::spawn(move || {
        let mut text = String::new();
        let mut lines = 0;
        while log.read_line(&mut text).is_ok_and(|read| read > 0) {
            lines += 1;
            assert!(serde_json::from_str::<Value>(&text).is_ok(), "line {lines} is whole: {text}");
            if text.contains("log lines were dropped") {
                let _ = told.send(std::mem::take(&mut text));
            }
            text.clear();
        }
    });
    let line = tokio::task::spawn_blocking(move || heard.recv_timeout(DEADLINE)).await.unwrap().expect("a report");
    let report: Value = serde_json::from_str(&line).unwrap();
    assert!(report["dropped"].as_u64().unwrap() > 0, "{line}");
    daemon.terminate().await;
}
