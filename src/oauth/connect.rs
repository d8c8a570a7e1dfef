//! Connecting: from the customer's click to a key that is known to be theirs.
//!
//! An authorisation belongs to the session of the application in which it was begun (RFC 9700, 2.1 and 4.7): otherwise
//! whoever begins one for a tenant of theirs could lure another person into approving it, and would receive that person's
//! organisation. So the application names its session when it begins. A callback that it forwards must name the same one; at
//! the connect listener, where no session is known, Datadog's answer is stored unused, and the browser takes a ticket to the
//! application, which confirms it from the session that the browser is in.

use super::answers::{Grant, NoGrant};
use super::callback::{Callback, Decision, Hint};
use super::context::{Inner, LEASE_PATIENCE, Oauth, later};
use super::error::{BeginError, FinishError};
use super::keys::{KeyUse, NoKey, Obtain};
use super::status::Trouble;
use super::{pkce, site};
use crate::settings::Site;
use crate::store::{
    Change, Connection, NewTokens, Organisation, Park, Pending, Replaces, SessionDigest, StoreError, Taken,
};
use crate::types::{Secret, TenantId, UnixMillis};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// How long the customer may take.
const LIFE: Duration = Duration::from_secs(600);

/// The longest session that an application may name, in bytes.
const LONGEST_SESSION: usize = 4096;

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

/// What came of a browser at the connect listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Returned {
    /// Its tenant is connected.
    Connected(Connected),
    /// Datadog has approved; whoever has the ticket and the session can [confirm](Oauth::confirm) it.
    Unconfirmed {
        /// For the application; valid once.
        ticket: Secret,
    },
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
    /// `session` is an opaque value of the application's signed-in session, which has to finish it.
    ///
    /// # Errors
    /// When there is no session (unless `oauth.allow_unbound` is set), the site is not on the list, there is no such tenant,
    /// or the store fails. No request was made.
    pub async fn begin(
        &self,
        tenant: &TenantId,
        domain: Option<&str>,
        site: Option<&str>,
        session: Option<&Secret>,
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
        let session = match session {
            None if !client.allow_unbound => return Err(BeginError::NoSession),
            Some(session) if !(1..=LONGEST_SESSION).contains(&session.expose().len()) => {
                return Err(BeginError::BadSession);
            }
            session => session.map(|session| digest(tenant, session)),
        };
        let (state, verifier) = (pkce::random(), pkce::random());
        let url = pkce::authorize_url(&base, &client.client_id, &client.redirect_uri, &state, &verifier);
        let expires = later(inner.now(), LIFE);
        let pending =
            Pending { tenant: tenant.clone(), verifier, domain: domain.name, site: base, session, answer: None };
        inner.store.add_pending(state.expose(), &pending, expires).await?;
        info!(%tenant, site = pending.domain, "a customer is sent to Datadog to connect");
        Ok(Begun { authorize_url: Secret::new(url), expires })
    }

    /// Finishes an authorisation with Datadog's answer, the query with which it sent the browser back, for an application that
    /// forwards it with the tenant and the session that are signed in there.
    ///
    /// # Errors
    /// When the tenant is not connected; the error says why and what to do, and so does the tenant's status where the
    /// tenant has changed.
    pub async fn finish(
        &self,
        query: &str,
        tenant: Option<&TenantId>,
        session: Option<&Secret>,
    ) -> Result<Connected, FinishError> {
        let callback = self.parse(query)?;
        let signed_in = SignedIn { tenant: tenant.cloned(), session: session.cloned() };
        if !self.0.settings.get().oauth.allow_unbound && (tenant.is_none() || session.is_none()) {
            return Err(FinishError::Unbound);
        }
        let task = self.0.clone();
        self.told(self.0.apart(async move { task.redeem(callback, &signed_in).await }).await.flatten())
    }

    /// Takes Datadog's answer from a browser whose session is not known. Unless `oauth.allow_unbound` is set, it is stored, and
    /// nothing is exchanged before the application confirms it.
    ///
    /// # Errors
    /// As of [`finish`](Self::finish).
    pub async fn returned(&self, query: &str) -> Result<Returned, FinishError> {
        let callback = self.parse(query)?;
        let (task, answer) = (self.0.clone(), Secret::new(query.to_owned()));
        let returned = self.0.apart(async move { task.park_or_redeem(callback, &answer).await }).await.flatten();
        match returned {
            Ok(Returned::Connected(connected)) => self.told(Ok(connected)).map(Returned::Connected),
            Ok(unconfirmed) => Ok(unconfirmed),
            Err(error) => self.told(Err(error)).map(Returned::Connected),
        }
    }

    /// Confirms an authorisation with the ticket that a browser brought to the application, and with the tenant and the
    /// session that it is signed in with there.
    ///
    /// # Errors
    /// As of [`finish`](Self::finish).
    pub async fn confirm(
        &self,
        tenant: &TenantId,
        ticket: &Secret,
        session: &Secret,
    ) -> Result<Connected, FinishError> {
        if !pkce::is_well_formed(ticket.expose()) {
            return Err(FinishError::UnknownTicket);
        }
        let signed_in = SignedIn { tenant: Some(tenant.clone()), session: Some(session.clone()) };
        let (task, ticket) = (self.0.clone(), ticket.clone());
        self.told(self.0.apart(async move { task.redeem_ticket(&ticket, &signed_in).await }).await.flatten())
    }

    fn parse(&self, query: &str) -> Result<Callback, FinishError> {
        let settings = self.0.settings.get();
        Ok(Callback::parse(query, &settings.oauth.client_id, &settings.datadog.sites)?)
    }

    fn told(&self, result: Result<Connected, FinishError>) -> Result<Connected, FinishError> {
        match &result {
            Ok(connected) => info!(
                tenant = %connected.tenant, site = connected.site, key = ?connected.key, verified = connected.verified,
                "a customer has connected"
            ),
            // Nothing has changed.
            Err(FinishError::Ending) => {}
            Err(FinishError::OrganisationHeld { tenant, by }) => {
                warn!(%tenant, %by, "a customer is not connected: their Datadog organisation is connected to another tenant");
            }
            Err(failed) => warn!(code = failed.code(), "a customer is not connected: {failed}"),
        }
        result
    }
}

