//! What is done to the daemon and when, and what must have been seen of it first.

use std::time::Duration;

/// The tenant that is limited, and whose tokens expire.
pub(super) const LIMITED: usize = 0;
/// The tenant whose key is revoked.
pub(super) const REVOKED: usize = 1;
/// The tenant with a log that Datadog refuses, and whose authorisation is revoked.
pub(super) const POISONED: usize = 2;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A log that Datadog refuses is sent.
    Poison,
    /// Every request with logs or metrics is answered 429.
    Storm,
    /// A customer revokes the API key.
    RevokeKey,
    /// The storm ends, and a limit is left.
    Limit,
    /// A customer revokes the authorisation.
    RevokeAuthorisation,
    /// That customer clicks Connect again.
    Reconnect,
    /// The limit is lifted.
    Unlimit,
    /// The applications end.
    Stop,
}

/// What the daemon does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// It waits as long as a 429 says.
    Throttled,
    /// It has found the log that Datadog refuses.
    Buried,
    /// It has other tokens before the first have expired.
    Refreshed,
    /// It has another key in place of the revoked one.
    NewKey,
    /// It holds the telemetry of the tenant whose authorisation was revoked.
    Held,
    /// It has delivered what it held.
    Released,
}

impl Event {
    pub(super) const ALL: [Self; 6] =
        [Self::Throttled, Self::Buried, Self::Refreshed, Self::NewKey, Self::Held, Self::Released];

    /// What has not happened when it was not seen.
    pub(super) fn missed(self) -> &'static str {
        match self {
            Self::Throttled => "acme was never throttled",
            Self::Buried => "initech's poison log was not found",
            Self::Refreshed => "acme's tokens were not refreshed",
            Self::NewKey => "globex got no new key",
            Self::Held => "initech's authorisation was revoked unnoticed",
            Self::Released => "not all was delivered that initech had held",
        }
    }
}

/// When each step is due, in hundredths of the whole time, and what must have been seen before it: a slow machine takes
/// longer, and sees the same.
const SCRIPT: [(u32, &[Event], Step); 8] = [
    (5, &[], Step::Poison),
    (15, &[], Step::Storm),
    (26, &[], Step::RevokeKey),
    (38, &[Event::Throttled], Step::Limit),
    (46, &[Event::Buried, Event::NewKey], Step::RevokeAuthorisation),
    (62, &[Event::Held], Step::Reconnect),
    (70, &[], Step::Unlimit),
    (85, &[Event::Released, Event::Refreshed], Step::Stop),
];

/// How long an event is waited for beyond the time of its step.
const PATIENCE: Duration = Duration::from_secs(30);

/// The script as it goes.
#[derive(Debug)]
pub(super) struct Script {
    whole: Duration,
    next: usize,
    /// When the last step was done.
    last: Duration,
}

impl Script {
    /// One that takes about as long.
    pub(super) fn new(whole: Duration) -> Self {
        Self { whole, next: 0, last: Duration::ZERO }
    }

    /// Whether all is done.
    pub(super) fn is_over(&self) -> bool {
        self.next == SCRIPT.len()
    }

    /// The step to be done now, if any. One whose events do not come is done all the same in the end.
    pub(super) fn next(&mut self, at: Duration, seen: &[Event]) -> Option<Step> {
        let (percent, needs, step) = SCRIPT.get(self.next)?;
        let due = self.whole * *percent / 100;
        let ready = needs.iter().all(|event| seen.contains(event)) || at >= due.max(self.last) + PATIENCE;
        if at < due || !ready {
            return None;
        }
        self.next += 1;
        self.last = at;
        Some(*step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_step_waits_for_time_and_events() {
        let mut script = Script::new(10 * SECOND);
        assert_eq!(script.next(SECOND / 10, &[]), None);
        for step in [Step::Poison, Step::Storm, Step::RevokeKey] {
            assert_eq!(script.next(3 * SECOND, &[]), Some(step));
        }
        assert_eq!(script.next(5 * SECOND, &[Event::Buried]), None, "the storm is not felt yet");
        assert_eq!(script.next(5 * SECOND, &[Event::Throttled]), Some(Step::Limit));
    }

    #[test]
    fn missing_events_are_waited_for_briefly() {
        let mut script = Script::new(SECOND);
        let mut at = Duration::ZERO;
        while !script.is_over() {
            at += SECOND;
            script.next(at, &[]);
        }
        assert!((4 * PATIENCE..5 * PATIENCE).contains(&at), "{at:?}");
    }
}
