//! Items that are numbered as they are sent, and what the numbers tell afterwards: what is missing, what came twice, what
//! was overtaken, and how long each was on its way.

use super::corpus::Corpus;
use super::load::{read_answer, request_of};
use super::sink::Payload;
use super::verify::decode;
use memchr::memmem;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Who sends, and for which tenant: their items are numbered from 0 without a gap.
pub type Source = (usize, u8);

/// What stands before an item's identifier, the last sixteen digits of which are its sender's and its own number.
const MARK: &[u8] = b"event_id";

/// Length of an identifier up to these digits, and of what is between mark and identifier in a log.
const IDENTITY: usize = 14;

/// How long an emitter rests when it is refused.
const REST: Duration = Duration::from_millis(20);

/// A request whose items get new numbers each time.
#[derive(Debug, Clone)]
pub struct Template {
    tenant: usize,
    request: Vec<u8>,
    /// Where the numbers go.
    numbers: Vec<usize>,
    /// Of the body.
    pub bytes: usize,
}

impl Template {
    /// Logs of a tenant.
    pub fn logs(tenant: usize, body: &[u8]) -> Self {
        Self::new(tenant, "/api/v2/logs", body)
    }

    /// One series of a tenant.
    pub fn series(tenant: usize) -> Self {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let body = format!(
            "{{\"series\":[{{\"metric\":\"bench.fresh\",\"type\":3,\"points\":[{{\"timestamp\":{now},\"value\":1}}],\
             \"tags\":[\"event_id:  {tenant:03}-0000-0000-0000000000000000\"]}}]}}"
        );
        Self::new(tenant, "/api/v2/series", body.as_bytes())
    }

    fn new(tenant: usize, path: &str, body: &[u8]) -> Self {
        let request = request_of(path, tenant, "", body);
        let numbers = memmem::find_iter(&request, MARK).map(|at| at + SKIP + IDENTITY).collect();
        Self { tenant, request, numbers, bytes: body.len() }
    }
}

/// From the beginning of the mark to the identifier: `event_id":"` in logs, as long in series.
const SKIP: usize = MARK.len() + 3;

/// One connection that sends numbered items, one request at a time.
#[derive(Debug)]
pub struct Emitter {
    id: u8,
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How many items were accepted, by tenant.
    sent: BTreeMap<usize, u64>,
    /// When the items of each tenant were sent, where that is asked for.
    times: Option<HashMap<usize, Vec<Instant>>>,
    /// Answer times in microseconds, sorted at the end.
    micros: Vec<u32>,
    /// Bytes of the bodies accepted.
    bytes: u64,
    refused: u64,
}

/// What emitters have sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// How many items of each source were accepted.
    pub items: BTreeMap<Source, u64>,
    /// Answer times in microseconds, sorted.
    pub micros: Vec<u32>,
    /// Bytes of the bodies accepted.
    pub bytes: u64,
    /// Requests that were not answered 202.
    pub refused: u64,
    times: HashMap<Source, Vec<Instant>>,
}

impl Emitter {
    /// Connects. `timed` has it remember when each item was sent.
    pub fn connect(to: SocketAddr, id: u8, timed: bool) -> io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        let (sent, micros) = Default::default();
        let times = timed.then(HashMap::new);
        Ok(Self { id, stream, buffer: vec![0; 16 << 10], sent, times, micros, bytes: 0, refused: 0 })
    }

    /// Sends a request with the next numbers. After an answer other than 202 it rests and does not count them.
    pub fn post(&mut self, template: &mut Template) -> io::Result<()> {
        let next = self.sent.entry(template.tenant).or_default();
        for (number, at) in (*next..).zip(&template.numbers) {
            write!(&mut template.request[*at..at + 16], "{:02}{number:014}", self.id)?;
        }
        let begun = Instant::now();
        self.stream.write_all(&template.request)?;
        let status = read_answer(&mut self.stream, &mut self.buffer)?;
        if status != 202 {
            self.refused += 1;
            thread::sleep(REST);
            return Ok(());
        }
        self.micros.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
        *next += template.numbers.len() as u64;
        self.bytes += template.bytes as u64;
        if let Some(times) = &mut self.times {
            times.entry(template.tenant).or_default().extend(template.numbers.iter().map(|_| begun));
        }
        Ok(())
    }
}

impl Sent {
    /// Takes what an emitter has sent.
    pub fn add(&mut self, emitter: Emitter) {
        let Emitter { id, sent, times, micros, bytes, refused, .. } = emitter;
        self.items.extend(sent.into_iter().map(|(tenant, items)| ((tenant, id), items)));
        self.times.extend(times.into_iter().flatten().map(|(tenant, times)| ((tenant, id), times)));
        self.micros.extend(micros);
        self.micros.sort_unstable();
        self.bytes += bytes;
        self.refused += refused;
    }
}

/// Numbers that follow each other in a payload.
#[derive(Debug, Clone, Copy)]
struct Run {
    source: Source,
    first: u64,
    count: u64,
}

/// What has arrived, payload by payload.
#[derive(Debug)]
pub struct Arrivals {
    /// In the order of arrival.
    payloads: Vec<(Instant, Vec<Run>)>,
}

