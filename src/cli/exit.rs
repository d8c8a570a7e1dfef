//! How commands end when something is wrong.

use std::fmt::Display;
use std::io::{Write, stderr};

/// The exit code for a configuration or a command line that cannot be used.
pub(super) const BAD_CONFIGURATION: u8 = 2;

/// Writes an error to standard error. That it cannot be written can be told nobody.
pub(super) fn complain(error: impl Display) {
    let _ = writeln!(stderr(), "error: {error}");
}
