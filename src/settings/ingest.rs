//! `[ingest]`

use super::address::listen_address;
use super::form::{Form, HOUR, MILLISECOND, Number, Period, Size, Switch, Text, texts};
use super::key::section;
use config::ValueKind;
use serde_json::{Value, json};
use std::time::Duration;

/// The longest path of a Unix socket, in bytes (unix(7): `sun_path` has 108 with its final zero).
pub(super) const MAX_SOCKET_PATH: usize = 107;

section! {
    /// The local HTTP port.
    pub struct Ingest {
        /// Where your application sends: an address and a port, a list such as `["127.0.0.1:8282", "[::1]:8282"]`, or "" for
        /// none. Point a Datadog client at it. Beyond loopback, also set require_token = true (or allow_anonymous = true on a
        /// network you trust).
        listen: Vec<String> = vec!["127.0.0.1:8282".into()], Addresses, restart;
        /// HTTP on a Unix socket too: its path, "" for none.
        socket: String = String::new(), Text(socket, String::clone, "/run/dogsled/ingest.sock"), restart;
        /// The largest request body, decompressed.
        max_body: usize = 16 << 20, Size(1_024..=1 << 30), restart;
        /// The most connections at once.
        max_connections: usize = 4096, Number(1..=1_000_000), restart;
        /// Whether every request must bring an ingest token (below) as its API key.
        require_token: bool = false, Switch;
        /// Whether addresses beyond loopback may be served without tokens.
        allow_anonymous: bool = false, Switch;
        /// How long a client may take to send the header of a request, and how long a connection may be idle.
        header_timeout: Duration = Duration::from_secs(30), Period(MILLISECOND..=HOUR);
        /// How long a client may take to send the body of a request.
        body_timeout: Duration = Duration::from_secs(30), Period(MILLISECOND..=HOUR);
    }
}

/// Reads an address to listen on, and keeps it as it is written.
pub(super) fn listen(text: &str) -> Result<String, String> {
    listen_address(text).map(|_| text.to_owned())
}

/// Addresses to listen on: one as text, several as a list or separated by commas; empty text for none.
pub(crate) struct Addresses;

impl Form for Addresses {
    type Value = Vec<String>;

    fn read(&self, value: &ValueKind) -> Result<Vec<String>, String> {
        let listed = texts(value)?;
        listed.iter().map(|text| listen(text)).collect()
    }

    fn print(&self, value: &Vec<String>) -> Value {
        match &value[..] {
            [] => "".into(),
            [one] => one.as_str().into(),
            several => several.into(),
        }
    }

    fn schema(&self) -> Value {
        json!({
            "type": ["string", "array"],
            "items": { "type": "string" },
            "examples": ["127.0.0.1:9282", ["127.0.0.1:9282", "[::1]:9282"]],
        })
    }
}

pub(super) fn socket(path: &str) -> Result<String, String> {
    if path.len() <= MAX_SOCKET_PATH {
        return Ok(path.to_owned());
    }
    Err(format!("{path:?} is too long for a socket: at most {MAX_SOCKET_PATH} bytes"))
}
