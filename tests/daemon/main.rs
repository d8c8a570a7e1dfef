//! The way of telemetry through the real program, on real sockets: in, kept, out.

// What clippy.toml forbids, tests may do.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod configuration;
mod delivery;
mod dogstatsd;
mod durability;
mod ingest;
mod ledger;
mod log;
mod otlp;
mod shutdown;
mod slow_clients;
#[path = "../support/mod.rs"]
mod support;
