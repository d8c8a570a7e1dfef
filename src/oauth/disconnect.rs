//! Disconnecting: the authorisation is revoked at Datadog, and key and tokens are deleted here.

use super::answers::NoGrant;
use super::context::{Inner, LEASE_PATIENCE, Oauth};
use super::error::FinishError;
use super::status::held_after;
use crate::store::{Change, Connection, StoreError, TenantRecord};
use crate::types::TenantId;
use std::time::Duration;
use tracing::{info, warn};

/// How often the revocation is tried.
const TRIES: u32 = 3;

/// A tenant that was disconnected.
#[derive(Debug, Clone, PartialEq)]
pub struct Disconnected {
    /// Its record now.
    pub tenant: TenantRecord,
    /// Why the authorisation may still be valid at Datadog, if the revocation failed.
    pub not_revoked: Option<String>,
    /// How the customer removes what is left at Datadog.
    pub instructions: &'static str,
}

/// Datadog does not document that a revocation ends the key, nor lets a partner delete it
/// (docs.datadoghq.com/extend/authorization/oauth2_endpoints, docs.datadoghq.com/api/latest/key-management).
const REVOKED: &str = "Nothing more is sent. The API key stays at Datadog until the customer revokes it: Organization Settings, API \
     Keys, the key with \"OAuth Client API Key\" in its name. It must be revoked before the organisation is connected again.";

const NOT_REVOKED: &str = "Nothing more is sent, but the authorisation could not be revoked at Datadog: the customer removes the \
     integration's access in Datadog, and revokes the API key in Organization Settings, API Keys, the key with \"OAuth Client API \
     Key\" in its name. It must be revoked before the organisation is connected again.";

impl Oauth {
    /// Revokes a tenant's authorisation and deletes its key and tokens; pending authorisations become void. Its
    /// telemetry is held from then on.
    ///
    /// # Errors
    /// When there is no such tenant, another operation on it is in progress, or the store fails.
    pub async fn disconnect(&self, tenant: &TenantId) -> Result<Disconnected, FinishError> {
        let (task, id) = (self.0.clone(), tenant.clone());
        self.0.apart(async move { task.disconnect(&id).await }).await.flatten()
    }
}

impl Inner {
    async fn disconnect(&self, tenant: &TenantId) -> Result<Disconnected, FinishError> {
        self.store.cancel_pending(tenant).await?;
        let Some(lease) = self.lease(tenant, LEASE_PATIENCE).await? else {
            return Err(FinishError::Busy(tenant.clone()));
        };
        let record = self.store.tenant(tenant).await?.ok_or_else(|| StoreError::UnknownTenant(tenant.clone()))?;
        // First: the rest may take a while, and nothing more should be sent meanwhile.
        let stopped = self.keep(&lease, tenant, &[Change::Connection(Connection::Pending), Change::Key(None)]).await?;
        let not_revoked = self.revoke(&record).await?;
        let changes = [
            Change::Tokens(None),
            Change::KeyCreation(false),
            Change::HeldFor(held_after(&stopped, None)),
            Change::Organisation(None),
        ];
        let tenant_now = self.keep(&lease, tenant, &changes).await?;
        match &not_revoked {
            None => info!(%tenant, "disconnected"),
            Some(words) => warn!(%tenant, "disconnected, but Datadog did not revoke the authorisation: {words}"),
        }
        let instructions = if not_revoked.is_some() { NOT_REVOKED } else { REVOKED };
        Ok(Disconnected { tenant: tenant_now, not_revoked, instructions })
    }

    /// Revokes what a tenant was granted; gives why not.
    async fn revoke(&self, record: &TenantRecord) -> Result<Option<String>, StoreError> {
        let Some(tokens) = self.store.tokens(&record.id).await? else { return Ok(None) };
        if !self.settings.get().oauth.is_configured() {
            return Ok(Some("no OAuth client is configured".into()));
        }
        let Some(site) = self.site_of(record) else {
            return Ok(Some(format!("its site {} is no longer configured", record.site)));
        };
        let mut failed = None;
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(500) * attempt).await;
            }
            match self.datadog.revoke(&site, &tokens.refresh).await {
                Ok(()) => return Ok(None),
                Err(NoGrant::Later(words)) => failed = Some(words),
                Err(NoGrant::Partner(words)) => {
                    self.note_partner_fault(&words);
                    return Ok(Some(words));
                }
                Err(NoGrant::Invalid(words) | NoGrant::Refused(words)) => return Ok(Some(words)),
            }
        }
        Ok(failed)
    }
}
