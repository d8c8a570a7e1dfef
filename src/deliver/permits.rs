//! Requests at once over all tenants, shared so that slow tenants leave room for the others.
//!
//! Which request will hang cannot be known beforehand. So a tenant's first request gets any permit that is free or waits
//! for one, while all tenants' second and further requests together take a quarter at most, and none while only an eighth
//! is free; and so do requests to endpoints that have just failed. Of 64 permits, 40 tenants whose requests all hang hold
//! 56, and 8 are left to the others.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The right to have a request in flight.
#[derive(Debug)]
pub struct Permit {
    _one: OwnedSemaphorePermit,
    /// Of the quarter for probes or further requests.
    _few: Option<OwnedSemaphorePermit>,
}

/// A turn to get a permit.
#[derive(Debug)]
pub enum Turn {
    /// The permit.
    Come(Permit),
    /// A permit is waited for, first come, first served.
    Waiting {
        /// Whether the request is a probe.
        probe: bool,
    },
}

/// All permits.
#[derive(Debug)]
pub struct Permits {
    all: Arc<Semaphore>,
    probes: Arc<Semaphore>,
    /// For requests besides each tenant's first.
    further: Arc<Semaphore>,
    /// Permits left to tenants with nothing in flight.
    left: usize,
}

impl Permits {
    /// `concurrency` permits, of which one tenant wants at most `per_tenant`.
    pub fn new(concurrency: usize, per_tenant: usize) -> Self {
        let concurrency = concurrency.max(1);
        let few = |least: usize| Arc::new(Semaphore::new((concurrency / 4).max(least)));
        Self {
            all: Arc::new(Semaphore::new(concurrency)),
            probes: few(1),
            // One tenant alone gets what it may have.
            further: few(per_tenant.saturating_sub(1)),
            left: concurrency / 8,
        }
    }

    /// Whether a tenant with this many requests in flight may have another.
    pub fn allow_another(&self, in_flight: usize) -> bool {
        in_flight == 0 || self.further.available_permits() > 0 && self.all.available_permits() > self.left
    }

    /// Asks for a permit for a tenant with this many requests in flight; none if it may not have another now.
    pub fn ask(&self, in_flight: usize, probe: bool) -> Option<Turn> {
        if probe {
            return Some(Turn::Waiting { probe });
        }
        if in_flight == 0 {
            let one = self.all.clone().try_acquire_owned();
            return Some(one.map_or(Turn::Waiting { probe }, |one| Turn::Come(Permit { _one: one, _few: None })));
        }
        if !self.allow_another(in_flight) {
            return None;
        }
        let few = self.further.clone().try_acquire_owned().ok()?;
        let one = self.all.clone().try_acquire_owned().ok()?;
        Some(Turn::Come(Permit { _one: one, _few: Some(few) }))
    }

    /// Gives those who wait no permit.
    pub fn close(&self) {
        self.all.close();
        self.probes.close();
    }

    /// Waits until the turn has come; none once [`close`](Self::close)d.
    pub async fn wait(&self, turn: Turn) -> Option<Permit> {
        let few = match turn {
            Turn::Come(permit) => return Some(permit),
            Turn::Waiting { probe: true } => Some(self.probes.clone().acquire_owned().await.ok()?),
            Turn::Waiting { probe: false } => None,
        };
        Some(Permit { _one: self.all.clone().acquire_owned().await.ok()?, _few: few })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What tenants get that each want `each`, one after the other, and never give back.
    fn hang(permits: &Permits, tenants: usize, each: usize) -> Vec<Vec<Turn>> {
        let one = || (0..each).map_while(|in_flight| permits.ask(in_flight, false)).collect();
        (0..tenants).map(|_| one()).collect()
    }

    #[test]
    fn a_single_tenant_gets_all_its_permits() {
        assert_eq!(hang(&Permits::new(64, 4), 1, 4)[0].len(), 4);
        assert_eq!(hang(&Permits::new(64, 32), 1, 32)[0].len(), 32);
    }

    #[test]
    fn hanging_tenants_leave_an_eighth_to_others() {
        let permits = Permits::new(64, 4);
        let hanging = hang(&permits, 40, 4);
        assert!(hanging.iter().flatten().all(|turn| matches!(turn, Turn::Come(_))), "nobody waits");
        assert!(permits.all.available_permits() >= 8, "{} are left", permits.all.available_permits());
        assert!(hanging.iter().all(|of_one| !of_one.is_empty()));
    }

    #[tokio::test]
    async fn probes_take_a_quarter_at_most() {
        let permits = Arc::new(Permits::new(8, 4));
        let mut probes = Vec::new();
        for _ in 0..2 {
            let turn = permits.ask(0, true).unwrap();
            probes.push(permits.wait(turn).await.unwrap());
        }
        let third = permits.ask(0, true).unwrap();
        let third = tokio::spawn({
            let permits = permits.clone();
            async move { permits.wait(third).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(permits.all.available_permits(), 6);
        assert!(!third.is_finished());
        probes.clear();
        assert!(third.await.unwrap().is_some());
    }

    #[tokio::test]
    async fn first_requests_come_before_second_ones() {
        let permits = Permits::new(1, 4);
        let held = permits.ask(0, false).unwrap();
        assert!(permits.ask(1, false).is_none());
        let waiting = permits.ask(0, false).unwrap();
        assert!(matches!(waiting, Turn::Waiting { probe: false }));
        drop(held);
        assert!(permits.wait(waiting).await.is_some());
    }

    #[tokio::test]
    async fn closing_gives_waiting_requests_no_permit() {
        let permits = Permits::new(1, 4);
        let (held, waiting) = (permits.ask(0, false).unwrap(), permits.ask(0, false).unwrap());
        permits.close();
        assert!(permits.wait(held).await.is_some());
        assert!(permits.wait(waiting).await.is_none());
    }
}
