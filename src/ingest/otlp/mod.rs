//! OTLP: what an SDK or Collector sends, mapped by [`crate::wire::otlp`] and taken through the door.
//!
//! `receiver` takes a request, whichever way it came: over HTTP (`http::otlp`) or gRPC (`http::grpc`). `memory` keeps what is
//! remembered of cumulative series.

mod memory;
mod metrics;
mod receiver;

pub use memory::{Memory, MemoryError};
pub(in crate::ingest) use receiver::{Receiver, Refused, Request};
