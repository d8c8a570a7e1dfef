//! The limits and quotas of each tenant, and how much of its rate it has used.
//!
//! A rate is a leaky bucket, kept as one number: the time at which everything taken so far will have drained. It
//! differs in two ways from the `governor` crate, which paces deliveries: a request larger than the bucket must not be
//! refused for ever, so it is taken when the bucket has any room, and later ones wait until it has drained; and a
//! request of several tenants that is refused for one must cost the others nothing, so charges can be given back.

use crate::settings::{Allowance, Limits, Overrides, Quota, Settings};
use crate::types::TenantId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::time::Instant;

/// The burst: what the rate allows in this time.
const BURST: Duration = Duration::from_secs(1);

/// The meters of all tenants.
#[derive(Debug)]
pub struct Meters {
    origin: Instant,
    inner: RwLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    default: Allowance,
    meters: HashMap<TenantId, Arc<Meter>>,
}

/// The limits of one tenant and its use of them. It lives as long as the daemon, however its tenant changes.
#[derive(Debug)]
pub struct Meter {
    origin: Instant,
    terms: RwLock<Terms>,
    items: Bucket,
    bytes: Bucket,
}

#[derive(Debug, Clone, Copy)]
struct Terms {
    own: Overrides,
    now: Allowance,
}

/// Nanoseconds after the origin at which everything taken has drained.
#[derive(Debug, Default)]
struct Bucket(AtomicU64);

/// A charge on a tenant's rate. It stands unless it is [given back](Self::give_back): when a sender disconnects, its
/// items may be on their way to the journal.
#[derive(Debug)]
pub struct Charge {
    meter: Arc<Meter>,
    items: u64,
    bytes: u64,
}

/// A tenant exceeds its rate. `Display` is the text for the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its limit is {most} {what} per second (limits.{key})")]
pub struct Exceeded {
    /// The key that sets the limit.
    pub key: &'static str,
    what: &'static str,
    most: u64,
    /// When to try again.
    pub retry_after: Duration,
}

impl Meters {
    /// Meters with the limits of the configuration.
    pub fn new(settings: &Settings) -> Self {
        let meters = Self::default();
        meters.configure(settings);
        meters
    }

    /// Sets the limits of all tenants and of those of the configuration file.
    pub fn configure(&self, settings: &Settings) {
        let default = settings.allowance();
        let mut inner = self.write();
        inner.default = default;
        for meter in inner.meters.values() {
            let mut terms = meter.write();
            terms.now = terms.own.over(default);
        }
        drop(inner);
        for (id, tenant) in &settings.tenants {
            self.set(id, tenant.own);
        }
    }

    /// Sets one tenant's own limits.
    pub fn set(&self, id: &TenantId, own: Overrides) {
        let meter = self.of(id);
        let default = self.read().default;
        *meter.write() = Terms { own, now: own.over(default) };
    }

