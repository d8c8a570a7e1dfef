//! How the samples of a context are gathered.

use crate::wire::dogstatsd::MetricType;

/// What decides how samples are gathered; part of a context's identity. Timers are histograms: both would report under
/// the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    Counter,
    Gauge,
    Set,
    Histogram,
    Distribution,
}

impl Class {
    pub fn of(metric_type: MetricType) -> Self {
        match metric_type {
            MetricType::Counter => Self::Counter,
            MetricType::Gauge => Self::Gauge,
            MetricType::Set => Self::Set,
            MetricType::Histogram | MetricType::Timer => Self::Histogram,
            MetricType::Distribution => Self::Distribution,
        }
    }
}
