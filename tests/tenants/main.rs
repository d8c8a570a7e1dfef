//! Tenants and their keys: how they connect, what the operator does with them, where their secrets are kept.

// What clippy.toml forbids, tests may do.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod admin;
mod core_dumps;
mod oauth;
mod operator;
mod postgres;
mod reload;
mod secrets;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod tenant_cli;
