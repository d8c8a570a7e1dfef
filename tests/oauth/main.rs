//! The OAuth flow against the stand-in, as customers, hosts that share a store, and attackers go through it.

mod connecting;
mod crashes;
mod daemon;
mod harness;
mod hostile;
mod keys;
mod leaving;
mod pages;
#[allow(dead_code)] // the tests of the store use more of it
#[path = "../support/postgres.rs"]
mod postgres;
mod refreshing;
mod secrecy;
#[path = "../support/mod.rs"]
mod support;
