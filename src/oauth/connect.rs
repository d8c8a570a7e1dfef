//! Connecting: from the customer's click to a key that is known to be theirs.

use super::answers::{Grant, NoGrant};
use super::callback::{Answer, Callback, Hint};
use super::context::{Inner, LEASE_PATIENCE, Oauth, later};
use super::error::{BeginError, FinishError};
use super::keys::{KeyUse, NoKey, Obtain};
use super::status::Trouble;
use super::{pkce, site};
use crate::settings::Site;
use crate::store::{Change, Connection, NewTokens, Organisation, Pending, Replaces, StoreError, Taken};
use crate::types::{Secret, TenantId, UnixMillis};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// How long the customer may take.
const LIFE: Duration = Duration::from_secs(600);

/// How often the exchange of a code is tried: the customer is waiting.
const TRIES: u32 = 3;

/// An authorisation that waits for the customer's approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Where to send the customer's browser. It holds a single-use state, so it is secret.
    pub authorize_url: Secret,
    /// When it expires.
    pub expires: UnixMillis,
}

/// A tenant that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// The tenant that was connected.
    pub tenant: TenantId,
    /// The Datadog site of its organisation.
    pub site: String,
    /// The organisation; `None` until Datadog says which, and nothing is sent before.
    pub organisation: Option<Organisation>,
    /// Where the key came from.
    pub key: KeyUse,
    /// The organisation that held telemetry was meant for, if another. It is not sent before [`Oauth::release_held`].
    pub held_for: Option<Organisation>,
    /// Whether Datadog has confirmed the key. If not, it is asked again in the background.
    pub verified: bool,
}

impl Oauth {
    /// Begins an authorisation: `domain` and `site` as Datadog sent them to the application, or none when the customer
    /// did not come from Datadog, which then asks them for their site.
    ///
    /// # Errors
    /// When the two are not on the list, there is no such tenant, or the store fails. Nothing was asked of anybody.
    pub async fn begin(
        &self,
        tenant: &TenantId,
        domain: Option<&str>,
        site: Option<&str>,
    ) -> Result<Begun, BeginError> {
        let inner = &self.0;
        let settings = inner.settings.get();
        let (client, sites) = (&settings.oauth, &settings.datadog.sites);
        if !client.is_configured() {
            return Err(BeginError::NotConfigured);
        }
        if settings.tenants.contains_key(tenant) {
            return Err(BeginError::Configured(tenant.clone()));
        }
        let domain = match (domain, site) {
            (None, None) => site::check_domain(sites, &settings.datadog.default_site)?,
            (domain, _) => site::check_domain(sites, domain.unwrap_or_default())?,
        };
        let base = match site {
            Some(site) => site::check_site(sites, &domain, site)?,
            None => domain.hosts.app,
        };
        let (state, verifier) = (pkce::random(), pkce::random());
        let url = pkce::authorize_url(&base, &client.client_id, &client.redirect_uri, &state, &verifier);
        let expires = later(inner.now(), LIFE);
        let pending = Pending { tenant: tenant.clone(), verifier, domain: domain.name, site: base };
        inner.store.add_pending(state.expose(), &pending, expires).await?;
        info!(%tenant, site = pending.domain, "a customer is sent to Datadog to connect");
        Ok(Begun { authorize_url: Secret::new(url), expires })
    }

    /// Finishes an authorisation with Datadog's answer: the query with which it sent the browser back. `expected` is
    /// the tenant that the application names, if it forwards the callback.
    ///
    /// # Errors
    /// When the tenant is not connected; the error says why and what to do, and so does the tenant's status where the
    /// tenant has changed.
    pub async fn finish(&self, query: &str, expected: Option<&TenantId>) -> Result<Connected, FinishError> {
        let inner = &self.0;
        let settings = inner.settings.get();
        let callback = Callback::parse(query, &settings.oauth.client_id, &settings.datadog.sites)?;
        let (task, expected) = (inner.clone(), expected.cloned());
        let result = inner.apart(async move { task.connect(callback, expected).await }).await.flatten();
        match &result {
            Ok(connected) => info!(
                tenant = %connected.tenant, site = connected.site, key = ?connected.key, verified = connected.verified,
                "a customer has connected"
            ),
            // Nothing has changed.
            Err(FinishError::Ending) => {}
            Err(failed) => warn!(code = failed.code(), "a customer is not connected: {failed}"),
        }
        result
    }
}

