//! What the repository shows and installs is what there is.

mod readme;
mod systemd;
