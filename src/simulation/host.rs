//! Chance and time of a simulated process. Of one thread, on which everything of a simulation runs.

use crate::types::UnixMillis;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::cell::RefCell;
use std::time::Duration;
use tokio::time::Instant;

/// The wall clock at the beginning, in milliseconds after the epoch.
pub(super) const EPOCH: i64 = 1_800_000_000_000;

struct Host {
    rng: StdRng,
    start: Instant,
}

thread_local! {
    static HOST: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// From here on this thread is simulated, until the value is dropped.
pub(crate) struct Simulated;

impl Simulated {
    pub(crate) fn begin(seed: u64) -> Self {
        let host = Host { rng: StdRng::seed_from_u64(seed), start: Instant::now() };
        HOST.with_borrow_mut(|slot| assert!(slot.replace(host).is_none()));
        Self
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        HOST.set(None);
    }
}

fn with<T>(then: impl FnOnce(&mut Host) -> T) -> Option<T> {
    HOST.with_borrow_mut(|host| host.as_mut().map(then))
}

pub(crate) fn is_simulated() -> bool {
    with(|_| ()).is_some()
}

pub(crate) fn chance() -> Option<f64> {
    with(|host| host.rng.random())
}

/// Time since the beginning.
pub(crate) fn elapsed() -> Duration {
    with(|host| host.start.elapsed()).unwrap_or_default()
}

pub(crate) fn now() -> Option<UnixMillis> {
    with(|host| UnixMillis(EPOCH + host.start.elapsed().as_millis() as i64))
}

/// Lets some time pass, at most so much.
pub(crate) async fn pass_time(most: Duration) {
    tokio::time::sleep(most.mul_f64(chance().unwrap_or_default())).await;
}
