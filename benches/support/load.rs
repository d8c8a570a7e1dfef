//! The load: keep-alive connections, each sending its next request as soon as the last one is answered, or at the times
//! that a rate asks for.
//!
//! One blocking thread a connection and requests built beforehand: a request costs the load two system calls, so that as
//! little as can be is taken from the daemon, which shares the machine.

use super::corpus::Corpus;
use super::process::cpu_of_thread;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How the load compresses its bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Coding {
    /// Not at all.
    Identity,
    /// gzip.
    Gzip,
    /// zlib.
    Deflate,
    /// zstd.
    Zstd,
}

/// All requests, as they go over the wire.
#[derive(Debug)]
pub struct Requests {
    /// By tenant, then by body: the request, and the size of its body uncompressed.
    list: Vec<Vec<(Vec<u8>, usize)>>,
    logs: usize,
    /// The number of the next request; they go round over tenants and, more slowly, over bodies.
    next: AtomicUsize,
}

/// How fast requests are sent.
#[derive(Debug, Clone, Copy)]
pub enum Speed {
    /// As fast as they are answered.
    Full,
    /// One in so much time, over all connections. An answer's time counts from when its request was due, so that a
    /// request that waited for a connection to be free is not taken for a fast one.
    Every(Duration),
}

/// When a load ends.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After this time.
    Elapsed(Duration),
    /// After so many requests.
    Sent(usize),
}

/// What a load did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How often each body was accepted, by tenant and body.
    pub accepted: Vec<Vec<u32>>,
    /// Logs accepted.
    pub items: u64,
    /// Uncompressed bytes of the bodies accepted.
    pub bytes: u64,
    /// Time from sending to the answer's last byte, in microseconds, sorted.
    pub micros: Vec<u32>,
    /// Answers other than 202, by status.
    pub refused: Vec<u16>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// CPU time of the load.
    pub cpu: Duration,
}

/// How long a connection rests after an answer other than 202, lest it only spin.
const REST: Duration = Duration::from_millis(20);

impl Requests {
    /// Builds the requests of a corpus.
    pub fn new(corpus: &Corpus, coding: Coding) -> io::Result<Self> {
        let request = |tenant: usize, body: &Vec<u8>| {
            let coded = encode(coding, body)?;
            let encoding = match coding {
                Coding::Identity => "",
                Coding::Gzip => "Content-Encoding: gzip\r\n",
                Coding::Deflate => "Content-Encoding: deflate\r\n",
                Coding::Zstd => "Content-Encoding: zstd\r\n",
            };
            Ok((request_of("/api/v2/logs", tenant, encoding, &coded), body.len()))
        };
        let of_tenant =
            |(tenant, bodies): (usize, &Vec<Vec<u8>>)| bodies.iter().map(|body| request(tenant, body)).collect();
        let list: io::Result<_> = corpus.bodies.iter().enumerate().map(of_tenant).collect();
        Ok(Self { list: list?, logs: corpus.logs, next: AtomicUsize::new(0) })
    }

    /// Sends over so many connections at once until the end is reached and everything is answered.
    pub fn run(&self, to: SocketAddr, connections: usize, speed: Speed, until: Until) -> io::Result<Outcome> {
        let start = Instant::now();
        let first = self.next.load(Ordering::Relaxed);
        let more = |number: usize| match until {
            Until::Elapsed(time) => start.elapsed() < time,
            Until::Sent(count) => number - first < count,
        };
        let due = |number: usize| match speed {
            Speed::Full => None,
            Speed::Every(time) => Some(start + time.mul_f64((number - first) as f64)),
        };
        let outcomes: Vec<io::Result<Outcome>> = thread::scope(|scope| {
            let connection = |index: usize| {
                let thread = thread::Builder::new().name(format!("load-{index}"));
                thread.spawn_scoped(scope, || self.connection(to, &more, &due))
            };
            let threads: Vec<_> = (0..connections).map(connection).collect();
            threads
                .into_iter()
                .map(|thread| thread?.join().unwrap_or_else(|_| Err(io::Error::other("a load thread failed"))))
                .collect()
        });
        let mut total = Outcome { accepted: self.zeroes(), elapsed: start.elapsed(), ..Outcome::default() };
        for outcome in outcomes {
            total.add(outcome?);
        }
        total.micros.sort_unstable();
        // What was numbered but not sent is sent next time: nothing depends on it.
        Ok(total)
    }

    fn zeroes(&self) -> Vec<Vec<u32>> {
        self.list.iter().map(|bodies| vec![0; bodies.len()]).collect()
    }

    fn connection(
        &self,
        to: SocketAddr,
        more: &dyn Fn(usize) -> bool,
        due: &dyn Fn(usize) -> Option<Instant>,
    ) -> io::Result<Outcome> {
        let mut outcome = Outcome { accepted: self.zeroes(), ..Outcome::default() };
        let mut stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        let mut buffer = vec![0; 16 << 10];
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if !more(number) {
                break;
            }
            let tenant = number % self.list.len();
            let bodies = &self.list[tenant];
            let body = number / self.list.len() % bodies.len();
            let (request, bytes) = &bodies[body];
            let sent = due(number).unwrap_or_else(Instant::now);
            thread::sleep(sent.saturating_duration_since(Instant::now()));
            stream.write_all(request)?;
            let status = read_answer(&mut stream, &mut buffer)?;
            outcome.micros.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
            if status == 202 {
                outcome.accepted[tenant][body] += 1;
                outcome.items += self.logs as u64;
                outcome.bytes += *bytes as u64;
            } else {
                outcome.refused.push(status);
                thread::sleep(REST);
            }
        }
        outcome.cpu = cpu_of_thread();
        Ok(outcome)
    }
}

impl Outcome {
    /// Adds what another load did at the same time.
    pub fn add(&mut self, other: Self) {
        for (mine, theirs) in self.accepted.iter_mut().flatten().zip(other.accepted.into_iter().flatten()) {
            *mine += theirs;
        }
        self.items += other.items;
        self.bytes += other.bytes;
        self.micros.extend(other.micros);
        self.refused.extend(other.refused);
        self.cpu += other.cpu;
    }

    /// The answer time that this share of the requests stayed within.
    pub fn percentile(&self, share: f64) -> Duration {
        Duration::from_micros(percentile(&self.micros, share).into())
    }
}

/// What this share of sorted figures is not above; zero if there are none.
pub fn percentile<T: Copy + Default>(sorted: &[T], share: f64) -> T {
    let index = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or_default()
}

/// A request as it goes over the wire; `headers` end with a line break.
pub(super) fn request_of(path: &str, tenant: usize, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Tenant: {}\r\nContent-Type: application/json\r\n\
         {headers}Content-Length: {}\r\n\r\n",
        super::daemon::tenant(tenant),
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Reads one answer whole; gives its status.
pub(super) fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<u16> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the daemon's answer is malformed");
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        let Some((head, length)) = super::sink::head(&buffer[..filled]) else { continue };
        if filled >= head.len() + length {
            let status = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            return status.ok_or_else(malformed);
        }
    }
}

fn encode(coding: Coding, body: &[u8]) -> io::Result<Vec<u8>> {
    match coding {
        Coding::Identity => Ok(body.to_vec()),
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(body)?;
            encoder.finish()
        }
        Coding::Deflate => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(body)?;
            encoder.finish()
        }
        Coding::Zstd => zstd::bulk::compress(body, 3),
    }
}
