//! Where telemetry comes in: each source turns what it is sent into parts, and `accept` is the one door behind which they are
//! the queue's.
//!
//! The way of a request to the local HTTP port: [`crate::serve`] accepts its connection; `http::route` tells from the path what it is;
//! the door tells from its head who sends it; `http::body` and `http::encoding` read and decode it within bounds;
//! [`crate::wire`] splits it; and when the [`crate::queue`] has taken the items, `http::answer` says so in Datadog's own words.

mod accept;
pub mod dogstatsd;
mod http;
mod metrics;
mod otlp;
mod outcome;
mod shares;
mod tickets;
mod visits;

pub use accept::{Door, Sender, Submission, Submit};
pub use http::{Grpc, Handler, InvalidHeader};
pub use otlp::{Memory, MemoryError};
pub use outcome::{Accepted, NotTaken, Rejection};
