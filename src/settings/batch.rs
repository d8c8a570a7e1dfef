//! `[batch]`

use super::form::{Choice, HOUR, MILLISECOND, Number, Period};
use super::key::section;
use super::problems::Problems;
use std::time::Duration;

section! {
    /// When a batch is sent, and how it is compressed.
    pub struct Batch {
        /// How long an item waits at most for others to share a request with.
        max_age: Duration = Duration::from_secs(2), Period(MILLISECOND..=HOUR);
        /// auto (the best that the endpoint takes), zstd, gzip, deflate or none.
        compression: Compression = Compression::Auto, Choice(COMPRESSIONS);
        /// 1 to 9 (zstd: 19); 0 is a sensible default of the compression.
        level: i32 = 0, Number(0..=19);
    }
}

/// The configured compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// The best that the endpoint takes.
    Auto,
    /// zstd where the endpoint takes it, else as `Auto`.
    Zstd,
    /// gzip where the endpoint takes it, else as `Auto`.
    Gzip,
    /// deflate where the endpoint takes it, else as `Auto`.
    Deflate,
    /// None.
    None,
}

const COMPRESSIONS: &[(&str, Compression)] = &[
    ("auto", Compression::Auto),
    ("zstd", Compression::Zstd),
    ("gzip", Compression::Gzip),
    ("deflate", Compression::Deflate),
    ("none", Compression::None),
];

pub(super) fn check(batch: &Batch, problems: &mut Problems) {
    let highest = match batch.compression {
        Compression::Zstd => 19,
        Compression::Auto | Compression::Gzip | Compression::Deflate => 9,
        Compression::None => 0,
    };
    if problems.are_fine(&["batch.compression"]) && batch.level > highest {
        let message = match highest {
            0 => format!("{} means nothing without compression: remove it", batch.level),
            _ => format!("{} is too high for this compression: 1 to {highest}, or 0 for its default", batch.level),
        };
        problems.error("batch.level", message);
    }
}
