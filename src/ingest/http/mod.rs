//! The local HTTP port, where senders post telemetry in the forms of Datadog's API.

mod answer;
mod body;
mod budget;
mod encoding;
mod event;
mod handler;
mod query;
mod route;

pub use handler::{Handler, InvalidHeader};
