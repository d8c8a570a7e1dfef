//! Requests at once over all tenants, shared so that slow tenants leave room for the others.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The right to have a request under way.
pub type Permit = OwnedSemaphorePermit;

/// All permits. Requests to endpoints that have just failed draw from a pool of their own, a quarter as large, so that
/// tenants whose requests hang cannot hold what the others need.
#[derive(Debug)]
pub struct Permits {
    regular: Arc<Semaphore>,
    probes: Arc<Semaphore>,
}

impl Permits {
    /// `concurrency` permits for ordinary requests.
    pub fn new(concurrency: usize) -> Self {
        Self {
            regular: Arc::new(Semaphore::new(concurrency.max(1))),
            probes: Arc::new(Semaphore::new((concurrency / 4).max(1))),
        }
    }

    /// Whether a tenant with so many requests under way may start another: no more than are free. The first is always
    /// allowed, and waits its turn.
    pub fn allows_another(&self, under_way: usize) -> bool {
        under_way == 0 || under_way < self.regular.available_permits()
    }

    /// Waits for a permit, first come first served.
    pub async fn acquire(&self, probe: bool) -> Option<Permit> {
        let pool = if probe { &self.probes } else { &self.regular };
        pool.clone().acquire_owned().await.ok()
    }
}
