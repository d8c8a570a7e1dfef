//! Conservation of items: accepted = delivered + queued + dead-lettered + dropped, per tenant and kind.
//!
//! One [`Account`] holds the five figures behind one lock, each transition is one call on it, and a reader takes all
//! figures at once: the identity holds whenever it is read. `queued` is counted by the transitions, not derived from
//! the others, so that it can be compared with what the queue really holds.

pub(crate) mod metrics;

use crate::types::{Kind, TenantId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Why items were dropped on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropReason {
    /// Older than Datadog keeps, and `delivery.drop_late` is on.
    Expired,
    /// The oldest of a full queue, with `when_full = "drop_oldest"`.
    Evicted,
    /// The operator purged them, or their tenant was removed.
    Purged,
    /// The disk returned something other than was written.
    Damaged,
    /// The tenant's part of a request that others share: no quota, no rate, or no such tenant. Dropped as it is accepted.
    Refused,
}

impl DropReason {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [Self; 5] = [Self::Expired, Self::Evicted, Self::Purged, Self::Damaged, Self::Refused];

    /// The name used as a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Purged => "purged",
            Self::Damaged => "damaged",
            Self::Refused => "refused",
        }
    }
}

/// The figures of one tenant and kind at one instant, in items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Taken into the queue.
    pub accepted: u64,
    /// Confirmed by Datadog.
    pub delivered: u64,
    /// In the queue or in flight.
    pub queued: u64,
    /// Refused by Datadog and kept on disk.
    pub dead_lettered: u64,
    /// Dropped, by [`DropReason`] in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Delivered although older than Datadog keeps; part of `delivered`.
    pub late: u64,
}

impl Balance {
    /// Whether every accepted item is accounted for.
    pub fn balances(&self) -> bool {
        self.accepted == self.delivered + self.queued + self.dead_lettered + self.dropped.iter().sum::<u64>()
    }

    /// Adds another account's figures.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.queued += other.queued;
        self.dead_lettered += other.dead_lettered;
        for (mine, theirs) in self.dropped.iter_mut().zip(other.dropped) {
            *mine += theirs;
        }
        self.late += other.late;
    }
}

/// The account of one tenant and kind. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Account(Arc<Mutex<Balance>>);

impl Account {
    /// Items entered the queue.
    pub fn accept(&self, items: u64) {
        self.change(|b| {
            b.accepted += items;
            b.queued += items;
        });
    }

    /// Datadog took items, of which `late` were older than it keeps.
    pub fn deliver(&self, items: u64, late: u64) {
        self.change(|b| {
            b.queued -= items;
            b.delivered += items;
            b.late += late;
        });
    }

    /// Datadog refused items and they are on disk.
    pub fn dead_letter(&self, items: u64) {
        self.change(|b| {
            b.queued -= items;
            b.dead_lettered += items;
        });
    }

    /// Items were dropped.
    pub fn drop_items(&self, items: u64, reason: DropReason) {
        self.change(|b| {
            b.queued -= items;
            b.dropped[reason as usize] += items;
        });
    }

    /// Items were accepted with others' and dropped at once.
    pub fn refuse(&self, items: u64) {
        self.change(|b| {
            b.accepted += items;
            b.dropped[DropReason::Refused as usize] += items;
        });
    }

    /// Items were accepted with others and put on disk at once, as Datadog would refuse them.
    pub fn set_aside(&self, items: u64) {
        self.change(|b| {
            b.accepted += items;
            b.dead_lettered += items;
        });
    }

    /// All figures at one instant.
    pub fn read(&self) -> Balance {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, f: impl FnOnce(&mut Balance)) {
        let mut balance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f(&mut balance);
        debug_assert!(balance.balances(), "{balance:?}");
    }
}

/// The accounts of all tenants and kinds.
#[derive(Debug, Default)]
pub struct Ledger {
    accounts: Mutex<BTreeMap<(TenantId, Kind), Account>>,
}

impl Ledger {
    /// The account of a tenant and kind, opened at first use.
    pub fn account(&self, tenant: &TenantId, kind: Kind) -> Account {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.entry((tenant.clone(), kind)).or_default().clone()
    }

    /// Every account with its figures, ordered by tenant and kind.
    pub fn read(&self) -> Vec<(TenantId, Kind, Balance)> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.iter().map(|((tenant, kind), account)| (tenant.clone(), *kind, account.read())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transition_keeps_the_identity() {
        let ledger = Ledger::default();
        let tenant = TenantId::new("a").unwrap();
        let account = ledger.account(&tenant, Kind::Logs);
        account.accept(10);
        account.deliver(4, 1);
        account.dead_letter(1);
        account.drop_items(2, DropReason::Expired);
        let all = ledger.read();
        assert_eq!(all.len(), 1);
        let balance = all[0].2;
        assert!(balance.balances());
        assert_eq!((balance.queued, balance.delivered, balance.late, balance.dead_lettered), (3, 4, 1, 1));
        assert_eq!(balance.dropped, [2, 0, 0, 0, 0]);
    }
}
