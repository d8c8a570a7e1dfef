//! How much of the memory and of the disk each tenant's items may take.
//!
//! The rule is that of shared switch buffers (Choudhury and Hahne, "Dynamic queue length thresholds", 1998): a tenant
//! may hold as much as is still free. One stuck tenant can thus take half of the memory, two a third each, and there
//! is always something left for those that flow; no figure needs tuning to the number of tenants.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Room for queued items, in bytes, shared by all tenants.
#[derive(Debug)]
pub struct Budget {
    limit: AtomicUsize,
    used: AtomicUsize,
}

/// One tenant's part of a [`Budget`].
#[derive(Debug, Default)]
pub struct Share(AtomicUsize);

/// Bytes held of a budget; given back on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    share: Arc<Share>,
    bytes: usize,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit: AtomicUsize::new(limit), used: AtomicUsize::new(0) })
    }

    /// Changes the limit; reservations beyond it stay.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Bytes held by all tenants.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Reserves `bytes` for a tenant, or nothing when its share would become larger than what is free.
    pub fn reserve(self: &Arc<Self>, share: &Arc<Share>, bytes: usize) -> Option<Reservation> {
        self.reserve_within(share, bytes, usize::MAX)
    }

    /// Like [`reserve`](Self::reserve), or nothing when the tenant's share would become larger than `most`.
    pub fn reserve_within(self: &Arc<Self>, share: &Arc<Share>, bytes: usize, most: usize) -> Option<Reservation> {
        if share.0.load(Ordering::Relaxed).saturating_add(bytes) > most {
            return None;
        }
        let fits = |used: usize| {
            let free = self.limit().saturating_sub(used);
            (share.0.load(Ordering::Relaxed) + bytes <= free).then_some(used + bytes)
        };
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        share.0.fetch_add(bytes, Ordering::Relaxed);
        Some(Reservation { budget: self.clone(), share: share.clone(), bytes })
    }

    /// Whether more than half is used.
    pub fn is_short(&self) -> bool {
        self.used() > self.limit() / 2
    }

    /// Whether [`reserve`](Self::reserve) would grant `bytes`.
    pub fn fits(&self, share: &Share, bytes: usize) -> bool {
        share.used() + bytes <= self.limit().saturating_sub(self.used())
    }

    /// Reserves `bytes` for a tenant whatever is free: for data that exists already.
    pub fn grant(self: &Arc<Self>, share: &Arc<Share>, bytes: usize) -> Reservation {
        let mut granted = Reservation { budget: self.clone(), share: share.clone(), bytes: 0 };
        granted.resize(bytes);
        granted
    }
}

impl Share {
    /// Bytes that the tenant holds.
    pub fn used(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Reservation {
    /// Changes the reservation to the data's new size; growth is granted, since the data exists already.
    pub fn resize(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.budget.used.fetch_add(bytes - self.bytes, Ordering::Relaxed);
            self.share.0.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            self.budget.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
            self.share.0.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }

    /// A further reservation of the same tenant, granted as [`resize`](Self::resize) grants.
    pub fn another(&self, bytes: usize) -> Self {
        self.budget.grant(&self.share, bytes)
    }

    /// Splits off `bytes`, or as many as there are.
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { budget: self.budget.clone(), share: self.share.clone(), bytes }
    }

    /// Merges another reservation of the same tenant into this one.
    pub fn join(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.budget, &other.budget) && Arc::ptr_eq(&self.share, &other.share));
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// The bytes reserved.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stuck_tenant_leaves_half_to_the_others() {
        let budget = Budget::new(1000);
        let (stuck, other) = (Arc::new(Share::default()), Arc::new(Share::default()));
        let held: Vec<_> = std::iter::from_fn(|| budget.reserve(&stuck, 10)).collect();
        assert_eq!((held.len(), stuck.used()), (50, 500));
        assert!(budget.reserve(&other, 200).is_some());
        drop(held);
        assert_eq!((budget.used(), stuck.used()), (0, 0));
    }

    #[test]
    fn a_reservation_follows_its_data() {
        let budget = Budget::new(1000);
        let share = Arc::new(Share::default());
        let mut held = budget.reserve(&share, 400).unwrap();
        held.resize(40);
        let more = held.another(60);
        assert_eq!((budget.used(), share.used()), (100, 100));
        let part = held.split(50);
        assert_eq!((held.bytes(), part.bytes(), budget.used()), (0, 40, 100));
        held.join(part);
        assert!(budget.reserve_within(&share, 1, 100).is_none());
        drop((held, more));
        assert_eq!((budget.used(), share.used()), (0, 0));
    }
}
