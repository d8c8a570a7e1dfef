//! Dogsled carries the telemetry of many tenants to their own Datadog organisations.
//!
//! The modules are listed ground floor first: each imports only from those above it.
//!
//! The way of one request: [`ingest`] reads it and asks [`tenancy`] whose it is, [`wire`] validates it and finds
//! the boundaries of its items, [`queue`] holds them per tenant and kind until a batch is due, [`payload`] joins and
//! compresses the batch, [`deliver`] sends it and judges the answer. [`ledger`] counts every step.
//!
//! [`store`] keeps tenants and their secrets, sealed by [`vault`].

pub mod admin;
pub mod cli;
pub mod daemon;
pub mod deliver;
pub mod ingest;
pub mod intake;
pub mod ledger;
pub mod payload;
pub mod queue;
pub mod settings;
pub mod store;
pub mod tenancy;
pub mod types;
pub mod vault;
pub mod wire;
