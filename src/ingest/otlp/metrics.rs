//! What OTLP counts.

use crate::metric::Metric;
use metrics::{Counter, Gauge};

pub(super) const REJECTED: Metric<Counter> =
    Metric::new("dogsled_otlp_rejected_total", "Data points and log records refused in partial_success, by signal");

pub(super) const SERIES: Metric<Gauge> =
    Metric::new("dogsled_otlp_series", "Cumulative series that are remembered to make differences of");
