//! Tenants and their keys: how they connect, what the operator does with them, where their secrets are kept.

mod admin;
mod oauth;
mod operator;
mod postgres;
mod reload;
mod secrets;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod tenant_cli;
