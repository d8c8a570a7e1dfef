//! Creating a key, learning its organisation, and replacing a key that Datadog refuses.

use super::answers::{Creation, Validation};
use super::callback::Hint;
use super::context::{Inner, LEASE, LEASE_PATIENCE, Oauth};
use super::refresh::Refreshed;
use super::status::{Trouble, held_after};
use crate::settings::Site;
use crate::store::{ApiKey, Change, Connection, Guard, Lease, NewKey, Organisation, Origin, StoreError, TenantRecord};
use crate::types::{Secret, TenantId};
use std::time::Duration;
use tracing::{error, info, warn};

/// How often a new key is validated while somebody waits. Datadog may need some seconds to make it known everywhere.
const TRIES: u32 = 5;

/// A key that Datadog still refuses this long after its creation is invalid.
const SETTLING: Duration = Duration::from_secs(600);

/// The parameters of [`Inner::obtain`].
pub(super) struct Obtain<'a> {
    pub lease: &'a Lease,
    pub record: &'a TenantRecord,
    pub site: &'a Site,
    pub hint: &'a Hint,
    /// Changes to be stored together with the key.
    pub changes: Vec<Change>,
    /// Whether Datadog refuses the key that is held.
    pub refused: bool,
}

/// Who decides that a tenant may change its organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mover {
    Customer,
    /// The daemon does not. A customer's new key is verified so as well: the tenant has no organisation then.
    Nobody,
}

/// Where the key of a connected tenant came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// It was created just now.
    Created,
    /// It was held already, and is still valid.
    Kept,
}

/// Why a key could not be obtained.
#[derive(Debug)]
pub(super) enum NoKey {
    /// A later attempt may succeed; nothing was changed.
    Later(String),
    /// Somebody must act. The tenant's status says so too, unless its present key still works.
    Trouble(Trouble),
    /// Another tenant has the organisation.
    Held(TenantId, Trouble),
    /// The store fails.
    Store(StoreError),
}

impl From<StoreError> for NoKey {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The outcome of replacing a refused key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyTrouble {
    /// The tenant has another key now, and the registry uses it.
    Replaced,
    /// A new key was created; it is used as soon as its organisation is verified.
    Verifying,
    /// Somebody must act; the tenant is `unauthorized`.
    Unauthorized(Trouble),
    /// Undecided: call again, with the usual backoff.
    Later(String),
}

impl Oauth {
    /// To be called when Datadog refuses a tenant's key, which validation has confirmed: refreshes the access token,
    /// creates a new key and puts it into the registry. Calling it again, or on several hosts, does no harm.
    ///
    /// # Errors
    /// When there is no such tenant, or the store fails.
    pub async fn key_refused(&self, tenant: &TenantId, refused: &Secret) -> Result<KeyTrouble, StoreError> {
        let (task, id, refused) = (self.0.clone(), tenant.clone(), refused.clone());
        let replaced = self.0.apart(async move { task.replace_key(&id, &refused).await }).await;
        replaced.unwrap_or_else(|error| Ok(KeyTrouble::Later(error.to_string())))
    }
}

impl Inner {
    async fn replace_key(&self, tenant: &TenantId, refused: &Secret) -> Result<KeyTrouble, StoreError> {
        let Some(lease) = self.lease(tenant, LEASE_PATIENCE).await? else {
            return Ok(KeyTrouble::Later("another operation on this tenant is in progress".into()));
        };
        let record = self.store.tenant(tenant).await?.ok_or_else(|| StoreError::UnknownTenant(tenant.clone()))?;
        let key = self.store.api_key(tenant).await?;
        if let Connection::Unauthorized { reason, instructions } = &record.connection {
            let trouble = Trouble { reason: reason.clone(), instructions: instructions.clone() };
            return Ok(KeyTrouble::Unauthorized(trouble));
        }
        if key.as_ref().is_none_or(|key| key.key != *refused) {
            // Another host or the customer was quicker.
            self.publish(&record).await;
            return Ok(KeyTrouble::Replaced);
        }
        let trouble = match key {
            Some(ApiKey { info, .. }) if info.origin == Origin::Static => Trouble::static_key(),
            _ if record.key_creation_begun.is_some() => Trouble::key_lost("earlier"),
            _ if !self.settings.get().oauth.is_configured() => {
                return Ok(KeyTrouble::Later("no OAuth client is configured".into()));
            }
            _ => match self.refresh(&lease, &record).await? {
                Refreshed::Fresh(access) => return self.create_anew(&lease, &record, &access).await,
                Refreshed::Revoked(trouble) => return Ok(KeyTrouble::Unauthorized(trouble)),
                Refreshed::Later(words) => return Ok(KeyTrouble::Later(words)),
                Refreshed::NoTokens => Trouble::no_authorisation(),
            },
        };
        self.keep(&lease, tenant, &[Change::Connection(trouble.connection())]).await?;
        Ok(KeyTrouble::Unauthorized(trouble))
    }

