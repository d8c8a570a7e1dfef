//! Pending authorisations: each state is good for one callback.

use super::model::PENDING_KEPT;
use super::{Pending, Store, StoreError, Taken, unusable};
use crate::types::{TenantId, UnixMillis};
use crate::vault::Binding;
use sha2::{Digest, Sha256};

/// The name that verifiers are bound to, along with their tenant.
pub(super) const VERIFIER: &str = "pkce_verifier";

impl Store {
    /// Stores an authorisation that a customer is about to be asked for; `state` comes back with the callback, and only
    /// its digest is stored.
    ///
    /// # Errors
    /// When there is no such tenant, the state was used before, or the store fails.
    pub async fn add_pending(&self, state: &str, pending: &Pending, expires: UnixMillis) -> Result<(), StoreError> {
        const ADD: &str = "INSERT INTO dogsled_pending (state, tenant, verifier, domain, site, created, expires) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (state) DO NOTHING RETURNING tenant";
        let mut step = self.step().await?;
        let now = UnixMillis::now();
        let past = now.minus(PENDING_KEPT).0.into();
        step.tx.query("DELETE FROM dogsled_pending WHERE expires < $1", vec![past]).await?;
        step.tenant(&pending.tenant).await?;
        let verifier = step.seal(&pending.tenant, VERIFIER, &pending.verifier)?;
        let parameters = vec![
            digest(state).into(),
            pending.tenant.as_str().into(),
            verifier,
            pending.domain.as_str().into(),
            pending.site.as_str().into(),
            now.0.into(),
            expires.0.into(),
        ];
        if step.tx.query_one(ADD, parameters).await?.is_none() {
            return Err(StoreError::Stale { tenant: pending.tenant.clone(), what: "by the same state" });
        }
        self.commit(step).await
    }

    /// Redeems a state. Whatever happens and whoever asks at the same time, the authorisation is returned once; its
    /// verifier is deleted with that.
    ///
    /// # Errors
    /// When the verifier cannot be decrypted, or the store fails.
    pub async fn take_pending(&self, state: &str, now: UnixMillis) -> Result<Taken, StoreError> {
        const FIND: &str = "SELECT tenant, verifier, domain, site, expires FROM dogsled_pending WHERE state = $1";
        const SPEND: &str = "UPDATE dogsled_pending SET verifier = NULL WHERE state = $1";
        let state = digest(state);
        let mut step = self.step().await?;
        let Some(mut row) = step.tx.query_one(FIND, vec![state.clone().into()]).await? else {
            return Ok(Taken::Unknown);
        };
        let tenant = super::tenants::tenant_id(&row.text()?)?;
        let Some(sealed) = row.opt_bytes()? else { return Ok(Taken::Used(tenant)) };
        let (domain, site) = (row.text()?, row.text()?);
        if row.int()? <= now.0 {
            return Ok(Taken::Expired(tenant));
        }
        step.tx.query(SPEND, vec![state.into()]).await?;
        let keys = std::sync::Arc::clone(&step.keys);
        self.commit(step).await?;
        let verifier = keys.open(Binding { tenant: tenant.as_str(), field: VERIFIER }, &sealed);
        let verifier = verifier.map_err(unusable(&tenant, VERIFIER))?;
        Ok(Taken::Fresh(Pending { tenant, verifier, domain, site }))
    }

    /// Deletes all pending authorisations of a tenant, for example when it is disconnected.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn cancel_pending(&self, tenant: &TenantId) -> Result<(), StoreError> {
        let mut step = self.step().await?;
        step.tx.query("DELETE FROM dogsled_pending WHERE tenant = $1", vec![tenant.as_str().into()]).await?;
        self.commit(step).await
    }
}

fn digest(state: &str) -> Vec<u8> {
    Sha256::digest(state.as_bytes()).to_vec()
}
