//! What the daemon counts of itself.

use crate::metric::Metric;
use metrics::Counter;

pub(super) const LOG_LINES_DROPPED: Metric<Counter> =
    Metric::new("dogsled_log_lines_dropped_total", "Lines of the log that nobody read in time");