    async fn create_anew(
        &self,
        lease: &Lease,
        record: &TenantRecord,
        access: &Secret,
    ) -> Result<KeyTrouble, StoreError> {
        let Some(site) = self.site_of(record) else {
            return Ok(KeyTrouble::Later(format!("its site {} is no longer configured", record.site)));
        };
        let hint = Hint::default();
        let obtain = Obtain { lease, record, site: &site, hint: &hint, changes: vec![], refused: true };
        match self.obtain(obtain, access).await {
            Ok((record, _)) if record.connection == Connection::Connected => Ok(KeyTrouble::Replaced),
            Ok(_) => Ok(KeyTrouble::Verifying),
            Err(NoKey::Later(words)) => Ok(KeyTrouble::Later(words)),
            Err(NoKey::Trouble(trouble) | NoKey::Held(_, trouble)) => Ok(KeyTrouble::Unauthorized(trouble)),
            Err(NoKey::Store(error)) => Err(error),
        }
    }

    /// Obtains a key for a tenant with an access token: the present one if it is still valid for the same organisation,
    /// else a new one.
    pub(super) async fn obtain(&self, obtain: Obtain<'_>, access: &Secret) -> Result<(TenantRecord, KeyUse), NoKey> {
        let Obtain { lease, record, site, hint, .. } = &obtain;
        let tenant = &record.id;
        let held = if obtain.refused { None } else { self.held_key(record, site).await? };
        // The browser's word decides only which of two good ways is tried first.
        let same = record.organisation.as_ref().is_some_and(|known| Some(&known.id) == hint.id.as_ref());
        if let Some(key) = held.as_ref().filter(|_| same)
            && let Validation::Valid(organisation) = self.datadog.validate(site, &key.key).await
        {
            return self.keep_held(obtain, organisation).await;
        }
        lease.renew(LEASE).await?;
        // Stored first, so that nobody asks for a second key after a crash without knowing of the first.
        self.keep(lease, tenant, &[Change::KeyCreation(true)]).await?;
        // An attempt that created no key does not resolve an answer lost earlier.
        let lost_before = record.key_creation_begun.is_some();
        let not_now = async |words| {
            self.keep(lease, tenant, &[Change::KeyCreation(lost_before)]).await?;
            Err(NoKey::Later(words))
        };
        let (unknown, trouble) = match self.datadog.create_key(site, access).await {
            Creation::Made(key, id) => {
                return self.keep_new(obtain, key, id).await.map(|record| (record, KeyUse::Created));
            }
            Creation::NotSent(words) => return not_now(words).await,
            Creation::Exists(words) => {
                if let Some(key) = &held {
                    match self.datadog.validate(site, &key.key).await {
                        Validation::Valid(organisation) => return self.keep_held(obtain, organisation).await,
                        Validation::Unknown(words) => {
                            self.keep(lease, tenant, &[Change::KeyCreation(false)]).await?;
                            return Err(NoKey::Later(words));
                        }
                        Validation::Invalid(_) | Validation::NoSuchEndpoint => {}
                    }
                }
                // Another tenant may have been a moment quicker.
                if let Some((by, trouble)) = self.holder(tenant, hint).await? {
                    self.keep(lease, tenant, &[Change::KeyCreation(false)]).await?;
                    return Err(NoKey::Held(by, trouble));
                }
                (false, Trouble::key_exists(&words))
            }
            Creation::Lost(words) => (true, Trouble::key_lost(&words)),
            Creation::Refused(words) | Creation::BadToken(words) => (lost_before, Trouble::key_refused(&words)),
        };
        let mut changes = vec![Change::KeyCreation(unknown)];
        if obtain.refused || !self.still_works(record).await? {
            changes.push(Change::Connection(trouble.connection()));
        }
        self.keep(lease, tenant, &changes).await?;
        Err(NoKey::Trouble(trouble))
    }

