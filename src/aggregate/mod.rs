//! DogStatsD's aggregation: lines become contexts, samples become buckets, and a closed bucket becomes series and
//! sketches of its tenant.
//!
//! Pure: the time is an argument, and who may send is asked of a function. What the Agent does is the rule
//! (DataDog/datadog-agent, `pkg/aggregator`, `pkg/metrics`); where a daemon of many tenants must differ,
//! `docs/decisions/dogstatsd.md` says why.
//!
//! A line whose context is known costs a hash of its name and tags as they were sent, one comparison and an addition:
//! nothing is allocated, and tags are neither split nor sorted. A bucket is closed in one instant and written out in
//! small steps afterwards, between which lines are taken: each context has room for two buckets.

mod aggregator;
mod class;
mod close;
mod closing;
mod context;
mod head;
mod items;
mod options;
mod samples;
mod slot;
mod tenant;
mod writer;

#[cfg(test)]
mod tests;

pub use aggregator::{Aggregator, Counts, Knows, Source};
pub use options::{Aggregate, Limits, Options, Percentile};
pub use tenant::{NameFigures, TenantFigures};
