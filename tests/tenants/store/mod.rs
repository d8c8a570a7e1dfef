//! The store against real databases: every test runs on SQLite and on PostgreSQL, where that is installed.

mod crashes;
mod failures;
mod harness;
mod leases;
mod model;
mod oauth;
mod opening;
mod rekey;
mod secrecy;
mod tenants;
mod tls;
mod watch;
