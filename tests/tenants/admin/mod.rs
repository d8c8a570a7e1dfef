//! Tenants from the operator's side, on the real program and its stand-in for Datadog: added, connected, held, replaced,
//! removed.

mod access;
mod allowances;
mod ending;
mod errors;
mod keys;
mod life;
mod organisations;
mod outages;
mod shared;
