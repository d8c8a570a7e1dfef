//! Wall-clock time as carried by telemetry.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// The system's time now. What a simulation runs asks its [`Machine`](super::Machine) instead, and pure logic takes the
    /// time as an argument.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// From whole seconds, saturating.
    pub fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// In whole seconds.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This time less `age`, saturating.
    pub fn minus(self, age: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// Times before the epoch become the epoch.
impl From<SystemTime> for UnixMillis {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}
