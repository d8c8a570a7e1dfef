//! What the repository shows and installs is what there is.

// What clippy.toml forbids, tests may do.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod dependencies;
mod promises;
mod readme;
#[path = "../support/mod.rs"]
mod support;
mod systemd;
