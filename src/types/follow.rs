//! The fate of the items of one request, for a sender that asked to follow them.

use std::sync::Arc;
use tokio::sync::watch;

/// Follows the items of one request from acceptance to their end. Cheap to clone.
///
/// Followed items are not batched with others, so that the fate of their payload is exactly theirs.
#[derive(Debug, Clone)]
pub struct Follow(Arc<watch::Sender<Fate>>);

/// The fate of followed items so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fate {
    /// Items in the queue or in flight.
    pub queued: u64,
    /// Items that Datadog has confirmed.
    pub delivered: u64,
    /// Items that Datadog refused for good and that are kept on disk.
    pub dead_lettered: u64,
    /// Items that were dropped, see [`crate::ledger::DropReason`].
    pub dropped: u64,
    /// Submissions that carried any of them.
    pub attempts: u64,
    /// The outcome of the last submission, in Datadog's words or those of the network.
    pub words: String,
}

impl Follow {
    /// Follows a number of items, all queued.
    pub fn new(items: u64) -> Self {
        Self(Arc::new(watch::Sender::new(Fate { queued: items, ..Fate::default() })))
    }

    /// Datadog took items.
    pub fn delivered(&self, items: u32) {
        self.settle(items, |fate, items| fate.delivered += items);
    }

    /// Items are dead letters.
    pub fn dead_lettered(&self, items: u32) {
        self.settle(items, |fate, items| fate.dead_lettered += items);
    }

    /// Items were dropped.
    pub fn dropped(&self, items: u32) {
        self.settle(items, |fate, items| fate.dropped += items);
    }

    /// Notes the outcome of a submission.
    pub fn attempted(&self, words: impl Into<String>) {
        self.0.send_modify(|fate| {
            fate.attempts += 1;
            fate.words = words.into();
        });
    }

    /// The fate of the items so far.
    pub fn fate(&self) -> Fate {
        self.0.borrow().clone()
    }

    /// Waits until none of the items is queued.
    pub async fn settled(&self) -> Fate {
        let mut fates = self.0.subscribe();
        match fates.wait_for(Fate::is_settled).await {
            Ok(fate) => fate.clone(),
            // The sender is `self`.
            Err(_) => self.fate(),
        }
    }

    fn settle(&self, items: u32, count: impl FnOnce(&mut Fate, u64)) {
        self.0.send_modify(|fate| {
            fate.queued = fate.queued.saturating_sub(items.into());
            count(fate, items.into());
        });
    }
}

impl Fate {
    /// Whether the fate of all items is decided.
    pub fn is_settled(&self) -> bool {
        self.queued == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_settled_when_the_last_item_is() {
        let follow = Follow::new(3);
        let other = follow.clone();
        let waiting = tokio::spawn(async move { other.settled().await });
        follow.attempted("503 Service Unavailable");
        follow.attempted("202 Accepted");
        follow.delivered(2);
        assert!(!follow.fate().is_settled());
        follow.dead_lettered(1);
        let fate = waiting.await.unwrap();
        assert_eq!((fate.delivered, fate.dead_lettered, fate.queued, fate.attempts), (2, 1, 0, 2));
        assert_eq!(fate.words, "202 Accepted");
    }
}
