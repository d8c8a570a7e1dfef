//! The local HTTP port, where senders post telemetry in the forms of Datadog's API.

mod answer;
mod body;
mod budget;
mod encoding;
mod event;
mod grpc;
mod handler;
mod otlp;
mod query;
mod route;

pub use grpc::Grpc;
pub use handler::{Handler, InvalidHeader};
