//! What the tests of the whole program share: real `dogsled run` and `dogsled fakeintake` processes on free ports, and the
//! means to script the one and to feed the other.

// Every test program compiles this module for itself and uses a part of it.
#![allow(dead_code, unused_imports)]

mod daemon;
mod fakeintake;
mod metrics;
mod scripted;

pub use daemon::{Answer, Daemon, Home, Setup};
pub use fakeintake::{Arrived, FakeIntake};
pub use metrics::Scrape;
pub use scripted::{Scripted, answer};

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// No test waits longer than this for anything.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The API key of a tenant.
pub fn key_of(tenant: &str) -> String {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (tenant, salt).hash(&mut hasher);
        hasher.finish()
    };
    format!("{:016x}{:016x}", half(0), half(1))
}

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Looks again and again until `look` gives something; fails, naming `what`, when that takes too long.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An address at which nobody listens, and nobody else can while this lives.
pub struct Nobody {
    _socket: tokio::net::TcpSocket,
    /// The address.
    pub address: std::net::SocketAddr,
}

impl Nobody {
    /// Takes a port and does not listen.
    pub fn new() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        Self { _socket: socket, address }
    }
}

/// A client that goes through no proxy.
pub fn client() -> reqwest::Client {
    // Another test of this program may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let timeout = Duration::from_secs(90);
    reqwest::Client::builder().no_proxy().timeout(timeout).build().unwrap()
}

/// Lines of a child's output, gathered as they come.
pub type Lines = Arc<Mutex<Vec<String>>>;

/// Gathers the lines of `output` from now on.
pub fn gather(output: impl Read + Send + 'static) -> Lines {
    let lines = Lines::default();
    let into = lines.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            into.lock().unwrap().push(line);
        }
    });
    lines
}

/// A v1 event of that title.
pub fn event(title: &str) -> serde_json::Value {
    serde_json::json!({ "title": title, "text": "x" })
}

/// A sketch as a field of a `SketchPayload` (DataDog/agent-payload `agent_payload.proto`), with these tags.
pub fn sketch(metric: &str, at: i64, tags: &[String]) -> Vec<u8> {
    let mut points = vec![];
    varint(&mut points, 1, at.unsigned_abs());
    varint(&mut points, 2, 1);
    for number in 3..=6 {
        points.push(number << 3 | 1);
        points.extend(1.0f64.to_le_bytes());
    }
    message(&mut points, 7, &[0xf4, 0x14]);
    message(&mut points, 8, &[1]);
    let mut sketch = vec![];
    message(&mut sketch, 1, metric.as_bytes());
    message(&mut sketch, 2, b"h");
    tags.iter().for_each(|tag| message(&mut sketch, 4, tag.as_bytes()));
    message(&mut sketch, 7, &points);
    let mut field = vec![];
    message(&mut field, 1, &sketch);
    field
}

fn message(into: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    into.push(number << 3 | 2);
    length(into, bytes.len() as u64);
    into.extend(bytes);
}

fn varint(into: &mut Vec<u8>, number: u8, value: u64) {
    into.push(number << 3);
    length(into, value);
}

fn length(into: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        into.push(value as u8 | 128);
        value >>= 7;
    }
    into.push(value as u8);
}
