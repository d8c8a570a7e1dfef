//! The time, whatever is done to the wall clock: a step of it changes no age. Pure logic: the readings are arguments.

use super::UnixMillis;
use std::time::Duration;
use tokio::time::Instant;

/// What is known of the time.
#[derive(Debug)]
pub(super) struct Clock {
    /// The time at an instant: of the wall clock at the start, or of Datadog.
    base: (Instant, i64),
    /// Datadog's answers have confirmed or corrected it.
    is_confirmed: bool,
    /// When it was corrected last.
    corrected: Option<Instant>,
    /// Dates in a row that contradict it, and agree with each other.
    contradicting: Option<(i64, u32)>,
    /// The wall clock against the monotonic one, when last looked at.
    offset: i64,
}

/// Clocks that differ by less agree. Answers travel, and their dates have whole seconds.
const TOLERANCE: i64 = 60_000;

/// The wall clock has stepped if it moved by so much against the monotonic one. Smaller differences are adjustments.
const STEP: i64 = 5_000;

/// So many dates in a row are believed against the clock: one may be a proxy's own mistake.
const DATES: u32 = 3;

impl Clock {
    pub(super) fn new(wall: UnixMillis, at: Instant) -> Self {
        let base = (at, wall.0);
        Self { base, is_confirmed: false, corrected: None, contradicting: None, offset: 0 }
    }

    fn steady(&self, at: Instant) -> i64 {
        self.base.1 + since(self.base.0, at)
    }

    /// The time: that of the wall clock as long as it agrees with what is known.
    pub(super) fn now(&self, wall: UnixMillis, at: Instant) -> UnixMillis {
        let steady = self.steady(at);
        if (wall.0 - steady).abs() <= TOLERANCE { wall } else { UnixMillis(steady) }
    }

    /// Learns Datadog's time. True when it corrects the clock.
    pub(super) fn learn(&mut self, date: UnixMillis, at: Instant) -> bool {
        let error = date.0 - self.steady(at);
        if error.abs() <= TOLERANCE {
            (self.is_confirmed, self.contradicting) = (true, None);
            return false;
        }
        let count = match self.contradicting {
            Some((other, count)) if (error - other).abs() <= TOLERANCE => count + 1,
            _ => 1,
        };
        self.contradicting = Some((error, count));
        if count < DATES {
            return false;
        }
        self.base = (at, date.0);
        (self.is_confirmed, self.corrected, self.contradicting) = (true, Some(at), None);
        true
    }

    /// By how many milliseconds the wall clock has stepped since the last look, if it has.
    pub(super) fn step(&mut self, start: (UnixMillis, Instant), wall: UnixMillis, at: Instant) -> Option<i64> {
        let offset = wall.0 - start.0.0 - since(start.1, at);
        let moved = offset - std::mem::replace(&mut self.offset, offset);
        (moved.abs() >= STEP).then_some(moved)
    }

    /// How far the wall clock is ahead, in milliseconds.
    pub(super) fn error(&self, wall: UnixMillis, at: Instant) -> i64 {
        wall.0 - self.now(wall, at).0
    }

    /// Whether times up to that age are known to be of a right clock.
    pub(super) fn knows(&self, age: Duration, at: Instant) -> bool {
        self.is_confirmed && self.corrected.is_none_or(|corrected| at.saturating_duration_since(corrected) >= age)
    }
}

fn since(earlier: Instant, at: Instant) -> i64 {
    i64::try_from(at.saturating_duration_since(earlier).as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_step_of_the_wall_clock_changes_nothing() {
        let start = Instant::now();
        let (mut clock, later) = (Clock::new(UnixMillis(DAY), start), start + HOUR);
        let begun = (UnixMillis(DAY), start);
        let right = UnixMillis(DAY + 3_600_000);
        for wall in [right, UnixMillis(right.0 + 3 * DAY), UnixMillis(0), right] {
            let now = clock.now(wall, later);
            assert_eq!(now, right, "{wall:?}");
        }
        assert_eq!(clock.step(begun, right, later), None);
        assert_eq!(clock.step(begun, UnixMillis(right.0 + 3 * DAY), later), Some(3 * DAY));
        assert_eq!(clock.step(begun, UnixMillis(right.0 + 3 * DAY), later), None, "it is told once");
        assert_eq!(clock.step(begun, right, later), Some(-3 * DAY));
    }

    #[test]
    fn small_adjustments_are_followed() {
        let start = Instant::now();
        let clock = Clock::new(UnixMillis(DAY), start);
        assert_eq!(clock.now(UnixMillis(DAY + 40_000), start + Duration::from_secs(30)), UnixMillis(DAY + 40_000));
    }

    #[test]
    fn several_dates_of_datadog_correct_it() {
        let start = Instant::now();
        let mut clock = Clock::new(UnixMillis(0), start);
        assert!(!clock.knows(HOUR, start));
        assert!(!clock.learn(UnixMillis(DAY), start), "one date may be anybody's");
        assert!(!clock.learn(UnixMillis(30_000), start) && clock.knows(HOUR, start), "it is confirmed");
        let dates = [DAY, DAY + 1000, DAY + 2000].map(|date| clock.learn(UnixMillis(date), start));
        assert_eq!(dates, [false, false, true]);
        assert_eq!(clock.now(UnixMillis(0), start), UnixMillis(DAY + 2000));
        // Times from before the correction look older than they are.
        assert!(!clock.knows(HOUR, start) && clock.knows(HOUR, start + HOUR));
        assert_eq!(clock.error(UnixMillis(0), start), -DAY - 2000);
    }
}
