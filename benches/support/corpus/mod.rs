//! Logs as applications write them, from seeded generators.
//!
//! Two corpora of different shapes, each with texts of varied length, identifiers and figures that do not repeat. The
//! generators are not to be changed for the sake of figures, and nothing may be tuned to one of them: a change that
//! helps must help both.

mod edge;
mod services;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::{SystemTime, UNIX_EPOCH};

/// Which logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// Services of a web shop, 470 bytes a log.
    Services,
    /// Proxies in JSON, stack traces, containers, texts in several scripts; from 150 bytes to 6 kB a log.
    Edge,
}

/// Which logs carry a time of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Timestamps {
    /// All.
    All,
    /// About half, by chance.
    Half,
    /// None: the daemon must write one into each.
    None,
}

/// The bodies of requests of several tenants.
#[derive(Debug)]
pub struct Corpus {
    /// Logs in a body.
    pub logs: usize,
    /// By tenant, then by number: JSON arrays of logs.
    pub bodies: Vec<Vec<Vec<u8>>>,
}

/// What stands before the identifier of a log, which is tenant, body and log in the form `003-0017-0042`, and then
/// sixteen digits that tell nothing.
pub const MARK: &[u8] = b"\"event_id\":\"";

impl Corpus {
    /// Bodies of `logs` logs each; `distinct` bodies for every tenant.
    pub fn new(shape: Shape, seed: u64, tenants: usize, distinct: usize, logs: usize, timestamps: Timestamps) -> Self {
        let bodies = |write: &mut dyn FnMut(usize, usize) -> String| -> Vec<Vec<u8>> {
            (0..distinct)
                .map(|body| {
                    let array: Vec<String> = (0..logs).map(|log| write(body, log)).collect();
                    format!("[{}]", array.join(",")).into_bytes()
                })
                .collect()
        };
        let of_tenant = |tenant| match shape {
            Shape::Services => {
                let mut writer = services::Writer::new(seed, tenant, timestamps);
                bodies(&mut |body, log| writer.log(body, log))
            }
            Shape::Edge => {
                let mut writer = edge::Writer::new(seed, tenant, timestamps);
                bodies(&mut |body, log| writer.log(body, log))
            }
        };
        Self { logs, bodies: (0..tenants).map(of_tenant).collect() }
    }

    /// The mean size of a log in bytes, with its separator.
    pub fn mean_log(&self) -> f64 {
        let bytes: usize = self.bodies.iter().flatten().map(Vec::len).sum();
        let logs = self.logs * self.bodies.iter().map(Vec::len).sum::<usize>();
        bytes as f64 / logs as f64
    }

    /// Tenant, body and log of an identifier.
    pub fn identity(text: &[u8]) -> Option<(usize, usize, usize)> {
        let number = |range: std::ops::Range<usize>| std::str::from_utf8(text.get(range)?).ok()?.parse().ok();
        Some((number(0..3)?, number(4..8)?, number(9..13)?))
    }
}

impl Timestamps {
    /// Whether the next log has one.
    fn draw(self, random: &mut StdRng) -> bool {
        match self {
            Self::All => true,
            Self::Half => random.random_bool(0.5),
            Self::None => false,
        }
    }
}

/// The chance of one tenant.
fn random(seed: u64, tenant: usize) -> StdRng {
    StdRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(tenant as u64))
}

/// Unix time in milliseconds, somewhat before the present: Datadog, and so the daemon, distinguishes logs older than 18
/// hours.
fn an_hour_ago() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
    now as u64 - 3_600_000
}
