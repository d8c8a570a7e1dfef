//! The configuration is read again while the real program runs, by SIGHUP and through the admin API.

mod by_api;
mod by_signal;
// It serves another program, too, which needs more of it.
#[allow(dead_code)]
#[path = "../admin/harness.rs"]
mod harness;
#[path = "../support/mod.rs"]
mod support;
mod tenants;
