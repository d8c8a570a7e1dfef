//! What of the configuration the aggregation needs.

/// What is aggregated, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The length of a bucket, in seconds.
    pub interval: i64,
    /// How long a counter without samples reports zeros after its last one, in seconds.
    pub context_expiry: i64,
    /// Which aggregates of a histogram are sent.
    pub aggregates: Vec<Aggregate>,
    /// Which percentiles of a histogram are sent.
    pub percentiles: Vec<Percentile>,
    /// Tags that are added to everything.
    pub tags: Vec<String>,
    /// The host of what names none; empty for none.
    pub host: String,
    /// What stands before the names, but for those of the Agent's own list; empty for nothing.
    pub namespace: String,
    /// Every sample of a histogram goes into a distribution of that prefix and its name as well.
    pub copy_to_distribution: Option<String>,
    /// What there may be most of.
    pub limits: Limits,
}

/// What there may be most of. Of what all tenants share, one tenant may take no more than the others leave free, so that
/// a few greedy tenants together cannot take all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Contexts of a tenant.
    pub contexts_per_tenant: u32,
    /// Contexts in all.
    pub contexts: u32,
    /// Samples of histograms, bins of distributions and members of sets that a bucket of a tenant holds.
    pub samples_per_tenant: u32,
    /// The same in all.
    pub samples: u32,
}

/// What is told of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// The greatest sample.
    Max,
    /// The least sample.
    Min,
    /// The sample in the middle; of two the lower.
    Median,
    /// The mean.
    Avg,
    /// The sum.
    Sum,
    /// How many samples a second.
    Count,
}

/// A percentile of a histogram, in whole percents from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percentile(u8);

impl Default for Options {
    fn default() -> Self {
        Self {
            interval: 10,
            context_expiry: 300,
            aggregates: vec![Aggregate::Max, Aggregate::Median, Aggregate::Avg, Aggregate::Count],
            percentiles: vec![Percentile(95)],
            tags: Vec::new(),
            host: String::new(),
            namespace: String::new(),
            copy_to_distribution: None,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { contexts_per_tenant: 20_000, contexts: 200_000, samples_per_tenant: 1_000_000, samples: 8_000_000 }
    }
}

impl Options {
    /// The start of the bucket that a time belongs to.
    pub(super) fn bucket(&self, seconds: i64) -> i64 {
        seconds - seconds.rem_euclid(self.interval)
    }
}

impl Aggregate {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Max, Self::Min, Self::Median, Self::Avg, Self::Sum, Self::Count];

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        &self.suffix()[1..]
    }

    /// What is appended to the metric's name.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Max => ".max",
            Self::Min => ".min",
            Self::Median => ".median",
            Self::Avg => ".avg",
            Self::Sum => ".sum",
            Self::Count => ".count",
        }
    }

    /// The aggregate of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|aggregate| aggregate.name() == name)
    }
}

impl Percentile {
    /// The percentile of a fraction from 0 to 1, rounded as the Agent does: 0.29 is 29 and not 28
    /// (DataDog/datadog-agent, `pkg/metrics/histogram.go`).
    pub fn from_fraction(fraction: f64) -> Option<Self> {
        (0.0..=1.0).contains(&fraction).then_some(Self((fraction * 100.0 + 0.5) as u8))
    }

    /// In percents.
    pub(super) fn percents(self) -> u8 {
        self.0
    }

    /// What is appended to the metric's name.
    pub(super) fn suffix(self) -> String {
        format!(".{}percentile", self.0)
    }
}
