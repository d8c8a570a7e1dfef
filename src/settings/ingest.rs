//! `[ingest]`

use super::address::listen_address;
use super::form::{HOUR, MILLISECOND, Number, Period, Size, Switch, Text};
use super::key::section;
use std::time::Duration;

/// The longest path of a Unix socket, in bytes (unix(7): `sun_path` has 108 with its final zero).
pub(super) const MAX_SOCKET_PATH: usize = 107;

section! {
    /// The local HTTP port.
    pub struct Ingest {
        /// Where your application sends: an address and a port, "" for none. Point a Datadog client at it. Beyond loopback,
        /// also set require_token = true (or allow_anonymous = true on a network you trust).
        listen: String = "127.0.0.1:8282".into(), Text(listen, String::clone, "127.0.0.1:9282"), restart;
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

pub(super) fn socket(path: &str) -> Result<String, String> {
    if path.len() <= MAX_SOCKET_PATH {
        return Ok(path.to_owned());
    }
    Err(format!("{path:?} is too long for a socket: at most {MAX_SOCKET_PATH} bytes"))
}
