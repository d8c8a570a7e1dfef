//! The size and age of the queue.

use crate::metric::Metric;
use metrics::Gauge;

pub(crate) const BYTES: Metric<Gauge> = Metric::new("dogsled_queue_bytes", "Bytes in the queue or in flight");
pub(crate) const OLDEST: Metric<Gauge> =
    Metric::new("dogsled_queue_oldest_seconds", "Age of the oldest item in the queue or in flight");
pub(crate) const MEMORY: Metric<Gauge> =
    Metric::new("dogsled_memory_queue_bytes", "Memory that queued items take, bounded by memory.max_queue_bytes");
