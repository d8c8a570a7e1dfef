//! How the clock of this host is doing.

use crate::metric::Metric;
use metrics::{Counter, Gauge};

pub(crate) const CLOCK_STEPS: Metric<Counter> =
    Metric::new("dogsled_clock_steps_total", "Times that the clock of this host was set");
pub(crate) const CLOCK_ERROR: Metric<Gauge> = Metric::new(
    "dogsled_clock_error_seconds",
    "How far the clock of this host is ahead of Datadog's, or of the one at the start; 0 within a minute",
);
