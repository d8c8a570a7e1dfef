//! Which records of the journal items came from, so that these are acknowledged when the last of the items is settled.

use super::budget::Reservation;
use crate::journal::{AckGuard, Seq};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where a chunk is in the journal, and the room that it takes there.
#[derive(Debug)]
pub struct Receipt {
    /// The record.
    pub seq: Seq,
    /// Given back when the record is acknowledged.
    pub room: Reservation,
}

/// Takes note of records that are no longer needed. Does not block.
pub trait Acknowledge: fmt::Debug + Send + Sync {
    /// These will not be asked for again. `guard` is dropped when that is written down.
    fn acknowledge(&self, seqs: &[Seq], guard: Option<AckGuard>);
}

/// The records that a batch was made of. All payloads made of the batch share one.
#[derive(Debug)]
pub struct Cover {
    receipts: Mutex<Vec<Receipt>>,
    items: u64,
    left: AtomicU64,
    journal: Arc<dyn Acknowledge>,
}

impl Cover {
    /// The cover of so many items.
    pub fn new(receipts: Vec<Receipt>, items: u64, journal: Arc<dyn Acknowledge>) -> Self {
        Self { receipts: Mutex::new(receipts), items, left: AtomicU64::new(items), journal }
    }

    /// So many of the items have come to their end: delivered, dead-lettered or dropped, and counted as such. `guard` is
    /// dropped when the journal has written down what follows from that: for the last of the items, that the records are
    /// not needed any more; for others nothing.
    pub fn settle(&self, items: u64, guard: Option<AckGuard>) {
        if self.left.fetch_sub(items, Ordering::AcqRel) != items {
            return;
        }
        let receipts = std::mem::take(&mut *self.lock());
        let seqs: Vec<Seq> = receipts.iter().map(|receipt| receipt.seq).collect();
        self.journal.acknowledge(&seqs, guard);
    }

    /// Whether none of the items is settled: the journal's records are exactly what is left to do.
    pub fn is_whole(&self) -> bool {
        self.left.load(Ordering::Acquire) == self.items
    }

    /// The records, while any of the items is not settled.
    pub fn seqs(&self) -> Vec<Seq> {
        self.lock().iter().map(|receipt| receipt.seq).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Receipt>> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::budget::Budget;
    use super::*;

    /// Remembers what was acknowledged.
    #[derive(Debug, Default)]
    pub(crate) struct Acknowledged(Mutex<Vec<Seq>>);

    impl Acknowledge for Acknowledged {
        fn acknowledge(&self, seqs: &[Seq], _: Option<AckGuard>) {
            self.0.lock().unwrap().extend(seqs);
        }
    }

    impl Acknowledged {
        pub(crate) fn seqs(&self) -> Vec<u64> {
            self.0.lock().unwrap().iter().map(|seq| seq.0).collect()
        }
    }

    #[test]
    fn records_are_acknowledged_and_their_room_given_back_with_the_last_item() {
        let (budget, journal) = (Budget::new(1000), Arc::new(Acknowledged::default()));
        let receipt = |seq| Receipt { seq: Seq(seq), room: budget.reserve(&Arc::default(), 100).unwrap() };
        let cover = Cover::new(vec![receipt(3), receipt(7)], 5, journal.clone());
        assert!(cover.is_whole());
        cover.settle(2, None);
        assert!(!cover.is_whole());
        assert_eq!((journal.seqs(), cover.seqs().len(), budget.used()), (vec![], 2, 200));
        cover.settle(3, None);
        assert_eq!((journal.seqs(), cover.seqs().len(), budget.used()), (vec![3, 7], 0, 0));
    }
}
