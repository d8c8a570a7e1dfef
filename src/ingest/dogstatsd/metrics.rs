//! What DogStatsD counts.

use crate::aggregate::Counts;
use crate::metric::Metric;
use crate::wire::dogstatsd::Reason;
use metrics::{Counter, Gauge};

const LINES: Metric<Counter> =
    Metric::new("dogsled_dogstatsd_lines_total", "DogStatsD lines that arrived, refused ones included");
const ERRORS: Metric<Counter> =
    Metric::new("dogsled_dogstatsd_errors_total", "DogStatsD lines, values or packets that were not taken, by reason");
const KERNEL_DROPS: Metric<Counter> = Metric::new(
    "dogsled_dogstatsd_kernel_drops_total",
    "DogStatsD datagrams that the kernel dropped because the receive buffer was full",
);
const CONTEXTS: Metric<Gauge> =
    Metric::new("dogsled_dogstatsd_contexts", "Contexts (name, tags, host and type of a tenant) being aggregated");

/// Handles, looked up once.
#[derive(Debug)]
pub(super) struct Handles {
    lines: Counter,
    errors: Vec<Counter>,
    pub kernel_drops: Counter,
    contexts: Gauge,
    pub panics: Counter,
}

impl Handles {
    pub fn new() -> Self {
        Self {
            lines: LINES.handle(),
            errors: Reason::ALL.iter().map(|reason| ERRORS.with(&[("reason", reason.name())])).collect(),
            kernel_drops: KERNEL_DROPS.handle(),
            contexts: CONTEXTS.handle(),
            panics: crate::metric::panics("dogstatsd"),
        }
    }

    pub fn count(&self, counts: &Counts, contexts: u32) {
        self.lines.increment(counts.lines);
        for (counter, count) in self.errors.iter().zip(counts.errors) {
            counter.increment(count);
        }
        self.contexts.set(contexts);
    }
}
