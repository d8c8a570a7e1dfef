//! Whether what arrived is what was accepted: every log of every accepted body, as often, under its tenant's key.

use super::corpus::{Corpus, MARK};
use super::daemon;
use super::sink::Payload;
use memchr::memmem;
use serde_json::Value;
use std::collections::HashMap;
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What arrived.
#[derive(Debug, Default, Clone, Copy)]
pub struct Arrived {
    /// Payloads.
    pub payloads: u64,
    /// Their bytes.
    pub packed: u64,
    /// Their bytes uncompressed.
    pub plain: u64,
    /// Logs in them.
    pub items: u64,
}

/// Of so many payloads, one is parsed and compared log by log; of the others, the identifiers are counted.
const SAMPLE: usize = 50;

/// Verifies what arrived against how often each body was accepted.
///
/// # Errors
/// What is missing, too much, damaged or another tenant's.
pub fn verify(corpus: &Corpus, accepted: &[Vec<u32>], payloads: &[Payload]) -> Result<Arrived, String> {
    let keys: HashMap<String, usize> = (0..corpus.bodies.len()).map(|tenant| (daemon::key(tenant), tenant)).collect();
    let total = Mutex::new((Arrived::default(), Counts::new(corpus)));
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let work = || -> Result<(), String> {
        let mut arrived = Arrived::default();
        let mut counts = Counts::new(corpus);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(payload) = payloads.get(index) else { break };
            let tenant = *keys.get(&payload.key).ok_or_else(|| format!("unknown API key {:?}", payload.key))?;
            let plain = decode(payload)?;
            let items = counts.note(&plain, tenant)?;
            if index.is_multiple_of(SAMPLE) {
                compare(corpus, &plain, items)?;
            }
            arrived.payloads += 1;
            arrived.packed += payload.body.len() as u64;
            arrived.plain += plain.len() as u64;
            arrived.items += items;
        }
        let mut total = total.lock().map_err(|_| "a verifier failed")?;
        total.0.add(arrived);
        total.1.add(&counts);
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a verifier failed".to_owned())?)
    })?;
    let (arrived, counts) = total.into_inner().map_err(|_| "a verifier failed")?;
    counts.compare(accepted)?;
    Ok(arrived)
}

impl Arrived {
    fn add(&mut self, other: Self) {
        self.payloads += other.payloads;
        self.packed += other.packed;
        self.plain += other.plain;
        self.items += other.items;
    }
}

/// How often each log has arrived: by tenant, body and log.
struct Counts {
    bodies: usize,
    logs: usize,
    list: Vec<u32>,
}

impl Counts {
    fn new(corpus: &Corpus) -> Self {
        let (bodies, logs) = (corpus.bodies.first().map_or(0, Vec::len), corpus.logs);
        Self { bodies, logs, list: vec![0; corpus.bodies.len() * bodies * logs] }
    }

    /// Notes the logs of a payload; gives how many they are.
    fn note(&mut self, plain: &[u8], tenant: usize) -> Result<u64, String> {
        let mut items = 0;
        for at in memmem::find_iter(plain, MARK) {
            let identity = Corpus::identity(&plain[at + MARK.len()..]);
            let (owner, body, log) = identity.ok_or("a log with a damaged identifier")?;
            if owner != tenant {
                return Err(format!("a log of tenant {owner} arrived under the key of tenant {tenant}"));
            }
            if body >= self.bodies || log >= self.logs {
                return Err(format!("a log that was never sent arrived: {owner}-{body}-{log}"));
            }
            self.list[(owner * self.bodies + body) * self.logs + log] += 1;
            items += 1;
        }
        Ok(items)
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.list.iter_mut().zip(&other.list) {
            *mine += theirs;
        }
    }

    fn compare(&self, accepted: &[Vec<u32>]) -> Result<(), String> {
        let expected = accepted.iter().flatten().flat_map(|&count| std::iter::repeat_n(count, self.logs));
        let (mut missing, mut extra) = (0u64, 0u64);
        for (&arrived, expected) in self.list.iter().zip(expected) {
            missing += u64::from(expected.saturating_sub(arrived));
            extra += u64::from(arrived.saturating_sub(expected));
        }
        if missing + extra > 0 {
            return Err(format!("{missing} accepted logs did not arrive, {extra} arrived too often"));
        }
        Ok(())
    }
}

/// Compares a payload with what was sent, log by log; a log without a time has been given one.
fn compare(corpus: &Corpus, plain: &[u8], items: u64) -> Result<(), String> {
    let logs: Vec<Value> = serde_json::from_slice(plain).map_err(|error| format!("a payload is not JSON: {error}"))?;
    if logs.len() as u64 != items {
        return Err(format!("a payload of {} logs holds {items} identifiers", logs.len()));
    }
    let mut sent: HashMap<(usize, usize), Vec<Value>> = HashMap::new();
    for mut log in logs {
        let id = log["event_id"].as_str().unwrap_or_default().to_owned();
        let (tenant, body, index) = Corpus::identity(id.as_bytes()).ok_or("a log with a damaged identifier")?;
        let originals = sent
            .entry((tenant, body))
            .or_insert_with(|| serde_json::from_slice(&corpus.bodies[tenant][body]).unwrap_or_default());
        let original = originals.get(index).ok_or("a log that was never sent arrived")?;
        if original.get("timestamp").or(original.get("@timestamp")).is_none() {
            let given = log.as_object_mut().and_then(|log| log.remove("timestamp"));
            given.ok_or_else(|| format!("log {id} arrived without a time"))?;
        }
        if log != *original {
            return Err(format!("log {id} arrived changed"));
        }
    }
    Ok(())
}

/// A payload's body, uncompressed.
pub(super) fn decode(payload: &Payload) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let body = payload.body.as_slice();
    let read = match payload.encoding.as_str() {
        "" => return Ok(body.to_vec()),
        "zstd" => zstd::Decoder::new(body).and_then(|mut decoder| decoder.read_to_end(&mut plain)),
        "gzip" => flate2::bufread::GzDecoder::new(body).read_to_end(&mut plain),
        "deflate" => flate2::bufread::ZlibDecoder::new(body).read_to_end(&mut plain),
        other => return Err(format!("unknown encoding {other:?}")),
    };
    read.map(|_| plain).map_err(|error| format!("a payload is damaged: {error}"))
}
