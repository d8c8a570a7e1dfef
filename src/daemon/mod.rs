//! The daemon: puts the parts together, keeps them going, ends them in order.

mod files;
pub mod logging;
mod run;
pub mod systemd;

pub use run::{Daemon, DaemonError};
