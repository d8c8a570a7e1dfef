//! Which records of the journal items came from, so that these are acknowledged when the last of the items is finalized:
//! delivered, dead-lettered or dropped.

use super::budget::Reservation;
use crate::journal::{AckGuard, Seq};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A chunk's record in the journal, and the room that it takes there.
#[derive(Debug)]
pub struct Receipt {
    /// The record's sequence number.
    pub seq: Seq,
    /// Bytes on disk; given back when the record is acknowledged.
    pub room: Reservation,
}

/// Takes acknowledgements of records. Does not block.
pub trait Acknowledge: fmt::Debug + Send + Sync {
    /// The records are not needed any more. `guard` is dropped when that is written.
    fn acknowledge(&self, seqs: &[Seq], guard: Option<AckGuard>);
}

/// Acknowledges the records that a batch was made of, once. All payloads made of the batch share one.
#[derive(Debug)]
pub struct Finalizer {
    receipts: Mutex<Vec<Receipt>>,
    items: u64,
    left: AtomicU64,
    journal: Arc<dyn Acknowledge>,
}

impl Finalizer {
    /// A finalizer for the `items` of these records.
    pub fn new(receipts: Vec<Receipt>, items: u64, journal: Arc<dyn Acknowledge>) -> Self {
        Self { receipts: Mutex::new(receipts), items, left: AtomicU64::new(items), journal }
    }

    /// Notes that `items` more are finalized, and counted as such. `guard` is dropped when the journal has written what
    /// follows from that: the acknowledgement after the last of the items, nothing after others.
    pub fn finalize(&self, items: u64, guard: Option<AckGuard>) {
        if self.left.fetch_sub(items, Ordering::AcqRel) != items {
            return;
        }
        let receipts = std::mem::take(&mut *self.lock());
        let seqs: Vec<Seq> = receipts.iter().map(|receipt| receipt.seq).collect();
        self.journal.acknowledge(&seqs, guard);
    }

    /// Whether no item is finalized: the journal's records hold exactly the items that are left.
    pub fn is_whole(&self) -> bool {
        self.left.load(Ordering::Acquire) == self.items
    }

    /// The records, until the last item is finalized.
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
    fn the_last_item_acknowledges_records_and_frees_room() {
        let (budget, journal) = (Budget::new(1000), Arc::new(Acknowledged::default()));
        let receipt = |seq| Receipt { seq: Seq(seq), room: budget.reserve(&Arc::default(), 100).unwrap() };
        let finalizer = Finalizer::new(vec![receipt(3), receipt(7)], 5, journal.clone());
        assert!(finalizer.is_whole());
        finalizer.finalize(2, None);
        assert!(!finalizer.is_whole());
        assert_eq!((journal.seqs(), finalizer.seqs().len(), budget.used()), (vec![], 2, 200));
        finalizer.finalize(3, None);
        assert_eq!((journal.seqs(), finalizer.seqs().len(), budget.used()), (vec![3, 7], 0, 0));
    }
}
