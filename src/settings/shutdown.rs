//! `[shutdown]`

use super::form::{HOUR, Period};
use super::key::section;
use std::time::Duration;

section! {
    /// How the daemon ends.
    pub struct Shutdown {
        /// How long telemetry is still taken after SIGTERM at most: applications that end then get their last in.
        accept: Duration = Duration::from_secs(10), Period(Duration::ZERO..=HOUR);
        /// How long none has come when no more is taken.
        quiet: Duration = Duration::from_secs(1), Period(Duration::ZERO..=HOUR);
        /// How long queued telemetry is still delivered from then on.
        grace: Duration = Duration::from_secs(20), Period(Duration::ZERO..=HOUR);
    }
}
