//! What must not be cut off in the middle is counted, so that the end of the daemon can wait for it.

use std::sync::Arc;
use tokio::sync::watch;

/// Counts what is under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Arc<watch::Sender<Now>>);

#[derive(Debug, Default)]
struct Now {
    count: usize,
    ending: bool,
}

/// Something is under way as long as this lives.
#[derive(Debug)]
pub(super) struct Place(Arc<watch::Sender<Now>>);

impl UnderWay {
    /// Takes a place; there is none any more after [`end`](Self::end).
    pub fn begin(&self) -> Option<Place> {
        let may = self.0.send_if_modified(|now| {
            now.count += usize::from(!now.ending);
            !now.ending
        });
        may.then(|| Place(Arc::clone(&self.0)))
    }

    /// Gives no place any more, and waits until none is taken.
    pub async fn end(&self) {
        self.0.send_modify(|now| now.ending = true);
        // An error means that the sender is gone, which is not so.
        let _ = self.0.subscribe().wait_for(|now| now.count == 0).await;
    }

    /// Waits until somebody has waited for the [`end`](Self::end), and nothing is under way any more.
    pub async fn ended(&self) {
        let _ = self.0.subscribe().wait_for(|now| now.ending && now.count == 0).await;
    }

    /// How many things are under way.
    pub fn count(&self) -> usize {
        self.0.borrow().count
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.send_modify(|now| now.count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_what_is_under_way_and_nothing_begins_after_it() {
        let under_way = UnderWay::default();
        let (one, two) = (under_way.begin(), under_way.begin());
        assert_eq!(under_way.count(), 2);
        drop(one);
        let second = Duration::from_secs(1);
        assert!(tokio::time::timeout(second, under_way.end()).await.is_err());
        assert!(under_way.begin().is_none());
        assert_eq!(under_way.count(), 1);
        assert!(tokio::time::timeout(second, under_way.ended()).await.is_err());
        drop(two);
        tokio::time::timeout(second, under_way.end()).await.unwrap();
        tokio::time::timeout(second, under_way.ended()).await.unwrap();
        assert!(under_way.begin().is_none());
    }
}
