//! What the journal measures, and its size.

use crate::metric::Metric;
use metrics::{Gauge, Histogram};

pub(crate) const BYTES: Metric<Gauge> = Metric::new("dogsled_journal_bytes", "The journal on disk");
pub(crate) const LIVE_BYTES: Metric<Gauge> =
    Metric::new("dogsled_journal_live_bytes", "Records in the journal that are not acknowledged yet");
pub(crate) const SEGMENTS: Metric<Gauge> = Metric::new("dogsled_journal_segments", "Files of the journal");
pub(crate) const WRITABLE: Metric<Gauge> =
    Metric::new("dogsled_journal_writable", "0 while the disk is full or fails, else 1");
const FSYNC: Metric<Histogram> = Metric::new("dogsled_journal_fsync_seconds", "Duration of the journal's fsyncs");

/// What the journal measures itself.
pub(super) struct JournalMetrics {
    pub(super) fsync: Histogram,
}

impl Default for JournalMetrics {
    fn default() -> Self {
        Self { fsync: FSYNC.handle() }
    }
}
