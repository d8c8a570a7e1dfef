//! Leases for work that must not be done twice at once, such as refreshing a tenant's tokens.

use super::backend::{Tx, Value};
use super::{Revision, Store, StoreError};
use crate::types::TenantId;
use std::time::Duration;
use tracing::debug;

/// The attempts to release a lease, and the pause between them.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_secs(1);

/// The right to do one thing for one tenant, until it expires. Others may take it afterwards; changes with it as a
/// [`Guard`](super::Guard) are refused then. Dropping it releases it in the background.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    tenant: TenantId,
    purpose: &'static str,
    fencing: Revision,
    held: bool,
}

impl Store {
    /// Takes the lease for `purpose` of a tenant for `ttl`, unless someone has it: `None` then. The tenant need not exist.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn lock(
        &self,
        tenant: &TenantId,
        purpose: &'static str,
        ttl: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        const TAKE: &str = "INSERT INTO dogsled_leases (tenant, purpose, fencing, expires) \
             VALUES ($1, $2, $3, $4) ON CONFLICT (tenant, purpose) DO UPDATE SET fencing = excluded.fencing, \
             expires = excluded.expires WHERE dogsled_leases.expires <= $5 RETURNING fencing";
        let mut step = self.step().await?;
        let now = step.tx.now().await?.0;
        // Taken from the counter of changes: larger than any before, even for a tenant that was removed and added again.
        let fencing = step.revision;
        let parameters = vec![tenant.as_str().into(), purpose.into(), fencing.0.into(), until(now, ttl), now.into()];
        if step.tx.query_one(TAKE, parameters).await?.is_none() {
            return Ok(None);
        }
        step.tx.commit().await?;
        Ok(Some(Lease { store: self.clone(), tenant: tenant.clone(), purpose, fencing, held: true }))
    }
}

impl Lease {
    /// A number that is larger for every later holder.
    pub fn fencing(&self) -> Revision {
        self.fencing
    }

    /// Makes the lease last `ttl` from now.
    ///
    /// # Errors
    /// When another has taken it, or the store fails.
    pub async fn renew(&self, ttl: Duration) -> Result<(), StoreError> {
        const RENEW: &str = "UPDATE dogsled_leases SET expires = $4 \
             WHERE tenant = $1 AND purpose = $2 AND fencing = $3 RETURNING fencing";
        let mut step = self.store.step().await?;
        let now = step.tx.now().await?.0;
        let mut parameters = self.key();
        parameters.push(until(now, ttl));
        if step.tx.query_one(RENEW, parameters).await?.is_none() {
            return Err(self.lost());
        }
        step.tx.commit().await
    }

    /// Releases the lease. One that was lost is left to its new holder.
    ///
    /// # Errors
    /// When the store fails; the lease is released once it recovers, or expires.
    pub async fn release(mut self) -> Result<(), StoreError> {
        let given_back = give_back(&self.store, self.key()).await;
        self.held = given_back.is_err();
        given_back
    }

    /// Whether nobody has taken it since, within a step: the step's writes are safe then, even if it has expired.
    pub(super) async fn check(&self, tx: &mut Tx) -> Result<(), StoreError> {
        const HELD: &str = "SELECT fencing FROM dogsled_leases WHERE tenant = $1 AND purpose = $2 AND fencing = $3";
        tx.query_one(HELD, self.key()).await?.map(drop).ok_or_else(|| self.lost())
    }

    fn lost(&self) -> StoreError {
        StoreError::LeaseLost { tenant: self.tenant.clone(), purpose: self.purpose }
    }

    fn key(&self) -> Vec<Value> {
        vec![self.tenant.as_str().into(), self.purpose.into(), self.fencing.0.into()]
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.held {
            return;
        }
        // Without a runtime it expires by itself.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (store, key) = (self.store.clone(), self.key());
        runtime.spawn(async move {
            // A store that was away for a moment would else leave everybody waiting for the lease to expire.
            for _ in 0..TRIES {
                match give_back(&store, key.clone()).await {
                    Err(error) if error.is_transient() => debug!("a lease is not released yet: {error}"),
                    Err(error) => return debug!("a lease was not released and will expire: {error}"),
                    Ok(()) => return,
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
}

async fn give_back(store: &Store, key: Vec<Value>) -> Result<(), StoreError> {
    const RELEASE: &str = "DELETE FROM dogsled_leases WHERE tenant = $1 AND purpose = $2 AND fencing = $3";
    let mut step = store.step().await?;
    step.tx.query(RELEASE, key).await?;
    step.tx.commit().await
}

fn until(now: i64, ttl: Duration) -> Value {
    now.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)).into()
}
