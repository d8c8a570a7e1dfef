//! Tenants from the operator's side, on the real program and its stand-in for Datadog: added, connected, held, replaced,
//! removed.

mod allowances;
mod ending;
mod errors;
mod harness;
mod keys;
mod life;
mod organisations;
mod outages;
#[allow(dead_code)] // the tests of the store use more of it
#[path = "../support/postgres.rs"]
mod postgres;
mod shared;
#[path = "../support/mod.rs"]
mod support;
