//! What the repository shows and installs is what there is.

mod readme;
#[path = "../support/mod.rs"]
mod support;
mod systemd;
