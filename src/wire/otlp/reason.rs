//! Why a part of a request is not taken although the request can be read.

use crate::wire::part::Stop;
use std::fmt;

/// Why a data point or log record is refused. `Display` is a clause of `error_message` in `partial_success`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The metric's name is empty, longer than 200 bytes, or without a letter.
    Name,
    /// NaN or infinite: Datadog takes finite values only.
    NotFinite,
    /// A sum or histogram whose temporality is neither delta nor cumulative.
    NoTemporality,
    /// Differences of exponential histograms of changing scales are not defined.
    CumulativeExponential,
    /// A number point with neither an integer nor a double.
    NoValue,
    /// `bucket_counts` must be one more than `explicit_bounds`.
    Buckets,
    /// `explicit_bounds` must be ascending.
    Bounds,
    /// More than [`super::options::MAX_OBSERVATIONS`].
    TooManyObservations,
    /// An exponential histogram with buckets beyond what a sketch can hold.
    OutOfRange,
    /// Nothing to make a sketch from.
    NoBuckets,
    /// An attribute nested deeper than 32 levels.
    NestedTooDeep,
    /// Larger than a request to Datadog may be.
    TooLarge,
    /// The tenant has as many cumulative series as are remembered.
    TooManySeries,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "a metric's name must have 1 to 200 bytes and a letter of A-Z a-z",
            Self::NotFinite => "the value is not finite",
            Self::NoTemporality => "the aggregation temporality is neither delta nor cumulative",
            Self::CumulativeExponential => {
                "exponential histograms must have delta temporality (set the SDK's or exporter's temporality preference to delta)"
            }
            Self::NoValue => "the data point has no value",
            Self::Buckets => "bucket_counts must have one element more than explicit_bounds",
            Self::Bounds => "explicit_bounds must be ascending numbers",
            Self::TooManyObservations => "a sketch holds at most 268431360 observations",
            Self::OutOfRange => "the buckets are beyond the range of a sketch",
            Self::NoBuckets => "the histogram has neither buckets nor a sum",
            Self::NestedTooDeep => "an attribute or a body is nested deeper than 32 levels",
            Self::TooLarge => "it is larger than Datadog takes",
            Self::TooManySeries => {
                "too many cumulative series are remembered: use delta temporality, or attributes with fewer values"
            }
        })
    }
}

/// Why a request is refused as a whole. `Display` is the text for the emitter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Neither protobuf nor JSON of OTLP.
    #[error("{0}")]
    Malformed(String),
    /// What is made of it takes too much memory.
    #[error("the request becomes more than {limit} bytes for Datadog: send less at once")]
    TooLarge {
        /// In bytes.
        limit: usize,
    },
}

impl From<Stop> for Fault {
    fn from(stop: Stop) -> Self {
        Self::Malformed(stop.to_string())
    }
}

/// What stops the mapping of an item: a fault of the item alone, or of the whole request.
#[derive(Debug)]
pub(super) enum Trouble {
    Item(Reason),
    Request(Box<Fault>),
}

impl From<Reason> for Trouble {
    fn from(reason: Reason) -> Self {
        Self::Item(reason)
    }
}

impl From<Stop> for Trouble {
    fn from(stop: Stop) -> Self {
        Self::Request(Box::new(Fault::from(stop)))
    }
}

/// What was refused of a request, for each reason: how much, and of which metric first.
#[derive(Debug, Default)]
pub struct Rejections {
    list: Vec<Rejection>,
}

/// What was refused for one reason.
#[derive(Debug)]
struct Rejection {
    reason: String,
    items: u64,
    /// The first metric's name, or nothing for logs.
    example: Option<String>,
}

/// How much of a metric's name is told.
const EXAMPLE: usize = 100;

impl Rejections {
    /// Counts items refused for `reason`.
    pub fn add(&mut self, reason: impl fmt::Display, items: u64, metric: Option<&[u8]>) {
        if items == 0 {
            return;
        }
        let reason = reason.to_string();
        if let Some(known) = self.list.iter_mut().find(|known| known.reason == reason) {
            known.items += items;
            return;
        }
        let example = metric.map(|name| String::from_utf8_lossy(name).chars().take(EXAMPLE).collect());
        self.list.push(Rejection { reason, items, example });
    }

    /// Counts what others counted too.
    pub fn merge(&mut self, others: Self) {
        for other in others.list {
            match self.list.iter_mut().find(|known| known.reason == other.reason) {
                Some(known) => known.items += other.items,
                None => self.list.push(other),
            }
        }
    }

    /// Passes on a fault of the whole request, and counts one of an item.
    pub(super) fn note(&mut self, trouble: Trouble, metric: Option<&[u8]>) -> Result<(), Trouble> {
        match trouble {
            Trouble::Item(reason) => {
                self.add(reason, 1, metric);
                Ok(())
            }
            request => Err(request),
        }
    }

    /// How much was refused.
    pub fn items(&self) -> u64 {
        self.list.iter().map(|rejection| rejection.items).sum()
    }
}

/// For the emitter: `2 of metric "lat": <reason>; 1: <reason>`.
impl fmt::Display for Rejections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Rejection { reason, items, example }) in self.list.iter().enumerate() {
            let separator = if index > 0 { "; " } else { "" };
            write!(f, "{separator}{items}")?;
            if let Some(name) = example {
                write!(f, " (first: metric {name:?})")?;
            }
            write!(f, ": {reason}")?;
        }
        Ok(())
    }
}
