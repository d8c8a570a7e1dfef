//! The daemon: puts the parts together, keeps them going, ends them in order.

mod run;

pub use run::{Daemon, DaemonError};
