//! The operator's port: metrics, liveness, readiness, and the API to tenants.

mod api;
mod metrics;
mod server;
mod token;

pub use self::metrics::{Exposition, install_recorder};
pub use server::{Admin, Reload, serve};
pub use token::{Token, TokenError};