/// Who is signed in at the application.
struct SignedIn {
    tenant: Option<TenantId>,
    session: Option<Secret>,
}

impl SignedIn {
    /// Whether an authorisation may be finished by them.
    fn may_finish(&self, pending: &Pending, allow_unbound: bool) -> Result<(), FinishError> {
        if let Some(tenant) = self.tenant.as_ref().filter(|tenant| **tenant != pending.tenant) {
            return Err(FinishError::OtherTenant(tenant.clone()));
        }
        match (&pending.session, &self.session) {
            (Some(begun), Some(session)) if *begun == digest(&pending.tenant, session) => Ok(()),
            (Some(_), Some(_)) => Err(FinishError::OtherSession),
            (None, _) if allow_unbound => Ok(()),
            _ => Err(FinishError::Unbound),
        }
    }
}

/// Bound to the tenant, so that a session of another one is of no use.
fn digest(tenant: &TenantId, session: &Secret) -> SessionDigest {
    let mut digest = Sha256::new();
    digest.update(tenant.as_str());
    digest.update([0]);
    digest.update(session.expose());
    digest.finalize().into()
}

impl Inner {
    async fn redeem(self: Arc<Self>, callback: Callback, signed_in: &SignedIn) -> Result<Connected, FinishError> {
        let taken = self.store.take_pending(callback.state.expose(), self.now()).await?;
        let pending = fresh(taken, FinishError::UnknownState)?;
        self.connect(pending, callback, signed_in).await
    }

    async fn redeem_ticket(self: Arc<Self>, ticket: &Secret, signed_in: &SignedIn) -> Result<Connected, FinishError> {
        let taken = self.store.take_ticket(ticket.expose(), self.now()).await?;
        let pending = fresh(taken, FinishError::UnknownTicket)?;
        let settings = self.settings.get();
        let answer = pending.answer.as_ref().ok_or(FinishError::UnknownTicket)?;
        let callback = Callback::parse(answer.expose(), &settings.oauth.client_id, &settings.datadog.sites)?;
        self.connect(pending, callback, signed_in).await
    }

    async fn park_or_redeem(self: Arc<Self>, callback: Callback, answer: &Secret) -> Result<Returned, FinishError> {
        let ticket = pkce::random();
        let park = Park { ticket: ticket.expose(), answer };
        // A refusal needs no confirmation.
        let park = matches!(callback.decision, Decision::Code(_)).then_some(park);
        let taken = self.store.take_or_park(callback.state.expose(), self.now(), park).await?;
        if let Taken::Unconfirmed(tenant) = taken {
            info!(%tenant, "a customer has approved; the application has to confirm that it was them");
            return Ok(Returned::Unconfirmed { ticket });
        }
        let pending = fresh(taken, FinishError::UnknownState)?;
        let nobody = SignedIn { tenant: None, session: None };
        self.connect(pending, callback, &nobody).await.map(Returned::Connected)
    }

    async fn connect(
        self: Arc<Self>,
        pending: Pending,
        callback: Callback,
        signed_in: &SignedIn,
    ) -> Result<Connected, FinishError> {
        let code = match callback.decision {
            Decision::Error(error, description) => {
                return Err(FinishError::Denied { tenant: pending.tenant, error, description });
            }
            Decision::Code(code) => code,
        };
        signed_in.may_finish(&pending, self.settings.get().oauth.allow_unbound)?;
        let tenant = pending.tenant;
        // Datadog's answer decides: its page lets customers choose their site.
        let Some(site) = callback.domain.or_else(|| self.settings.get().datadog.sites.get(&pending.domain)) else {
            return Err(FinishError::SiteGone { tenant, site: pending.domain });
        };
        let Some(lease) = self.lease(&tenant, LEASE_PATIENCE).await? else { return Err(FinishError::Busy(tenant)) };
        let grant = self.exchange(&tenant, &site, &code, &pending.verifier).await?;
        let record = self.store.tenant(&tenant).await?.ok_or_else(|| StoreError::UnknownTenant(tenant.clone()))?;
        if let Some((by, _)) = self.holder(&tenant, &callback.hint).await? {
            return Err(FinishError::OrganisationHeld { tenant, by });
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
            Err(NoKey::Held(by, _)) => return Err(FinishError::OrganisationHeld { tenant, by }),
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

/// The authorisation, if it is fresh.
fn fresh(taken: Taken, unknown: FinishError) -> Result<Pending, FinishError> {
    match taken {
        Taken::Fresh(pending) => Ok(pending),
        Taken::Used(tenant) | Taken::Unconfirmed(tenant) => Err(FinishError::UsedState(tenant)),
        Taken::Expired(tenant) => Err(FinishError::ExpiredState(tenant)),
        Taken::Unknown => Err(unknown),
    }
}
