//! Pending authorisations: each state is good for one callback, and each ticket for one confirmation.

use super::model::PENDING_KEPT;
use super::{Pending, SessionDigest, Step, Store, StoreError, Taken, unusable};
use crate::types::{Secret, TenantId, UnixMillis};
use crate::vault::Binding;
use sha2::{Digest, Sha256};

/// The name that verifiers are bound to, along with their tenant.
pub(super) const VERIFIER: &str = "pkce_verifier";

/// The name that Datadog's answers are bound to.
pub(super) const ANSWER: &str = "oauth_answer";

/// The columns by which an authorisation is found.
const STATE: &str = "state";
const TICKET: &str = "ticket";

/// What is stored of an authorisation until the application confirms it.
#[derive(Debug, Clone, Copy)]
pub struct Park<'a> {
    /// The one-time ticket; only its digest is stored.
    pub ticket: &'a str,
    /// Datadog's answer, a query.
    pub answer: &'a Secret,
}

/// An authorisation that is neither spent nor expired, still sealed.
struct PendingRow {
    state: Vec<u8>,
    tenant: TenantId,
    verifier: Vec<u8>,
    domain: String,
    site: String,
    session: Option<SessionDigest>,
    answer: Option<Vec<u8>>,
    is_parked: bool,
}

impl Step {
    async fn find(&mut self, by: &str, value: &[u8], now: UnixMillis) -> Result<Result<PendingRow, Taken>, StoreError> {
        let find = format!(
            "SELECT state, tenant, verifier, domain, site, expires, session, answer, ticket FROM dogsled_pending \
             WHERE {by} = $1"
        );
        let Some(mut row) = self.tx.query_one(&find, vec![value.to_vec().into()]).await? else {
            return Ok(Err(Taken::Unknown));
        };
        let state = row.bytes()?;
        let tenant = super::tenants::tenant_id(&row.text()?)?;
        let Some(verifier) = row.opt_bytes()? else { return Ok(Err(Taken::Used(tenant))) };
        let (domain, site) = (row.text()?, row.text()?);
        if row.int()? <= now.0 {
            return Ok(Err(Taken::Expired(tenant)));
        }
        let session = row.opt_bytes()?.map(SessionDigest::try_from).transpose();
        let session =
            session.map_err(|_| StoreError::Damaged("the digest of a session has the wrong length".into()))?;
        let (answer, is_parked) = (row.opt_bytes()?, row.opt_bytes()?.is_some());
        Ok(Ok(PendingRow { state, tenant, verifier, domain, site, session, answer, is_parked }))
    }
}

impl Store {
    /// Stores an authorisation that a customer is about to be asked for; `state` comes back with the callback, and only
    /// its digest is stored.
    ///
    /// # Errors
    /// When there is no such tenant, the state was used before, or the store fails.
    pub async fn add_pending(&self, state: &str, pending: &Pending, expires: UnixMillis) -> Result<(), StoreError> {
        const ADD: &str = "INSERT INTO dogsled_pending (state, tenant, verifier, domain, site, created, expires, session) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (state) DO NOTHING RETURNING tenant";
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
            pending.session.map(Vec::from).into(),
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
        self.take_or_park(state, now, None).await
    }

    /// Redeems a state; with `park`, an authorisation that was begun in a session is not returned, but stored with Datadog's
    /// answer for whoever has the ticket.
    ///
    /// # Errors
    /// As of [`take_pending`](Self::take_pending).
    pub async fn take_or_park(
        &self,
        state: &str,
        now: UnixMillis,
        park: Option<Park<'_>>,
    ) -> Result<Taken, StoreError> {
        const PARK: &str = "UPDATE dogsled_pending SET ticket = $2, answer = $3 WHERE state = $1";
        let mut step = self.step().await?;
        let row = match step.find(STATE, &digest(state), now).await? {
            Ok(row) if row.is_parked => return Ok(Taken::Used(row.tenant)),
            Ok(row) => row,
            Err(taken) => return Ok(taken),
        };
        if let Some(Park { ticket, answer }) = park.filter(|_| row.session.is_some()) {
            let answer = step.seal(&row.tenant, ANSWER, answer)?;
            step.tx.query(PARK, vec![digest(state).into(), digest(ticket).into(), answer]).await?;
            self.commit(step).await?;
            return Ok(Taken::Unconfirmed(row.tenant));
        }
        self.spend(step, row).await
    }

    /// Redeems a ticket, once, as [`take_pending`](Self::take_pending) does a state.
    ///
    /// # Errors
    /// When the verifier or Datadog's answer cannot be decrypted, or the store fails.
    pub async fn take_ticket(&self, ticket: &str, now: UnixMillis) -> Result<Taken, StoreError> {
        let mut step = self.step().await?;
        match step.find(TICKET, &digest(ticket), now).await? {
            Ok(row) => self.spend(step, row).await,
            Err(taken) => Ok(taken),
        }
    }

    async fn spend(&self, mut step: Step, row: PendingRow) -> Result<Taken, StoreError> {
        const SPEND: &str = "UPDATE dogsled_pending SET verifier = NULL, answer = NULL WHERE state = $1";
        step.tx.query(SPEND, vec![row.state.clone().into()]).await?;
        let keys = std::sync::Arc::clone(&step.keys);
        self.commit(step).await?;
        let tenant = row.tenant.clone();
        let open = |field, sealed: &[u8]| {
            keys.open(Binding { tenant: tenant.as_str(), field }, sealed).map_err(unusable(&tenant, field))
        };
        let verifier = open(VERIFIER, &row.verifier)?;
        let answer = row.answer.as_deref().map(|sealed| open(ANSWER, sealed)).transpose()?;
        let PendingRow { domain, site, session, .. } = row;
        Ok(Taken::Fresh(Pending { tenant, verifier, domain, site, session, answer }))
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