    /// Whether a tenant's present key still works: a failed attempt to get another takes nothing away.
    async fn still_works(&self, record: &TenantRecord) -> Result<bool, StoreError> {
        let connected = record.connection == Connection::Connected;
        let key = if connected { self.store.api_key(&record.id).await? } else { None };
        let (Some(key), Some(site)) = (key, self.site_of(record)) else { return Ok(false) };
        Ok(!matches!(self.datadog.validate(&site, &key.key).await, Validation::Invalid(_)))
    }

    /// A tenant's present key, if it was created through OAuth on that site.
    async fn held_key(&self, record: &TenantRecord, site: &Site) -> Result<Option<ApiKey>, StoreError> {
        if record.site != site.name {
            return Ok(None);
        }
        let key = self.store.api_key(&record.id).await?;
        Ok(key.filter(|key| key.info.origin == Origin::OAuth))
    }

    /// Goes on with the key that is held. Nothing proves that the new tokens are of its organisation: neither what the browser
    /// says, nor that Datadog has a key already, which may be that of another organisation. So they replace none that still
    /// work.
    async fn keep_held(
        &self,
        obtain: Obtain<'_>,
        organisation: Option<String>,
    ) -> Result<(TenantRecord, KeyUse), NoKey> {
        let Obtain { lease, record, hint, mut changes, .. } = obtain;
        if record.tokens.is_some() && !matches!(self.refresh(lease, record).await?, Refreshed::Revoked(_)) {
            changes.retain(|change| !matches!(change, Change::Tokens(_)));
        }
        changes.push(Change::KeyCreation(false));
        let record = self.settle(lease, record, organisation, hint, changes, Mover::Customer).await?;
        Ok((record, KeyUse::Kept))
    }

    /// Stores a key just created, before anything else, and then verifies its organisation.
    async fn keep_new(
        &self,
        obtain: Obtain<'_>,
        key: Secret,
        datadog_id: Option<String>,
    ) -> Result<TenantRecord, NoKey> {
        let Obtain { lease, record, hint, mut changes, refused: automatic, .. } = obtain;
        let tenant = &record.id;
        changes.push(Change::Key(Some(NewKey { key, datadog_id, origin: Origin::OAuth })));
        changes.push(Change::KeyCreation(false));
        if !automatic {
            // By the customer's decision the tenant leaves its organisation for that of the key, whichever that is.
            changes.push(Change::HeldFor(held_after(record, None)));
            changes.push(Change::Organisation(None));
        }
        // Pending with a key: nothing is sent before the key's organisation is verified.
        changes.push(Change::Connection(Connection::Pending));
        let kept = match self.keep(lease, tenant, &changes).await {
            Err(StoreError::LeaseLost { .. }) => self.keep_without_lease(record, &changes).await,
            kept => kept,
        };
        let record = match kept {
            Ok(record) => record,
            Err(failed) => {
                error!(
                    %tenant,
                    "an API key was created, but could not be stored: {failed}. {}",
                    Trouble::key_lost("it is gone").instructions
                );
                return Err(failed.into());
            }
        };
        info!(%tenant, "an API key was created and stored");
        self.verify(lease, record, hint, TRIES).await
    }

    /// Stores a key although this host was frozen for so long that another took the lease: there is no other copy of
    /// it. If the tenant has another key by now, that one is newer and stays.
    async fn keep_without_lease(&self, before: &TenantRecord, changes: &[Change]) -> Result<TenantRecord, StoreError> {
        let tenant = &before.id;
        let now = self.store.tenant(tenant).await?.ok_or_else(|| StoreError::UnknownTenant(tenant.clone()))?;
        if now.key != before.key {
            return Err(StoreError::Stale { tenant: tenant.clone(), what: "it has another key now" });
        }
        let guard = Guard { lease: None, revision: Some(now.revision) };
        let record = self.store.apply(tenant, guard, changes).await?;
        warn!(%tenant, "this host was frozen for a while; the key that it was creating is stored all the same");
        self.publish(&record).await;
        Ok(record)
    }

