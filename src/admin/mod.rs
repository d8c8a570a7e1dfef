//! The operator's port: metrics, liveness, readiness.

mod metrics;
mod server;

pub use self::metrics::{Exposition, install_recorder};
pub use server::{Admin, serve};
