//! Dogsled carries the telemetry of many tenants to their own Datadog organisations.
//!
//! The way of one request: [`ingest`] reads it and asks [`tenancy`] whose it is, [`wire`] validates it and finds
//! the boundaries of its items, [`queue`] holds them per tenant and kind until a batch is due, [`payload`] joins and
//! compresses the batch, [`deliver`] sends it and judges the answer. [`ledger`] counts every step.
//!
//! [`store`] keeps tenants and their secrets, sealed by [`vault`]; [`oauth`] is how a tenant comes by its key; [`control`]
//! is what the operator can do with tenants, [`admin`] where they ask for it, and [`api`] what they and the daemon say.
//!
//! To read the code, follow that way, beginning with the nouns of [`types`]: what a [`types::Kind`] is decides nearly
//! everything else. Then [`daemon`], which puts the parts together, and [`cli`]; [`settings`] and [`admin`] stand aside,
//! and [`fakeintake`] is Datadog's side, for tests and the demonstration. Decisions that the code cannot explain by itself are
//! pages of `docs/decisions/`.
//!
//! Ground floor first, each importing only from those before it: [`metric`], [`machine`], [`types`], [`settings`], [`outbound`],
//! [`wire`], [`serve`], [`ledger`], [`journal`], [`vault`], [`store`], [`tenancy`], [`oauth`], [`queue`], [`payload`], [`deliver`],
//! [`aggregate`], [`ingest`], [`api`], [`control`], [`admin`], [`daemon`], [`fakeintake`], [`cli`].

// What clippy.toml forbids, tests may do.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

pub mod admin;
pub mod aggregate;
pub mod api;
pub mod cli;
pub mod control;
pub mod daemon;
pub mod deliver;
pub mod fakeintake;
pub mod ingest;
pub mod journal;
pub mod ledger;
pub mod machine;
pub mod metric;
pub mod oauth;
pub mod outbound;
pub mod payload;
pub mod queue;
pub mod serve;
pub mod settings;
#[cfg(test)]
mod simulation;
pub mod store;
pub mod tenancy;
pub mod types;
pub mod vault;
pub mod wire;