    /// Verifies the organisation of a pending tenant's key, and connects the tenant if no other has that organisation.
    pub(super) async fn verify(
        &self,
        lease: &Lease,
        record: TenantRecord,
        hint: &Hint,
        tries: u32,
    ) -> Result<TenantRecord, NoKey> {
        let tenant = &record.id;
        let (Some(site), Some(key)) = (self.site_of(&record), self.store.api_key(tenant).await?) else {
            return Ok(record);
        };
        let mut words = String::new();
        for attempt in 0..tries {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(250) * 2_u32.pow(attempt)).await;
                lease.renew(LEASE).await?;
            }
            match self.datadog.validate(&site, &key.key).await {
                Validation::Valid(organisation) => {
                    return self.settle(lease, &record, organisation, hint, vec![], Mover::Nobody).await;
                }
                Validation::Invalid(refusal) => {
                    if self.now().minus(SETTLING) > key.info.created {
                        let trouble = Trouble::new_key_refused(&refusal);
                        self.keep(lease, tenant, &[Change::Connection(trouble.connection())]).await?;
                        return Err(NoKey::Trouble(trouble));
                    }
                    words = refusal;
                }
                Validation::Unknown(reason) => words = reason,
                Validation::NoSuchEndpoint => words = "the site has no endpoint for validating it".into(),
            }
        }
        warn!(%tenant, "the organisation of its API key is not known yet, and is asked for again: {words}");
        Ok(record)
    }

    /// Asks Datadog for the organisation of a key that the operator gave: it gets the telemetry that was accepted for it, and
    /// none that was accepted for another one.
    pub(super) async fn identify(&self, lease: &Lease, record: &TenantRecord) -> Result<(), String> {
        let message = |error: StoreError| error.to_string();
        let key = self.store.api_key(&record.id).await.map_err(message)?;
        let (Some(site), Some(key)) = (self.site_of(record), key) else { return Ok(()) };
        match self.datadog.validate(&site, &key.key).await {
            Validation::Valid(Some(organisation)) => {
                self.keep(lease, &record.id, &[Change::KeyOf(Some(organisation))]).await.map(drop).map_err(message)
            }
            Validation::Valid(None) | Validation::NoSuchEndpoint => Err("the site does not say whose key it is".into()),
            Validation::Invalid(words) | Validation::Unknown(words) => Err(words),
        }
    }

    /// Connects a tenant to the organisation of its key.
    async fn settle(
        &self,
        lease: &Lease,
        record: &TenantRecord,
        id: Option<String>,
        hint: &Hint,
        mut changes: Vec<Change>,
        mover: Mover,
    ) -> Result<TenantRecord, NoKey> {
        let before = record.organisation.as_ref();
        if let (Some(before), Some(id)) = (before, &id)
            && before.id != *id
            && mover == Mover::Nobody
        {
            let trouble = Trouble::other_organisation(before, id);
            let changes = [Change::KeyCreation(false), Change::Tokens(None), Change::Connection(trouble.connection())];
            self.keep(lease, &record.id, &changes).await?;
            return Err(NoKey::Trouble(trouble));
        }
        let organisation = id.map(|id| {
            let known = before.filter(|before| before.id == id).and_then(|before| before.name.clone());
            // The browser's name for it goes only with the same id.
            let claimed = hint.name.clone().filter(|_| hint.id.as_ref() == Some(&id));
            Organisation { name: known.or(claimed), id }
        });
        changes.push(Change::KeyOf(organisation.as_ref().map(|organisation| organisation.id.clone())));
        changes.push(Change::HeldFor(held_after(record, organisation.as_ref())));
        changes.push(Change::Organisation(organisation));
        changes.push(Change::Connection(Connection::Connected));
        match self.keep(lease, &record.id, &changes).await {
            Err(StoreError::OrganisationHeld { organisation, by }) => {
                let trouble = Trouble::organisation_held(&organisation, by.as_str());
                let changes = [Change::KeyCreation(false), Change::Connection(trouble.connection())];
                self.keep(lease, &record.id, &changes).await?;
                Err(NoKey::Held(by, trouble))
            }
            other => Ok(other?),
        }
    }
}
