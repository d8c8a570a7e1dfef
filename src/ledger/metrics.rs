//! What the ledger counts, one series a tenant and kind.

use crate::metric::Metric;
use metrics::{Counter, Gauge};

pub(crate) const ACCEPTED: Metric<Counter> = Metric::new("dogsled_items_accepted_total", "Items taken into the queue");
pub(crate) const DELIVERED: Metric<Counter> =
    Metric::new("dogsled_items_delivered_total", "Items that Datadog confirmed");
pub(crate) const DEAD_LETTERED: Metric<Counter> =
    Metric::new("dogsled_items_dead_lettered_total", "Items that Datadog refused for good, kept on disk");
pub(crate) const LATE: Metric<Counter> =
    Metric::new("dogsled_items_late_total", "Delivered items that were older than Datadog keeps");
pub(crate) const DROPPED: Metric<Counter> = Metric::new("dogsled_items_dropped_total", "Items given up, by reason");
pub(crate) const QUEUED: Metric<Gauge> = Metric::new("dogsled_queue_items", "Items in the queue or in flight");