impl Inner {
    async fn connect(
        self: Arc<Self>,
        callback: Callback,
        expected: Option<TenantId>,
    ) -> Result<Connected, FinishError> {
        let pending = match self.store.take_pending(callback.state.expose(), self.now()).await? {
            Taken::Fresh(pending) => pending,
            Taken::Used(tenant) => return Err(FinishError::UsedState(tenant)),
            Taken::Expired(tenant) => return Err(FinishError::ExpiredState(tenant)),
            Taken::Unknown => return Err(FinishError::UnknownState),
        };
        let tenant = pending.tenant;
        if let Some(expected) = expected.filter(|expected| *expected != tenant) {
            return Err(FinishError::OtherTenant(expected));
        }
        let code = match callback.answer {
            Answer::Error(error, description) => return Err(FinishError::Denied { tenant, error, description }),
            Answer::Code(code) => code,
        };
        // Datadog's answer decides: its page lets customers choose their site.
        let Some(site) = callback.domain.or_else(|| self.settings.get().datadog.sites.get(&pending.domain)) else {
            return Err(FinishError::SiteGone { tenant, site: pending.domain });
        };
        let Some(lease) = self.lease(&tenant, LEASE_PATIENCE).await? else { return Err(FinishError::Busy(tenant)) };
        let grant = self.exchange(&tenant, &site, &code, &pending.verifier).await?;
        let record = self.store.tenant(&tenant).await?.ok_or_else(|| StoreError::UnknownTenant(tenant.clone()))?;
        if let Some((by, trouble)) = self.holder(&tenant, &callback.hint).await? {
            return Err(FinishError::OrganisationHeld { tenant, by, trouble });
        }
        let expires = later(self.now(), grant.life);
        let tokens = grant.refresh.map(|refresh| NewTokens {
            access: grant.access.clone(),
            refresh,
            expires,
            scopes: grant.scopes,
            replaces: Replaces::Any,
        });
        let changes = vec![Change::Site(site.name.clone()), Change::Tokens(tokens)];
        let obtain =
            Obtain { lease: &lease, record: &record, site: &site, hint: &callback.hint, changes, refused: false };
        let obtained = self.obtain(obtain, &grant.access).await;
        // The next click need not wait for the lease to expire.
        if let Err(failed) = lease.release().await {
            warn!(%tenant, "its lease was not released: {failed}");
        }
        let (record, key) = match obtained {
            Ok(obtained) => obtained,
            Err(NoKey::Later(words)) => return Err(FinishError::Unreachable { tenant, words }),
            Err(NoKey::Trouble(trouble)) => return Err(FinishError::NoKey { tenant, trouble }),
            Err(NoKey::Held(by, trouble)) => return Err(FinishError::OrganisationHeld { tenant, by, trouble }),
            Err(NoKey::Store(failed)) => return Err(failed.into()),
        };
        let verified = record.connection == Connection::Connected;
        Ok(Connected {
            tenant,
            site: site.name,
            organisation: record.organisation.filter(|_| verified),
            key,
            held_for: record.held_for,
            verified,
        })
    }

    async fn exchange(
        &self,
        tenant: &TenantId,
        site: &Site,
        code: &Secret,
        verifier: &Secret,
    ) -> Result<Grant, FinishError> {
        let mut failed = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(500) * attempt).await;
            }
            match self.datadog.exchange(site, code, verifier).await {
                Ok(grant) => {
                    self.clear_partner_fault();
                    return Ok(grant);
                }
                Err(NoGrant::Later(words)) => failed = words,
                Err(NoGrant::Partner(words)) => {
                    self.note_partner_fault(&words);
                    return Err(FinishError::Partner { words });
                }
                Err(NoGrant::Invalid(words) | NoGrant::Refused(words)) => {
                    return Err(FinishError::CodeRefused { tenant: tenant.clone(), words });
                }
            }
        }
        Err(FinishError::Unreachable { tenant: tenant.clone(), words: failed })
    }

    /// Another tenant that has the organisation named by the browser. Only a match proves anything: the parameter is
    /// undocumented, and anybody may change it.
    pub(super) async fn holder(
        &self,
        tenant: &TenantId,
        hint: &Hint,
    ) -> Result<Option<(TenantId, Trouble)>, StoreError> {
        let Some(id) = &hint.id else { return Ok(None) };
        let tenants = self.store.tenants().await?;
        let holder = tenants.into_iter().find(|other| {
            other.id != *tenant && other.organisation.as_ref().is_some_and(|organisation| organisation.id == *id)
        });
        Ok(holder.map(|holder| {
            let trouble = Trouble::organisation_held(id, holder.id.as_str());
            (holder.id, trouble)
        }))
    }
}
