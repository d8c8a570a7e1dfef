//! The other end: takes what the daemon delivers, answers 202 and keeps every payload as it came.
//!
//! While the daemon is measured, nothing is looked into: that would cost as much as the daemon itself. Everything is
//! verified afterwards (see `verify`). One blocking thread a connection.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// A request body as it came.
#[derive(Debug)]
pub struct Payload {
    /// When it was there.
    pub arrived: Instant,
    /// The API key it came with.
    pub key: String,
    /// Its `Content-Encoding`.
    pub encoding: String,
    /// The body.
    pub body: Vec<u8>,
}

/// A listening sink. Its threads end with the process.
#[derive(Debug, Clone)]
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    payloads: Arc<Mutex<Vec<Payload>>>,
    refused: Arc<Mutex<HashSet<String>>>,
}

impl Sink {
    /// Listens on a free port of loopback.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let sink = Self { address: listener.local_addr()?, payloads: Arc::default(), refused: Arc::default() };
        let serving = sink.clone();
        thread::Builder::new().name("sink-accept".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let sink = serving.clone();
                let serve = move || {
                    // The daemon closes connections when it ends; whatever was not answered is missed by `verify`.
                    let _ = sink.connection(stream);
                };
                if let Err(error) = thread::Builder::new().name("sink".into()).spawn(serve) {
                    eprintln!("sink: {error}");
                }
            }
        })?;
        Ok(sink)
    }

    /// What has arrived since the last call.
    pub fn take(&self) -> Vec<Payload> {
        std::mem::take(&mut *self.payloads.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on, answers 503 to what comes with one of these API keys and forgets it.
    pub fn refuse(&self, keys: impl IntoIterator<Item = String>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = keys.into_iter().collect();
    }

    fn connection(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; 64 << 10];
        let mut filled = 0;
        loop {
            let (head, length) = loop {
                if let Some((head, length)) = head(&buffer[..filled]) {
                    break (head.to_vec(), length);
                }
                let read = stream.read(&mut buffer[filled..])?;
                if read == 0 {
                    return Ok(());
                }
                filled += read;
            };
            let mut body = vec![0; length];
            let here = length.min(filled - head.len());
            body[..here].copy_from_slice(&buffer[head.len()..head.len() + here]);
            buffer.copy_within(head.len() + here..filled, 0);
            filled -= head.len() + here;
            stream.read_exact(&mut body[here..])?;
            if head.starts_with(b"GET /api/v1/validate") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"valid\":true}")?;
                continue;
            }
            let header = |name| field(&head, name).unwrap_or_default().to_owned();
            let (key, encoding) = (header("dd-api-key"), header("content-encoding"));
            if self.refused.lock().unwrap_or_else(PoisonError::into_inner).contains(&key) {
                stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}")?;
                continue;
            }
            let payload = Payload { arrived: Instant::now(), key, encoding, body };
            self.payloads.lock().unwrap_or_else(PoisonError::into_inner).push(payload);
            stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}")?;
        }
    }
}

/// The head of an HTTP message, with its empty line, and the length of the body that follows; none as long as the head
/// is not complete.
pub fn head(text: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memmem::find(text, b"\r\n\r\n")? + 4;
    let head = &text[..end];
    let length = field(head, "content-length").and_then(|value| value.parse().ok()).unwrap_or_default();
    Some((head, length))
}

/// A header's value.
fn field<'h>(head: &'h [u8], name: &str) -> Option<&'h str> {
    let text = std::str::from_utf8(head).ok()?;
    text.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
