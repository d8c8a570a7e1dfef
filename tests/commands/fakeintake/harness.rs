//! Starts `dogsled fakeintake` and talks to it.

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A key that is good unless a test says otherwise.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";
/// Another.
pub const OTHER_KEY: &str = "fedcba9876543210fedcba9876543210";
/// The content type of most bodies.
pub const JSON: &str = "application/json";

/// A running `dogsled fakeintake`; ends with the value.
pub struct FakeIntake {
    child: Child,
    pub url: String,
    pub http: Client,
}

/// An answer, read.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    async fn read(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl FakeIntake {
    /// Starts it on a free port.
    pub fn start(arguments: &[&str]) -> Self {
        // Fails when a test before this one did it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut child = Command::new(env!("CARGO_BIN_EXE_dogsled"))
            .args(["fakeintake", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect("the first line of output").to_owned();
        let redirect = reqwest::redirect::Policy::none();
        let http = Client::builder().timeout(Duration::from_secs(20)).redirect(redirect).build().unwrap();
        Self { child, url, http }
    }

    /// Tells it to end, and waits for that.
    pub fn terminate(&mut self) -> ExitStatus {
        let kill = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(kill.success());
        self.child.wait().unwrap()
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// Sends it, expecting an answer.
    pub async fn send(&self, request: RequestBuilder) -> Reply {
        Reply::read(request.send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path)).await
    }

    /// A submission with [`KEY`].
    pub fn submission(&self, path: &str, content_type: &'static str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let request = self.request(Method::POST, path).header("DD-API-KEY", KEY);
        request.header("Content-Type", HeaderValue::from_static(content_type)).body(body)
    }

    pub async fn submit(&self, path: &str, content_type: &'static str, body: impl Into<reqwest::Body>) -> Reply {
        self.send(self.submission(path, content_type, body)).await
    }

    /// Logs with [`KEY`].
    pub async fn logs(&self, body: impl Into<reqwest::Body>) -> Reply {
        self.submit("/api/v2/logs", JSON, body).await
    }

    /// A control request that succeeds.
    pub async fn control(&self, path: &str, body: Value) -> Value {
        let reply = self.send(self.request(Method::POST, &format!("/_fakeintake/{path}")).body(body.to_string())).await;
        assert!(reply.status.is_success(), "{reply:?}");
        reply.json()
    }

    /// Puts a fault in force; gives its id.
    pub async fn fault(&self, rule: Value) -> u64 {
        self.control("faults", rule).await["id"].as_u64().unwrap()
    }

    /// The fault of that id.
    pub async fn fault_counts(&self, id: u64) -> Value {
        let faults = self.get("/_fakeintake/faults").await.json();
        faults.as_array().unwrap().iter().find(|fault| fault["id"] == id).unwrap().clone()
    }

    /// The counts of a key and kind.
    pub async fn counts(&self, key: &str, kind: &str) -> Value {
        self.get("/_fakeintake/received").await.json()["keys"][key]["kinds"][kind].clone()
    }

    /// The recorded items of a kind.
    pub async fn items(&self, kind: &str) -> Vec<Value> {
        let reply = self.get(&format!("/_fakeintake/received?items=true&kind={kind}")).await.json();
        reply["items"].as_array().unwrap().iter().map(|row| row["item"].clone()).collect()
    }
}

impl Drop for FakeIntake {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A body of one v2 series.
pub fn series2(metric: &str) -> String {
    let points = [serde_json::json!({ "timestamp": now(), "value": 1.5 })];
    serde_json::json!({ "series": [{ "metric": metric, "type": 3, "points": points }] }).to_string()
}

/// A body of so many logs.
pub fn logs(count: usize) -> String {
    let logs: Vec<_> = (0..count).map(|index| serde_json::json!({ "message": format!("log {index}") })).collect();
    Value::from(logs).to_string()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}
