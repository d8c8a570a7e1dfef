//! A bound on the memory that all requests take together while they are read, fairly shared.
//!
//! Each body is bounded by itself, but thousands of slow ones at once would still add up. Bytes are reserved before they are kept.
//! Nobody may have more than half of what is free, so that there is always room for others; a part is kept for small
//! requests; and where there is no room, a request waits for a moment before it is told to come again.

use crate::ingest::accept::Sender;
use crate::serve::Peer;
use crate::tenancy::Caller;
use crate::types::TenantId;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// A request that holds no more than this is small.
const SMALL: usize = 64 << 10;

/// One of so many parts is kept for small requests.
const SMALL_SHARE: usize = 8;

/// How long a request waits for room in all.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes that requests may still take.
#[derive(Debug)]
pub(super) struct Budget {
    total: usize,
    inner: Mutex<Inner>,
    freed: Notify,
}

#[derive(Debug)]
struct Inner {
    left: usize,
    shares: HashMap<Owner, usize>,
}

/// Whose memory it is: the tenant's, or as long as that is not known, the peer's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    Tenant(TenantId),
    Peer(IpAddr),
    /// All processes that send over Unix sockets.
    Local,
}

impl Owner {
    /// Whose share of the memory a request is read into.
    pub(super) fn of(sender: &Sender, peer: Peer) -> Self {
        match (sender.caller(), peer) {
            (Caller::Tenant { tenant, .. }, _) => Self::Tenant(tenant.id.clone()),
            (Caller::Items { .. }, Peer::Ip(address)) => Self::Peer(address),
            (Caller::Items { .. }, Peer::Unix { .. }) => Self::Local,
        }
    }
}

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exhausted;

/// The bytes that one request holds; given back on drop.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<Budget>,
    owner: Owner,
    bytes: usize,
    /// Until when it waits for room, once it has begun to.
    patience: Option<Instant>,
}

impl Budget {
    /// A budget for bodies of at most `max_body` bytes each: five of the largest at once, or 64 MiB where those are small. One
    /// of the largest and what it is decoded from are less than half of what large requests may take.
    pub(super) fn for_bodies_of(max_body: usize) -> Arc<Self> {
        Self::new(max_body.saturating_mul(5).max(64 << 20))
    }

    pub(super) fn new(bytes: usize) -> Arc<Self> {
        let inner = Inner { left: bytes, shares: HashMap::new() };
        Arc::new(Self { total: bytes, inner: Mutex::new(inner), freed: Notify::new() })
    }

    /// A reservation of nothing yet.
    pub(super) fn hold(self: &Arc<Self>, owner: Owner) -> Reservation {
        Reservation { budget: Arc::clone(self), owner, bytes: 0, patience: None }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        self.lock().left
    }
}

impl Reservation {
    /// Reserves more, if there is room now.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let mut inner = self.budget.lock();
        let is_small = self.bytes + bytes <= SMALL;
        let kept = if is_small { 0 } else { self.budget.total / SMALL_SHARE };
        let free = inner.left.saturating_sub(kept);
        let share = inner.shares.get(&self.owner).copied().unwrap_or(0);
        // Half of what would be free without this owner.
        if bytes > free || share + bytes > (free + share) / 2 {
            return Err(Exhausted);
        }
        inner.left -= bytes;
        if bytes > 0 {
            *inner.shares.entry(self.owner.clone()).or_insert(0) += bytes;
        }
        drop(inner);
        self.bytes += bytes;
        Ok(())
    }

    /// Reserves more, and waits for room for a moment; gives how long that took.
    pub(super) async fn wait_to_grow(&mut self, bytes: usize) -> Result<Duration, Exhausted> {
        if self.grow(bytes).is_ok() {
            return Ok(Duration::ZERO);
        }
        let begun = Instant::now();
        let until = *self.patience.get_or_insert(begun + PATIENCE);
        let budget = self.budget.clone();
        loop {
            // Before looking, so that what is freed in between is not missed.
            let freed = budget.freed.notified();
            if self.grow(bytes).is_ok() {
                return Ok(begun.elapsed());
            }
            timeout_at(until, freed).await.map_err(|_| Exhausted)?;
        }
    }

    /// Gives some back.
    pub(super) fn release(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        if bytes == 0 {
            return;
        }
        self.bytes -= bytes;
        let mut inner = self.budget.lock();
        inner.left += bytes;
        if let Some(share) = inner.shares.get_mut(&self.owner) {
            *share = share.saturating_sub(bytes);
            if *share == 0 {
                inner.shares.remove(&self.owner);
            }
        }
        drop(inner);
        self.budget.freed.notify_waiters();
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

    const MIB: usize = 1 << 20;

    fn tenant(id: &str) -> Owner {
        Owner::Tenant(TenantId::new(id).unwrap())
    }

    #[test]
    fn reserved_bytes_come_back_on_drop() {
        let budget = Budget::new(80 * MIB);
        let mut one = budget.hold(tenant("a"));
        one.grow(30 * MIB).unwrap();
        one.release(10 * MIB);
        assert_eq!((budget.left(), one.bytes()), (60 * MIB, 20 * MIB));
        drop(one);
        assert_eq!(budget.left(), 80 * MIB);
        assert!(budget.lock().shares.is_empty());
    }

    #[test]
    fn nobody_has_more_than_half_of_what_is_free() {
        let budget = Budget::new(80 * MIB);
        let (mut a, mut more) = (budget.hold(tenant("a")), budget.hold(tenant("a")));
        a.grow(20 * MIB).unwrap();
        more.grow(15 * MIB).unwrap();
        assert_eq!(more.grow(MIB), Err(Exhausted), "a tenth is kept for small requests");
        let mut b = budget.hold(tenant("b"));
        b.grow(17 * MIB).unwrap();
        assert_eq!(b.grow(MIB), Err(Exhausted));
        let mut c = budget.hold(Owner::Local);
        c.grow(8 * MIB).unwrap();
        drop(a);
        b.grow(MIB).unwrap();
    }

    #[test]
    fn small_requests_find_room_when_large_ones_do_not() {
        let budget = Budget::new(16 * MIB);
        let all: Vec<_> = (0..30)
            .map(|id| {
                let mut hold = budget.hold(tenant(&id.to_string()));
                while hold.grow(MIB / 8).is_ok() {}
                hold
            })
            .collect();
        assert_eq!(budget.hold(tenant("large")).grow(2 * SMALL), Err(Exhausted));
        let mut small = budget.hold(tenant("small"));
        small.grow(SMALL).unwrap();
        drop(all);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_a_moment_for_room() {
        let budget = Budget::new(8 * MIB);
        let mut first = budget.hold(Owner::Local);
        first.grow(3 * MIB).unwrap();
        let mut second = budget.hold(Owner::Local);
        let begun = Instant::now();
        assert_eq!(second.wait_to_grow(3 * MIB).await, Err(Exhausted));
        assert_eq!(begun.elapsed(), PATIENCE);
        let mut third = budget.hold(Owner::Local);
        let free = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(first);
        };
        let (waited, ()) = tokio::join!(third.wait_to_grow(3 * MIB), free);
        assert_eq!(waited, Ok(Duration::from_millis(300)));
    }
}
