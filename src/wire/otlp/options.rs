//! What a request carries, and how it is mapped.

use super::delta::HashKey;
use crate::types::UnixMillis;

/// The most observations of one histogram: what the bins of the Agent's sketch can count (4,096 of 65,535 each).
pub const MAX_OBSERVATIONS: u64 = 4_096 * 65_535;

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// `ExportMetricsServiceRequest`
    Metrics,
    /// `ExportLogsServiceRequest`
    Logs,
}

/// How metrics are mapped; the names and defaults are those of Datadog's exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What becomes of histograms with explicit bounds.
    pub histograms: Histograms,
    /// Whether histograms also give `.count`, `.sum`, and with delta temporality `.min` and `.max`.
    pub send_aggregation_metrics: bool,
    /// Whether all attributes of a resource become tags, and not only those that Datadog has a name for.
    pub resource_attributes_as_tags: bool,
    /// Whether name, version and attributes of the instrumentation scope become tags.
    pub scope_as_tags: bool,
    /// Whether cumulative sums stay as they are, as gauges, instead of becoming differences.
    pub sums_as_gauges: bool,
    /// Whether the quantiles of summaries are sent.
    pub quantiles: bool,
    /// Whether the counts of delta sums get the interval that their times tell.
    pub infer_delta_interval: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            histograms: Histograms::Distributions,
            send_aggregation_metrics: false,
            resource_attributes_as_tags: false,
            scope_as_tags: false,
            sums_as_gauges: false,
            quantiles: true,
            infer_delta_interval: false,
        }
    }
}

/// What becomes of histograms with explicit bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Histograms {
    /// Sketches.
    Distributions,
    /// A count for each bucket, `.bucket`, tagged with its bounds.
    Counters,
    /// Nothing but the aggregates.
    NoBuckets,
}

/// The time, as the mapping needs it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// When the request was accepted.
    pub now: UnixMillis,
    /// The same in seconds of a clock that never steps.
    pub seconds: u32,
    /// When the daemon started, in nanoseconds since the Unix epoch: a cumulative series that began later is new, and its
    /// first point is a difference from 0.
    pub started: u64,
}

/// What the mapping of a request needs besides the request.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The attribute of resources that names their tenant, and that is no part of them then; none where it may not.
    pub attribute: Option<&'a str>,
    /// How metrics are mapped.
    pub options: &'a Options,
    /// The time.
    pub clock: Clock,
    /// What series are hashed with.
    pub hash_key: &'a HashKey,
    /// Bytes that the result may have.
    pub limit: usize,
}
