//! The requests in flight, and the end of taking them: applications that end at the same time as the daemon still get their
//! last telemetry in.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

#[derive(Debug)]
pub(super) struct Visits {
    start: Instant,
    in_flight: AtomicUsize,
    /// When the last request came or went, in milliseconds after `start`.
    last: AtomicU64,
    closing: AtomicBool,
    closed: AtomicBool,
    left: Notify,
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Visit<'a>(&'a Visits);

impl Default for Visits {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            in_flight: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            left: Notify::new(),
        }
    }
}

impl Visits {
    /// Takes a request in, unless no more are taken.
    pub(super) fn enter(&self) -> Option<Visit<'_>> {
        // Counted first, so that whoever closes either is seen here or sees this.
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let visit = Visit(self);
        (!self.closed.load(Ordering::SeqCst)).then_some(visit)
    }

    pub(super) fn begin_to_close(&self) {
        self.touch();
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    pub(super) async fn close_when_quiet(&self, quiet: Duration, most: Duration) {
        let wait = async {
            while let Some(rest) = quiet.checked_sub(self.quiet_for()).filter(|rest| !rest.is_zero()) {
                sleep(rest.max(Duration::from_millis(1))).await;
            }
        };
        // Whichever comes first.
        let _ = timeout(most, wait).await;
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(super) async fn answered(&self) {
        loop {
            let left = self.left.notified();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            left.await;
        }
    }

    fn quiet_for(&self) -> Duration {
        if self.in_flight.load(Ordering::SeqCst) > 0 {
            return Duration::ZERO;
        }
        self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }

    fn touch(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.0.touch();
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_are_taken_until_none_has_come_for_a_while() {
        let visits = Visits::default();
        let (quiet, most) = (Duration::from_secs(1), Duration::from_secs(10));
        visits.begin_to_close();
        let begun = Instant::now();
        let requests = async {
            for _ in 0..5 {
                sleep(Duration::from_millis(800)).await;
                drop(visits.enter().unwrap());
            }
        };
        tokio::join!(visits.close_when_quiet(quiet, most), requests);
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
        assert!(visits.enter().is_none());
        visits.answered().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_stream_of_requests_does_not_hold_up_the_end() {
        let visits = Visits::default();
        let begun = Instant::now();
        let slow = visits.enter().unwrap();
        visits.close_when_quiet(Duration::from_secs(1), Duration::from_secs(10)).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
        assert!(timeout(Duration::from_secs(1), visits.answered()).await.is_err());
        drop(slow);
        visits.answered().await;
    }
}
