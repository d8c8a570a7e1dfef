//! What the local port counts.

use crate::metric::Metric;
use metrics::Counter;

pub(super) const REQUESTS: Metric<Counter> =
    Metric::new("dogsled_ingest_requests_total", "Requests to the local HTTP port, by status");
