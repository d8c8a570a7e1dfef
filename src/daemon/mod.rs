//! The daemon: puts the parts together, keeps them going, ends them in order.

mod files;
mod log_writer;
pub mod logging;
mod metrics;
mod private;
mod reload;
mod run;
pub mod systemd;

pub use reload::Reloader;
#[cfg(test)]
pub(crate) use run::keep_house;
pub use run::{Daemon, DaemonError};
