//! The configuration is read again while the real program runs, by SIGHUP and through the admin API.

mod by_api;
mod by_signal;
mod tenants;
