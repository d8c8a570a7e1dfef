//! How old records are, as far as that is reason to drop them. Of this run, by the monotonic clock; of earlier ones, by the
//! time that they bear, if the clock is known to be right.

use crate::journal::Seq;
use crate::machine::Machine;
use crate::types::UnixMillis;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Tells old records from others.
#[derive(Debug)]
pub(super) struct Ages {
    machine: Machine,
    /// The first record of this run.
    first: Seq,
    /// Instants, and the next record at each: those before it were accepted before.
    marks: Mutex<VecDeque<(Instant, Seq)>>,
}

/// What is older than some age.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cutoff {
    /// Records of this run before this one, and all of earlier runs if those are.
    before: Seq,
    first: Seq,
    /// Records of earlier runs accepted before this time.
    accepted: Option<UnixMillis>,
}

/// Marks at least so far apart are kept: of two days, 6000.
const APART: Duration = Duration::from_secs(29);

/// No age is asked for beyond a year.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

impl Ages {
    /// Ages from now on, when `next` is the next record.
    pub(super) fn new(machine: Machine, next: Seq) -> Self {
        Self { machine, first: next, marks: Mutex::new(VecDeque::from([(Instant::now(), next)])) }
    }

    /// Notes that `next` is the next record at present.
    pub(super) fn mark(&self, now: Instant, next: Seq) {
        let mut marks = self.marks();
        if marks.back().is_none_or(|(at, seq)| now >= *at + APART && *seq != next) {
            marks.push_back((now, next));
        }
        while marks.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > LONGEST) {
            marks.pop_front();
        }
    }

    /// What is older than `age`.
    pub(super) fn cutoff(&self, age: Duration, now: Instant) -> Cutoff {
        let marks = self.marks();
        let older = marks.partition_point(|(at, _)| now.saturating_duration_since(*at) >= age);
        let before = older.checked_sub(1).and_then(|index| marks.get(index)).map_or(Seq(0), |(_, seq)| *seq);
        let accepted = self.machine.knows_time(Duration::ZERO).then(|| self.machine.now().minus(age));
        Cutoff { before, first: self.first, accepted }
    }

    fn marks(&self) -> MutexGuard<'_, VecDeque<(Instant, Seq)>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cutoff {
    /// Whether a record is older, which was accepted at that time by the clock of then.
    pub(super) fn is_older(&self, seq: Seq, accepted: UnixMillis) -> bool {
        seq < self.before || seq < self.first && self.accepted.is_some_and(|cutoff| accepted < cutoff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn ages_within_a_run_ignore_the_wall_clock() {
        let (ages, start) = (Ages::new(Machine::system(), Seq(10)), Instant::now());
        ages.mark(start + HOUR, Seq(20));
        ages.mark(start + 2 * HOUR, Seq(30));
        let cutoff = |after| ages.cutoff(HOUR, start + after);
        let long_ago = UnixMillis(0);
        let older = |cutoff: Cutoff| (0..40).filter(|seq| cutoff.is_older(Seq(*seq), long_ago)).count();
        assert_eq!([0, 1, 2, 3].map(|hours| older(cutoff(hours * HOUR))), [0, 10, 20, 30]);
    }

    #[tokio::test(start_paused = true)]
    async fn stamps_of_earlier_runs_count_once_the_time_is_known() {
        let machine = Machine::system();
        let (ages, now) = (Ages::new(machine.clone(), Seq(10)), Instant::now());
        let old = machine.now().minus(2 * HOUR);
        assert!(!ages.cutoff(HOUR, now).is_older(Seq(9), old), "the clock may be wrong");
        machine.learn_time(machine.now());
        assert!(ages.cutoff(HOUR, now).is_older(Seq(9), old));
        assert!(!ages.cutoff(HOUR, now).is_older(Seq(9), machine.now()));
        assert!(!ages.cutoff(HOUR, now).is_older(Seq(10), old), "this run's were just accepted");
    }
}