    /// The meter of a tenant.
    pub fn of(&self, id: &TenantId) -> Arc<Meter> {
        if let Some(meter) = self.read().meters.get(id) {
            return meter.clone();
        }
        let mut inner = self.write();
        let now = inner.default;
        let new = || Meter {
            origin: self.origin,
            terms: RwLock::new(Terms { own: Overrides::default(), now }),
            items: Bucket::default(),
            bytes: Bucket::default(),
        };
        inner.meters.entry(id.clone()).or_insert_with(|| Arc::new(new())).clone()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Meters {
    /// No limits, and the default quota.
    fn default() -> Self {
        let inner = Inner { default: Allowance::default(), meters: HashMap::new() };
        Self { origin: Instant::now(), inner: RwLock::new(inner) }
    }
}

impl Meter {
    /// The tenant's quota in the queue.
    pub fn quota(&self) -> Quota {
        self.read().now.quota
    }

    /// Its limits.
    pub fn allowance(&self) -> Allowance {
        self.read().now
    }

    /// Those of its limits that are its own.
    pub fn overrides(&self) -> Overrides {
        self.read().own
    }

    /// Whether it has a rate limit.
    pub fn is_limited(&self) -> bool {
        self.read().now.limits != Limits::default()
    }

    /// Charges a request to the rate.
    ///
    /// # Errors
    /// When the rate is used up; nothing is charged then.
    pub fn charge(self: &Arc<Self>, items: u64, bytes: u64, now: Instant) -> Result<Charge, Exceeded> {
        let Limits { items_per_second, bytes_per_second } = self.read().now.limits;
        let now = nanos(now.saturating_duration_since(self.origin));
        let mut charge = Charge { meter: self.clone(), items: 0, bytes: 0 };
        let exceeded = |key, what, most| move |retry_after| Exceeded { key, what, most, retry_after };
        charge.items = self.items.take(items, items_per_second, now).map_err(exceeded(
            "items_per_second",
            "items",
            items_per_second,
        ))?;
        let most = bytes_per_second as u64;
        match self.bytes.take(bytes, most, now) {
            Ok(cost) => Ok(Charge { bytes: cost, ..charge }),
            Err(retry_after) => {
                charge.give_back();
                Err(exceeded("bytes_per_second", "bytes (uncompressed)", most)(retry_after))
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Terms> {
        self.terms.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Terms> {
        self.terms.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    /// Charges `units` at a rate, and returns the cost; or when there will be room.
    fn take(&self, units: u64, per_second: u64, now: u64) -> Result<u64, Duration> {
        if per_second == 0 {
            return Ok(0);
        }
        let second = nanos(Duration::from_secs(1));
        let cost = u128::from(units) * u128::from(second) / u128::from(per_second);
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        let take = |due: u64| {
            let from = due.max(now);
            (from - now < nanos(BURST)).then(|| from.saturating_add(cost))
        };
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(cost),
            Err(due) => Err(Duration::from_nanos(due - now - nanos(BURST) + 1)),
        }
    }

    fn give_back(&self, cost: u64) {
        if cost > 0 {
            let less = |due: u64| Some(due.saturating_sub(cost));
            // It always updates.
            let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }
}

impl Charge {
    /// Undoes the charge of a request that was refused.
    pub fn give_back(self) {
        self.meter.items.give_back(self.items);
        self.meter.bytes.give_back(self.bytes);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::OwnLimits;
    use proptest::prelude::*;

    fn meter(items_per_second: u64, bytes_per_second: usize) -> (Meters, Arc<Meter>) {
        let limits = Limits { items_per_second, bytes_per_second };
        let meters = Meters::new(&Settings { limits, ..Settings::default() });
        let meter = meters.of(&TenantId::new("a").unwrap());
        (meters, meter)
    }

    fn ms(meters: &Meters, ms: u64) -> Instant {
        meters.origin + Duration::from_millis(ms)
    }

    #[test]
    fn the_burst_is_one_second_of_rate() {
        let (meters, meter) = meter(10, 0);
        for _ in 0..10 {
            meter.charge(1, 1 << 40, ms(&meters, 5_000)).unwrap();
        }
        let exceeded = meter.charge(1, 1, ms(&meters, 5_000)).unwrap_err();
        assert_eq!((exceeded.key, exceeded.retry_after.as_millis()), ("items_per_second", 0));
        assert!(exceeded.retry_after > Duration::ZERO);
        assert!(meter.charge(1, 1, ms(&meters, 5_000) + exceeded.retry_after).is_ok());
    }

    #[test]
    fn an_oversized_request_delays_later_ones() {
        let (meters, meter) = meter(0, 1_000);
        meter.charge(1, 60_000, ms(&meters, 0)).unwrap();
        let exceeded = meter.charge(1, 1, ms(&meters, 1_000)).unwrap_err();
        assert_eq!((exceeded.key, exceeded.retry_after.as_secs()), ("bytes_per_second", 58));
        assert!(exceeded.to_string().contains("1000 bytes"), "{exceeded}");
        assert!(meter.charge(1, 1, ms(&meters, 58_900)).is_err());
        assert!(meter.charge(1, 1, ms(&meters, 59_001)).is_ok());
    }

    #[test]
    fn refused_charges_are_given_back() {
        let (meters, meter) = meter(1, 1);
        let now = ms(&meters, 0);
        for _ in 0..1_000 {
            meter.charge(1_000, 1_000, now).unwrap().give_back();
        }
        // What the one limit refuses costs nothing of the other.
        meter.charge(0, 1, now).unwrap();
        for _ in 0..1_000 {
            assert_eq!(meter.charge(1, 0, now).unwrap_err().key, "bytes_per_second");
        }
        assert_eq!(meter.items.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_tenants_own_limits_outlast_common_changes() {
        let (meters, other) = meter(5, 0);
        let id = TenantId::new("own").unwrap();
        let own = Overrides {
            limits: OwnLimits { items_per_second: Some(0), ..OwnLimits::default() },
            ..Overrides::default()
        };
        meters.set(&id, own);
        let limits = Limits { items_per_second: 7, bytes_per_second: 8 };
        meters.configure(&Settings { limits, ..Settings::default() });
        assert_eq!(other.allowance().limits, limits);
        let meter = meters.of(&id);
        assert_eq!(meter.allowance().limits, Limits { items_per_second: 0, bytes_per_second: 8 });
        assert_eq!(meter.overrides(), own);
        meters.set(&id, Overrides::default());
        assert_eq!(meter.allowance().limits, limits);
    }

    proptest! {
        #[test]
        fn the_rate_holds_over_any_time(
            rate in 1_u64..10_000, requests in prop::collection::vec((1_u64..3_000, 0_u64..500), 1..200)
        ) {
            let (meters, meter) = meter(rate, 0);
            let (mut now, mut taken, mut largest) = (0, 0, 0);
            for (items, later) in requests {
                now += later;
                if meter.charge(items, 1, ms(&meters, now)).is_ok() {
                    taken += items;
                    largest = largest.max(items);
                }
                prop_assert!(taken <= rate + rate * now / 1_000 + 1 + largest, "{taken} in {now} ms");
            }
        }
    }
}