/// In what order items have arrived.
#[derive(Debug, Default, Clone, Copy)]
pub struct Order {
    /// How many.
    pub items: u64,
    /// In so many pieces, each of one sender and one payload.
    pub pieces: usize,
    /// So many pieces did not arrive in their turn.
    pub displaced: usize,
    /// By so many places at most.
    pub by: usize,
}

impl Arrivals {
    /// Reads the numbers out of payloads.
    ///
    /// # Errors
    /// What is damaged or came under another tenant's key.
    pub fn read(payloads: &[Payload]) -> Result<Self, String> {
        let next = AtomicUsize::new(0);
        let read = Mutex::new(Vec::with_capacity(payloads.len()));
        let work = || -> Result<(), String> {
            while let Some((index, payload)) = {
                let index = next.fetch_add(1, Ordering::Relaxed);
                payloads.get(index).map(|payload| (index, payload))
            } {
                let runs = runs(payload)?;
                read.lock().map_err(|_| "a reader failed")?.push((index, (payload.arrived, runs)));
            }
            Ok(())
        };
        thread::scope(|scope| {
            let workers = thread::available_parallelism().map_or(1, usize::from);
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a reader failed".to_owned())?)
        })?;
        let mut read = read.into_inner().map_err(|_| "a reader failed")?;
        read.sort_unstable_by_key(|(index, _)| *index);
        Ok(Self { payloads: read.into_iter().map(|(_, payload)| payload).collect() })
    }

    /// Verifies that exactly what was accepted of these sources has arrived, each item once.
    ///
    /// # Errors
    /// What is missing or came twice.
    pub fn verify(&self, accepted: &BTreeMap<Source, u64>) -> Result<Order, String> {
        let mut by_source: BTreeMap<Source, Vec<Run>> = BTreeMap::new();
        for run in self.payloads.iter().flat_map(|(_, runs)| runs) {
            by_source.entry(run.source).or_default().push(*run);
        }
        let mut order = Order::default();
        for (source, items) in accepted {
            let runs = by_source.remove(source).unwrap_or_default();
            let mut sorted: Vec<(usize, Run)> = runs.into_iter().enumerate().collect();
            sorted.sort_by_key(|(_, run)| run.first);
            let mut next = 0;
            for (turn, (arrived, run)) in sorted.iter().enumerate() {
                if run.first != next {
                    let what = if run.first > next { "is missing" } else { "came twice" };
                    return Err(format!("{source:?}: number {} {what}", next.min(run.first)));
                }
                next += run.count;
                order.displaced += usize::from(turn != *arrived);
                order.by = order.by.max(turn.abs_diff(*arrived));
            }
            if next != *items {
                return Err(format!("{source:?}: {items} were accepted and {next} arrived"));
            }
            order.items += next;
            order.pieces += sorted.len();
        }
        match by_source.keys().next() {
            Some(source) => Err(format!("{source:?}: arrived without having been accepted")),
            None => Ok(order),
        }
    }

    /// When the first and the last of a tenant's items that one of the first `emitters` has sent arrived.
    pub fn span(&self, tenant: usize, emitters: u8) -> Option<(Instant, Instant)> {
        let theirs = |run: &Run| run.source.0 == tenant && run.source.1 < emitters;
        let mut times = self.payloads.iter().filter(|(_, runs)| runs.iter().any(theirs)).map(|(at, _)| *at);
        let first = times.next()?;
        Some((first, times.next_back().unwrap_or(first)))
    }

    /// Milliseconds from the sending to the arrival of each item of these sources that was sent at a time for which
    /// `when` holds; sorted.
    pub fn latencies(&self, sent: &Sent, of: impl Fn(Source) -> bool, when: impl Fn(Instant) -> bool) -> Vec<f64> {
        let mut latencies = Vec::new();
        for (arrived, runs) in &self.payloads {
            for run in runs.iter().filter(|run| of(run.source)) {
                let times = sent.times.get(&run.source).map_or(&[][..], Vec::as_slice);
                let times = times.iter().skip(run.first as usize).take(run.count as usize).filter(|at| when(**at));
                latencies.extend(times.map(|at| arrived.saturating_duration_since(*at).as_secs_f64() * 1e3));
            }
        }
        latencies.sort_unstable_by(f64::total_cmp);
        latencies
    }
}

fn runs(payload: &Payload) -> Result<Vec<Run>, String> {
    let plain = decode(payload)?;
    let mut runs: Vec<Run> = Vec::new();
    for at in memmem::find_iter(&plain, MARK) {
        let identifier = plain.get(at + SKIP..at + SKIP + IDENTITY + 16).ok_or("an identifier is cut off")?;
        let (tenant, ..) = Corpus::identity(identifier).ok_or("an identifier is damaged")?;
        let number = |range: std::ops::Range<usize>| std::str::from_utf8(&identifier[range]).ok()?.parse::<u64>().ok();
        let (Some(id), Some(number)) = (number(IDENTITY..IDENTITY + 2), number(IDENTITY + 2..IDENTITY + 16)) else {
            return Err("a number is damaged".into());
        };
        if payload.key != super::daemon::key(tenant) {
            return Err(format!("an item of tenant {tenant} arrived under the key {}", payload.key));
        }
        let source = (tenant, id as u8);
        match runs.last_mut().filter(|run| run.source == source && run.first + run.count == number) {
            Some(run) => run.count += 1,
            None => runs.push(Run { source, first: number, count: 1 }),
        }
    }
    Ok(runs)
}
