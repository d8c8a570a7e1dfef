//! For whom telemetry was accepted.

use super::Secret;
use sha2::{Digest, Sha256};
use std::fmt;

/// Names one recipient of a tenant's telemetry: one creation of the tenant, connected to one Datadog organisation. It is
/// stamped on what is accepted, in the journal and in dead letters, so that nothing that was accepted for an earlier tenant of
/// the same id, or for another organisation, is delivered to the present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

impl Generation {
    /// Of records that were written before generations existed.
    pub const UNKNOWN: Self = Self(0);

    /// The generation of a key of the configuration file: a digest, so that the same key is the same recipient in each run.
    /// Those of the store are counted, and far below.
    pub fn of_key(key: &Secret) -> Self {
        let digest: [u8; 32] = Sha256::digest(key.expose().as_bytes()).into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]) | 1 << 63)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
