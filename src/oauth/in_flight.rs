//! Counts operations that must not be interrupted, so that the daemon's shutdown can wait for them.

use std::sync::Arc;
use tokio::sync::watch;

/// Counts the operations in flight.
#[derive(Debug, Default)]
pub(super) struct InFlight(Arc<watch::Sender<Now>>);

#[derive(Debug, Default)]
struct Now {
    count: usize,
    ending: bool,
}

/// An operation is in flight as long as this lives.
#[derive(Debug)]
pub(super) struct InFlightGuard(Arc<watch::Sender<Now>>);

impl InFlight {
    /// Begins an operation; `None` after [`end`](Self::end).
    pub fn begin(&self) -> Option<InFlightGuard> {
        let may = self.0.send_if_modified(|now| {
            now.count += usize::from(!now.ending);
            !now.ending
        });
        may.then(|| InFlightGuard(Arc::clone(&self.0)))
    }

    /// Refuses new operations, and waits until none is in flight.
    pub async fn end(&self) {
        self.0.send_modify(|now| now.ending = true);
        // An error means that the sender is gone, which is not so.
        let _ = self.0.subscribe().wait_for(|now| now.count == 0).await;
    }

    /// Waits until [`end`](Self::end) was called and nothing is in flight any more.
    pub async fn ended(&self) {
        let _ = self.0.subscribe().wait_for(|now| now.ending && now.count == 0).await;
    }

    /// The number of operations in flight.
    pub fn count(&self) -> usize {
        self.0.borrow().count
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.send_modify(|now| now.count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_and_begins_nothing() {
        let in_flight = InFlight::default();
        let (one, two) = (in_flight.begin(), in_flight.begin());
        assert_eq!(in_flight.count(), 2);
        drop(one);
        let second = Duration::from_secs(1);
        assert!(tokio::time::timeout(second, in_flight.end()).await.is_err());
        assert!(in_flight.begin().is_none());
        assert_eq!(in_flight.count(), 1);
        assert!(tokio::time::timeout(second, in_flight.ended()).await.is_err());
        drop(two);
        tokio::time::timeout(second, in_flight.end()).await.unwrap();
        tokio::time::timeout(second, in_flight.ended()).await.unwrap();
        assert!(in_flight.begin().is_none());
    }
}
