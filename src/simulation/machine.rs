//! Chance and time of a simulated process. Of one thread, on which everything of a simulation runs.

use crate::machine::{Blocking, Machine, Platform};
use crate::types::UnixMillis;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::cell::RefCell;
use std::time::Duration;
use tokio::time::Instant;

/// The wall clock at the beginning, in milliseconds after the epoch.
pub(super) const EPOCH: i64 = 1_800_000_000_000;

/// Work on the blocking pool takes up to this time.
const BLOCKING: Duration = Duration::from_millis(20);

struct State {
    rng: StdRng,
    start: Instant,
    /// The wall clock is wrong by so many milliseconds.
    step: i64,
}

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// From here on this thread is simulated, until the value is dropped.
pub(crate) struct Simulated;

impl Simulated {
    pub(crate) fn begin(seed: u64) -> Self {
        let state = State { rng: StdRng::seed_from_u64(seed), start: Instant::now(), step: 0 };
        STATE.with_borrow_mut(|slot| assert!(slot.replace(state).is_none()));
        Self
    }

    /// The machine to simulate on.
    pub(crate) fn machine() -> Machine {
        Machine::new(Virtual)
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        STATE.set(None);
    }
}

/// The machine of a simulated thread.
#[derive(Debug)]
struct Virtual;

impl Platform for Virtual {
    fn wall_clock(&self) -> UnixMillis {
        UnixMillis(now().0 + step())
    }

    fn chance(&self) -> f64 {
        chance()
    }

    fn cores(&self) -> usize {
        2
    }

    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) -> Blocking<'_> {
        Box::pin(async {
            pass_time(BLOCKING).await;
            work();
            Ok(())
        })
    }
}

fn with<T>(then: impl FnOnce(&mut State) -> T) -> Option<T> {
    STATE.with_borrow_mut(|state| state.as_mut().map(then))
}

pub(super) fn is_simulated() -> bool {
    with(|_| ()).is_some()
}

fn chance() -> f64 {
    with(|state| state.rng.random()).unwrap_or_default()
}

/// Time since the beginning.
pub(super) fn elapsed() -> Duration {
    with(|state| state.start.elapsed()).unwrap_or_default()
}

/// Has the wall clock wrong by so many milliseconds from now on.
pub(super) fn set_clock(step: i64) {
    with(|state| state.step = step);
}

fn step() -> i64 {
    with(|state| state.step).unwrap_or_default()
}

/// The right time.
pub(crate) fn now() -> UnixMillis {
    UnixMillis(EPOCH + elapsed().as_millis() as i64)
}

/// Lets some time pass, at most so much.
pub(super) async fn pass_time(most: Duration) {
    tokio::time::sleep(most.mul_f64(chance())).await;
}
