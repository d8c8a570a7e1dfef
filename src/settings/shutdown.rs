//! `[shutdown]`

use super::form::{HOUR, Period};
use super::key::section;
use std::time::Duration;

section! {
    /// How the daemon ends.
    pub struct Shutdown {
        /// How long queued telemetry is still delivered after SIGTERM.
        grace: Duration = Duration::from_secs(20), Period(Duration::ZERO..=HOUR);
    }
}
