//! The floor that the daemon is held against: zstd alone, on the same bytes in payloads of the same size.

use super::corpus::Corpus;
use super::process::cpu_of_thread;
use std::io;
use std::time::Duration;

/// What compressing alone costs.
#[derive(Debug, Clone, Copy)]
pub struct Reference {
    /// CPU seconds for 10^9 bytes uncompressed.
    pub seconds_per_gb: f64,
    /// Uncompressed bytes for one compressed.
    pub ratio: f64,
}

/// Logs in a payload: what Datadog takes at most, and so what the daemon makes of a steady stream.
const LOGS: usize = 1_000;

/// Compresses the corpus in payloads of 1,000 logs of a tenant, on this thread and with one context, for at least so
/// much CPU time.
pub fn zstd_alone(corpus: &Corpus, level: i32, at_least: Duration) -> io::Result<Reference> {
    let bodies = LOGS.div_ceil(corpus.logs);
    let payloads: Vec<Vec<u8>> =
        corpus.bodies.iter().flat_map(|tenant| tenant.chunks_exact(bodies)).map(joined).collect();
    if payloads.is_empty() {
        return Err(io::Error::other("the corpus is smaller than a payload"));
    }
    let level = if level == 0 { 3 } else { level };
    let mut zstd = zstd::bulk::Compressor::new(level)?;
    let longest = payloads.iter().map(Vec::len).max().unwrap_or_default();
    let mut packed = Vec::with_capacity(zstd::zstd_safe::compress_bound(longest));
    // The first time pays for the memory.
    zstd.compress_to_buffer(&payloads[0], &mut packed)?;
    let (mut plain_bytes, mut packed_bytes) = (0, 0);
    let start = cpu_of_thread();
    let spent = loop {
        for payload in &payloads {
            packed.clear();
            packed_bytes += zstd.compress_to_buffer(payload, &mut packed)?;
            plain_bytes += payload.len();
        }
        let spent = cpu_of_thread() - start;
        if spent >= at_least {
            break spent;
        }
    };
    Ok(Reference {
        seconds_per_gb: spent.as_secs_f64() * 1e9 / plain_bytes as f64,
        ratio: plain_bytes as f64 / packed_bytes as f64,
    })
}

fn joined(bodies: &[Vec<u8>]) -> Vec<u8> {
    let inside: Vec<&[u8]> = bodies.iter().map(|body| &body[1..body.len() - 1]).collect();
    [b"[", inside.join(&b',').as_slice(), b"]"].concat()
}
