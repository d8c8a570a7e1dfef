//! DogStatsD's lines, versions 1.0 to 1.6 of the protocol: read where they stand, without allocating.
//!
//! A packet is lines separated by `\n`; each is a metric, an event or a service check. What the Agent does is the rule
//! (DataDog/datadog-agent, `comp/dogstatsd/server/impl/parse*.go`): what it takes is taken, and a line that it refuses is
//! refused alone, with a [`Reason`]. Container ids, external data and cardinality (1.2, 1.4 to 1.6) feed the Agent's
//! container tagger and never reach Datadog: they are accepted and ignored.

mod check;
mod event;
mod fields;
mod framing;
mod message;
mod metric;
mod number;
mod reason;
mod tags;

#[cfg(test)]
mod tests;

pub use check::Check;
pub use event::Event;
pub use framing::{FrameError, Frames};
pub use message::{Message, lines, parse};
pub use metric::{Metric, MetricType, Value, Values};
pub use reason::Reason;
pub use tags::{Host, Tags};

pub(crate) use tags::text;
