//! `[otlp]`

use super::form::{Choice, DAY, HOUR, Period, SECOND, Switch, Text};
use super::ingest::listen;
use super::key::section;
use std::time::Duration;

section! {
    /// OTLP, from OpenTelemetry's SDKs and Collectors. /v1/metrics and /v1/logs are served on ingest.listen in any case.
    pub struct Otlp {
        /// OTLP over HTTP on a port of its own: an address and a port, "" for none.
        http_listen: String = String::new(), Text(listen, String::clone, "127.0.0.1:4318"), restart;
        /// OTLP over gRPC, without TLS: an address and a port, "" for none.
        grpc_listen: String = String::new(), Text(listen, String::clone, "127.0.0.1:4317"), restart;
        /// What becomes of histograms: distributions, counters (.bucket, a count for each bucket, tagged with its bounds) or
        /// nobuckets (only what send_aggregation_metrics adds).
        histograms: Histograms = Histograms::Distributions, Choice(HISTOGRAMS);
        /// Whether a histogram also gives .count and .sum, and with delta temporality .min and .max.
        send_aggregation_metrics: bool = false, Switch;
        /// What becomes of cumulative sums that only rise: to_delta (counts of what they rose by) or raw_value (gauges).
        sums: Sums = Sums::ToDelta, Choice(SUMS);
        /// What becomes of the quantiles of summaries: gauges or noquantiles.
        summaries: Summaries = Summaries::Gauges, Choice(SUMMARIES);
        /// Whether all attributes of a resource become tags, and not only those that Datadog has a name for.
        resource_attributes_as_tags: bool = false, Switch;
        /// Whether name, version and attributes of the instrumentation scope become tags.
        scope_as_tags: bool = false, Switch;
        /// Whether counts of delta sums get the interval that their start and end are apart.
        infer_delta_interval: bool = false, Switch;
        /// A cumulative series without points for so long is forgotten; it begins anew then.
        delta_ttl: Duration = HOUR, Period(SECOND..=DAY);
    }
}

/// What becomes of histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Histograms {
    /// Sketches.
    Distributions,
    /// Counts of the buckets.
    Counters,
    /// Nothing but the aggregates.
    NoBuckets,
}

const HISTOGRAMS: &[(&str, Histograms)] = &[
    ("distributions", Histograms::Distributions),
    ("counters", Histograms::Counters),
    ("nobuckets", Histograms::NoBuckets),
];

/// What becomes of cumulative sums that only rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sums {
    /// Counts of the differences.
    ToDelta,
    /// Gauges.
    RawValue,
}

const SUMS: &[(&str, Sums)] = &[("to_delta", Sums::ToDelta), ("raw_value", Sums::RawValue)];

/// What becomes of the quantiles of summaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Summaries {
    /// Gauges, tagged with the quantile.
    Gauges,
    /// Nothing.
    NoQuantiles,
}

const SUMMARIES: &[(&str, Summaries)] = &[("gauges", Summaries::Gauges), ("noquantiles", Summaries::NoQuantiles)];
