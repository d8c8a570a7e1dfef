//! What delivery counts and shows.

use crate::metric::Metric;
use metrics::{Counter, Gauge, Histogram};

pub(crate) const RATE_LIMIT_REMAINING: Metric<Gauge> = Metric::new(
    "dogsled_rate_limit_remaining",
    "Requests left until the rate limit resets, for endpoints where Datadog tells it",
);
pub(crate) const DEAD_LETTER_BYTES: Metric<Gauge> =
    Metric::new("dogsled_dead_letter_bytes", "Dead letters on disk, of tenants that have any");

pub(super) const REQUESTS: Metric<Counter> =
    Metric::new("dogsled_delivery_requests_total", "Requests to Datadog by the status of the answer, none without one");
pub(super) const SECONDS: Metric<Histogram> =
    Metric::new("dogsled_delivery_seconds", "Time from a request to Datadog until its answer");
pub(super) const PAYLOAD_BYTES: Metric<Histogram> =
    Metric::new("dogsled_payload_bytes", "Size of requests to Datadog as they are sent");
