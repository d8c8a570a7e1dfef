//! Creating a key, learning whose it is, and what to do when Datadog refuses one.

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

/// How often a new key is validated while somebody waits. It may take Datadog some seconds to know it everywhere.
const TRIES: u32 = 5;

/// A key that Datadog still refuses this long after its creation is no good.
const SETTLING: Duration = Duration::from_secs(600);

/// What [`Inner::obtain`] goes by.
pub(super) struct Obtain<'a> {
    pub lease: &'a Lease,
    pub record: &'a TenantRecord,
    pub site: &'a Site,
    pub hint: &'a Hint,
    /// What is to be kept together with the key.
    pub changes: Vec<Change>,
    /// Whether Datadog refuses the key that is held.
    pub refused: bool,
}

/// Where the key of a connected tenant came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// It was created just now.
    Created,
    /// It was here already, and is still good.
    Kept,
}

/// Why there is no key.
#[derive(Debug)]
pub(super) enum NoKey {
    /// It may be had a little later; nothing was changed.
    Later(String),
    /// Somebody must do something. The tenant says so too, unless the key that it has still works.
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

/// What came of a refused key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyTrouble {
    /// The tenant has another key now, and the registry too.
    Replaced,
    /// A new key was created; it is used as soon as it is known whose it is, which is being asked.
    Verifying,
    /// Somebody must do something; the tenant is `unauthorized`.
    Unauthorized(Trouble),
    /// Nothing is known yet: call again, with the usual backoff.
    Later(String),
}

impl Oauth {
    /// To be called when Datadog refuses a tenant's key, which validation has confirmed: refreshes the access token, creates
    /// a new key and puts it into the registry. Calling it again, or on several hosts, does no harm.
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
            return Ok(KeyTrouble::Later("something else is under way for this tenant".into()));
        };
        let record = self.store.tenant(tenant).await?.ok_or_else(|| StoreError::UnknownTenant(tenant.clone()))?;
        let key = self.store.api_key(tenant).await?;
        if let Connection::Unauthorized { reason, instructions } = &record.connection {
            let trouble = Trouble { reason: reason.clone(), instructions: instructions.clone() };
            return Ok(KeyTrouble::Unauthorized(trouble));
        }
        if key.as_ref().is_none_or(|key| key.key != *refused) {
            // Another host, or a customer, was quicker.
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
            return Ok(KeyTrouble::Later(format!("its site {} is not known any more", record.site)));
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

    /// Gets a tenant a key with an access token: the one that is held where it is still good for the same organisation,
    /// and else a new one.
    pub(super) async fn obtain(&self, obtain: Obtain<'_>, access: &Secret) -> Result<(TenantRecord, KeyUse), NoKey> {
        let Obtain { lease, record, site, hint, .. } = &obtain;
        let tenant = &record.id;
        let held = if obtain.refused { None } else { self.held_key(record, site).await? };
        // Only a match says anything; what the browser says is documented nowhere.
        let same = record.organisation.as_ref().is_some_and(|known| Some(&known.id) == hint.id.as_ref());
        if let Some(key) = held.as_ref().filter(|_| same)
            && let Validation::Valid(organisation) = self.datadog.validate(site, &key.key).await
        {
            return self.keep_held(&obtain, organisation).await;
        }
        lease.renew(LEASE).await?;
        // Kept first, so that nobody who comes after a crash asks for a second one without knowing.
        self.keep(lease, tenant, &[Change::KeyCreation(true)]).await?;
        // An answer that was lost before is not found by an attempt that made no key.
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
                        Validation::Valid(organisation) => return self.keep_held(&obtain, organisation).await,
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

    /// Whether a tenant goes on with the key that it has: an attempt to get another one takes nothing away.
    async fn still_works(&self, record: &TenantRecord) -> Result<bool, StoreError> {
        let connected = record.connection == Connection::Connected;
        let key = if connected { self.store.api_key(&record.id).await? } else { None };
        let (Some(key), Some(site)) = (key, self.site_of(record)) else { return Ok(false) };
        Ok(!matches!(self.datadog.validate(&site, &key.key).await, Validation::Invalid(_)))
    }

    /// The key that a tenant holds and that came by this flow, on that site.
    async fn held_key(&self, record: &TenantRecord, site: &Site) -> Result<Option<ApiKey>, StoreError> {
        if record.site != site.name {
            return Ok(None);
        }
        let key = self.store.api_key(&record.id).await?;
        Ok(key.filter(|key| key.info.origin == Origin::OAuth))
    }

    async fn keep_held(
        &self,
        obtain: &Obtain<'_>,
        organisation: Option<String>,
    ) -> Result<(TenantRecord, KeyUse), NoKey> {
        let Obtain { lease, record, hint, changes, .. } = obtain;
        let mut changes = changes.clone();
        changes.push(Change::KeyCreation(false));
        let record = self.settle(lease, record, organisation, hint, changes).await?;
        Ok((record, KeyUse::Kept))
    }

    /// Keeps a key that was made just now, before anything else, and then asks whose it is.
    async fn keep_new(
        &self,
        obtain: Obtain<'_>,
        key: Secret,
        datadog_id: Option<String>,
    ) -> Result<TenantRecord, NoKey> {
        let Obtain { lease, record, hint, mut changes, .. } = obtain;
        let tenant = &record.id;
        changes.push(Change::Key(Some(NewKey { key, datadog_id, origin: Origin::OAuth })));
        changes.push(Change::KeyCreation(false));
        // With a key and pending: nothing is sent before it is known whose the key is.
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
                    "an API key was created, but could not be kept: {failed}. {}",
                    Trouble::key_lost("it is gone").instructions
                );
                return Err(failed.into());
            }
        };
        info!(%tenant, "an API key was created and is kept");
        self.verify(lease, record, hint, TRIES).await
    }

    /// Keeps a key although this host was frozen for so long that another took the lease: there is no other copy of it. Only
    /// where the tenant has got another key meanwhile, that one is newer.
    async fn keep_without_lease(&self, before: &TenantRecord, changes: &[Change]) -> Result<TenantRecord, StoreError> {
        let tenant = &before.id;
        let now = self.store.tenant(tenant).await?.ok_or_else(|| StoreError::UnknownTenant(tenant.clone()))?;
        if now.key != before.key {
            return Err(StoreError::Stale { tenant: tenant.clone(), what: "it has another key now" });
        }
        let guard = Guard { lease: None, revision: Some(now.revision) };
        let record = self.store.apply(tenant, guard, changes).await?;
        warn!(%tenant, "this host was stopped for a while; the key that it was creating is kept all the same");
        self.publish(&record).await;
        Ok(record)
    }

    /// Asks whose the key of a pending tenant is, and connects the tenant if that is nobody else's.
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
                    return self.settle(lease, &record, organisation, hint, vec![]).await;
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
                Validation::NoSuchEndpoint => words = "no way to validate it".into(),
            }
        }
        warn!(%tenant, "whose its API key is, is not known yet, and is asked again: {words}");
        Ok(record)
    }

    /// Connects a tenant to the organisation of its key.
    async fn settle(
        &self,
        lease: &Lease,
        record: &TenantRecord,
        id: Option<String>,
        hint: &Hint,
        mut changes: Vec<Change>,
    ) -> Result<TenantRecord, NoKey> {
        let before = record.organisation.as_ref();
        let organisation = id.map(|id| {
            let known = before.filter(|before| before.id == id).and_then(|before| before.name.clone());
            Organisation { name: hint.name.clone().or(known), id }
        });
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
