//! A bound on the memory that all request bodies take together.
//!
//! Each body is bounded by itself, but thousands of slow ones at once would still add up. Bytes are reserved before
//! they are kept, and a request that finds none left is told to come again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that request bodies may still take.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicUsize,
}

/// Nothing is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exhausted;

/// The bytes that one request holds; given back on drop.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// A budget for bodies of at most `max_body` bytes each: four of the largest at once, or 64 MiB where those are
    /// small.
    pub(super) fn for_bodies_of(max_body: usize) -> Arc<Self> {
        Self::new(max_body.saturating_mul(4).max(64 << 20))
    }

    pub(super) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(bytes) })
    }

    /// A reservation of nothing yet.
    pub(super) fn hold(self: &Arc<Self>) -> Reservation {
        Reservation { budget: Arc::clone(self), bytes: 0 }
    }

    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }
}

impl Reservation {
    /// Reserves more.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let take = |left: usize| left.checked_sub(bytes);
        self.budget.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map_err(|_| Exhausted)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives some back.
    pub(super) fn release(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.left.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many bytes are held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_comes_back_on_drop_and_no_more_than_there_is_can_be_taken() {
        let budget = Budget::new(100);
        let mut one = budget.hold();
        let mut two = budget.hold();
        one.grow(60).unwrap();
        assert_eq!(two.grow(41), Err(Exhausted));
        two.grow(40).unwrap();
        one.release(10);
        assert_eq!((budget.left(), one.bytes()), (10, 50));
        drop(one);
        assert_eq!(budget.left(), 60);
        drop(two);
        assert_eq!(budget.left(), 100);
    }
}
