//! Changing tenants.

use super::{Control, ControlError, Open};
use crate::api::{
    BegunView, CallbackRequest, ConfirmRequest, ConnectRequest, ConnectedView, DisconnectedView, HeldAction, HeldView,
    NewTenant, NewTokenView, RemovedView, Telemetry, TenantPatch, TenantView, TokenList,
};
use crate::settings::{Overrides, OverridesPatch};
use crate::store::{self, Change, Connection, Guard, NewKey, Origin, Store, StoreError, TenantRecord};
use crate::tenancy::Tenant;
use crate::types::{Secret, TenantId, UnixMillis, is_unprintable};
use serde_json::{Map, Value};
use std::io;
use tracing::{info, warn};

/// The longest display name and the longest label of a token, in characters.
const LONGEST_NAME: usize = 200;

impl Control {
    /// Adds a tenant: connected when it comes with a key, pending else.
    ///
    /// # Errors
    /// When it exists, its site is not known, or the store fails.
    pub async fn create(&self, new: NewTenant) -> Result<TenantView, ControlError> {
        if self.is_of_file(&new.id) {
            return Err(ControlError::StaticExists(new.id));
        }
        let Open { store, oauth } = self.open()?;
        let site = new.site.unwrap_or_else(|| self.settings().datadog.default_site.clone());
        self.check_site(&site)?;
        let mut changes = vec![];
        if let Some(name) = new.display_name {
            check_text("display_name", &name)?;
            changes.push(Change::DisplayName(name));
        }
        if let Some(key) = new.api_key {
            changes.extend(static_key(key)?);
        }
        let own = OverridesPatch { limits: new.limits, journal: new.journal };
        changes.extend(overrides(Overrides::default(), &own, &Map::new())?);
        let record = store.add_tenant(&store::NewTenant { id: new.id, site }, &changes).await?;
        oauth.publish(&record).await;
        info!(tenant = %record.id, site = record.site, "added by the operator");
        Ok(self.view(&record))
    }

    /// Changes a tenant.
    ///
    /// # Errors
    /// When there is no such tenant, it is in the configuration file, its key or site is OAuth's, someone else changes it
    /// at the same time, or the store fails.
    pub async fn update(&self, id: &TenantId, wanted: TenantPatch) -> Result<TenantView, ControlError> {
        let Open { store, .. } = self.open_for(id)?;
        let record = store.tenant(id).await?.ok_or_else(|| StoreError::UnknownTenant(id.clone()))?;
        let by_oauth = record.tokens.is_some() || record.key.as_ref().is_some_and(|key| key.origin == Origin::OAuth);
        let free = |what| if by_oauth { Err(ControlError::Connected { tenant: id.clone(), what }) } else { Ok(()) };
        let mut changes = vec![];
        if let Some(name) = wanted.display_name {
            check_text("display_name", &name)?;
            changes.push(Change::DisplayName(name));
        }
        if let Some(site) = wanted.site.filter(|site| *site != record.site) {
            self.check_site(&site)?;
            free("site")?;
            changes.push(Change::Site(site));
        }
        if let Some(key) = wanted.api_key {
            free("API key")?;
            changes.extend(static_key(key)?);
            // Datadog is asked whose it is. Until then nothing is sent with it that was accepted for the former key's organisation.
            changes.push(Change::KeyOf(None));
        }
        let own = OverridesPatch { limits: wanted.limits, journal: wanted.journal };
        changes.extend(overrides(record.own(), &own, &record.overrides)?);
        if changes.is_empty() {
            return Ok(self.view(&record));
        }
        self.apply(id, Guard { revision: Some(record.revision), lease: None }, &changes).await
    }

    /// Holds a tenant's telemetry, or lets it go on.
    ///
    /// # Errors
    /// When there is no such tenant, it is in the configuration file, or the store fails.
    pub async fn set_paused(&self, id: &TenantId, paused: bool) -> Result<TenantView, ControlError> {
        let view = self.apply(id, Guard::default(), &[Change::Paused(paused)]).await?;
        info!(tenant = %id, "{} by the operator", if paused { "paused" } else { "resumed" });
        Ok(view)
    }

    /// Removes a tenant: its authorisation is revoked, and key, tokens and ingest tokens are forgotten. What is queued of
    /// it is dropped on this host, or kept until it is too old; of one that is gone already, it can still be dropped.
    ///
    /// # Errors
    /// When there is no such tenant and nothing of it is queued, it is in the configuration file, something else is in
    /// progress for it, or the store fails.
    pub async fn remove(&self, id: &TenantId, telemetry: Telemetry) -> Result<RemovedView, ControlError> {
        let Open { store, oauth } = self.open_for(id)?;
        let record = store.tenant(id).await?;
        if record.is_none() && (telemetry == Telemetry::Keep || self.queue_of(id).items == 0) {
            return Err(StoreError::UnknownTenant(id.clone()).into());
        }
        let mut not_revoked = None;
        if record.is_some_and(|record| record.tokens.is_some()) {
            not_revoked = oauth.disconnect(id).await?.not_revoked;
        }
        let removed = store.remove_tenant(id).await?;
        self.registry.remove(id);
        let dropped_items = match telemetry {
            Telemetry::Keep => 0,
            Telemetry::Purge => {
                self.delivery.purge_dead_letters(id).await?;
                self.delivery.purge(id, until_now(), None).await?
            }
        };
        let kept_items = self.queue_of(id).items;
        info!(tenant = %id, dropped_items, kept_items, "removed by the operator");
        Ok(RemovedView { id: id.to_string(), removed, dropped_items, kept_items, not_revoked })
    }

    /// Begins an authorisation; see [`Oauth::begin`](crate::oauth::Oauth::begin).
    ///
    /// # Errors
    /// When no OAuth client is configured, `domain` or `site` is not on the list, there is no such tenant, or the store
    /// fails.
    pub async fn connect(&self, id: &TenantId, from: &ConnectRequest) -> Result<BegunView, ControlError> {
        let Open { store, oauth } = self.open_for(id)?;
        if !self.settings().oauth.is_configured() {
            return Err(ControlError::NoClient);
        }
        store.tenant(id).await?.ok_or_else(|| StoreError::UnknownTenant(id.clone()))?;
        Ok(oauth.begin(id, from.domain.as_deref(), from.site.as_deref(), from.session.as_ref()).await?.into())
    }

    /// Takes Datadog's answer to an authorisation from the application that got it.
    ///
    /// # Errors
    /// When the tenant is not connected.
    pub async fn callback(&self, request: &CallbackRequest) -> Result<ConnectedView, ControlError> {
        let CallbackRequest { query, tenant, session } = request;
        let Open { oauth, .. } = self.open()?;
        if !self.settings().oauth.is_configured() {
            return Err(ControlError::NoClient);
        }
        let connected = oauth.finish(query.expose(), tenant.as_ref(), session.as_ref()).await?;
        Ok(ConnectedView::new(self.show(&connected.tenant).await?, &connected))
    }

    /// Confirms an authorisation with the ticket that a browser brought to the application; see
    /// [`Oauth::confirm`](crate::oauth::Oauth::confirm).
    ///
    /// # Errors
    /// When the tenant is not connected.
    pub async fn confirm(&self, id: &TenantId, request: &ConfirmRequest) -> Result<ConnectedView, ControlError> {
        let Open { oauth, .. } = self.open_for(id)?;
        if !self.settings().oauth.is_configured() {
            return Err(ControlError::NoClient);
        }
        let connected = oauth.confirm(id, &request.ticket, &request.session).await?;
        Ok(ConnectedView::new(self.show(&connected.tenant).await?, &connected))
    }

    /// Revokes a tenant's authorisation and forgets its key; its telemetry is held from then on.
    ///
    /// # Errors
    /// When there is no such tenant, it is in the configuration file, something else is in progress for it, or the store
    /// fails.
    pub async fn disconnect(&self, id: &TenantId) -> Result<DisconnectedView, ControlError> {
        let disconnected = self.open_for(id)?.oauth.disconnect(id).await?;
        Ok(DisconnectedView::new(self.view(&disconnected.tenant), disconnected))
    }

    /// Decides about telemetry that was meant for another organisation than the present one: it goes there all the same, or
    /// it is dropped. Hosts that share the store do the same within seconds, or when they are started again.
    ///
    /// # Errors
    /// When nothing of that kind is held, there is no such tenant, it is in the configuration file, or the store fails.
    pub async fn decide_held(&self, id: &TenantId, action: HeldAction) -> Result<HeldView, ControlError> {
        if let Some(tenant) = self.registry.get(id.as_str()).filter(|_| self.is_of_file(id)) {
            return self.decide_held_of_file(&tenant, action).await;
        }
        let Open { store, oauth } = self.open()?;
        let record = store.tenant(id).await?.ok_or_else(|| StoreError::UnknownTenant(id.clone()))?;
        if record.held_for.is_none() && self.queue_of(id).held_items == 0 {
            return Err(ControlError::NothingHeld(id.clone()));
        }
        let (record, dropped_items) = match action {
            HeldAction::Release => {
                let record = oauth.release_held(id).await?;
                oauth.publish(&record).await;
                (record, 0)
            }
            HeldAction::Drop => {
                let before = until_now();
                let items = self.drop_held(id, before).await?;
                info!(tenant = %id, items, "telemetry held for another recipient is dropped by the operator");
                (oauth.drop_held(id, before).await?, items)
            }
        };
        Ok(HeldView { tenant: self.view(&record), dropped_items })
    }

    /// A tenant's ingest tokens.
    ///
    /// # Errors
    /// When there is no such tenant, it is in the configuration file, or the store fails.
    pub async fn tokens(&self, id: &TenantId) -> Result<TokenList, ControlError> {
        let Open { store, .. } = self.open_for(id)?;
        store.tenant(id).await?.ok_or_else(|| StoreError::UnknownTenant(id.clone()))?;
        let tokens = store.ingest_tokens(Some(id)).await?.into_iter().map(Into::into).collect();
        Ok(TokenList { tokens })
    }

    /// Makes an ingest token; good at once on this host, and on others within seconds.
    ///
    /// # Errors
    /// When there is no such tenant, it is in the configuration file, or the store fails.
    pub async fn create_token(&self, id: &TenantId, label: &str) -> Result<NewTokenView, ControlError> {
        check_text("label", label)?;
        let Open { store, .. } = self.open_for(id)?;
        let (token, info) = store.create_ingest_token(id, label).await?;
        self.show_tokens(store, id).await;
        info!(tenant = %id, token = info.id, "an ingest token was made by the operator");
        Ok(NewTokenView { token, info: info.into() })
    }

    /// Revokes an ingest token.
    ///
    /// # Errors
    /// When there is no such token, the tenant is in the configuration file, or the store fails.
    pub async fn revoke_token(&self, id: &TenantId, token: &str) -> Result<(), ControlError> {
        let Open { store, .. } = self.open_for(id)?;
        store.tenant(id).await?.ok_or_else(|| StoreError::UnknownTenant(id.clone()))?;
        if !store.remove_ingest_token(id, token).await? {
            let token = token.chars().take(40).collect();
            return Err(ControlError::UnknownToken { tenant: id.clone(), token });
        }
        self.show_tokens(store, id).await;
        info!(tenant = %id, token, "an ingest token was revoked by the operator");
        Ok(())
    }

    async fn decide_held_of_file(&self, tenant: &Tenant, action: HeldAction) -> Result<HeldView, ControlError> {
        let id = &tenant.id;
        if self.queue_of(id).held_items == 0 {
            return Err(ControlError::NothingHeld(id.clone()));
        }
        let dropped_items = match action {
            HeldAction::Release => {
                self.registry.release(tenant, until_now())?;
                0
            }
            HeldAction::Drop => self.drop_held(id, until_now()).await?,
        };
        info!(tenant = %id, dropped_items, "telemetry held for another recipient is decided on by the operator");
        Ok(HeldView { tenant: self.show(id).await?, dropped_items })
    }

    /// Drops what is held of a tenant for another recipient, on this host; returns how many items.
    pub(super) async fn drop_held(&self, id: &TenantId, before: UnixMillis) -> io::Result<u64> {
        let recipients = self.registry.get(id.as_str()).map(|tenant| tenant.terms().1.recipients).unwrap_or_default();
        self.delivery.purge(id, before, Some(&recipients)).await
    }

    async fn apply(&self, id: &TenantId, guard: Guard<'_>, changes: &[Change]) -> Result<TenantView, ControlError> {
        let Open { store, oauth } = self.open_for(id)?;
        let record: TenantRecord = store.apply(id, guard, changes).await?;
        oauth.publish(&record).await;
        Ok(self.view(&record))
    }

    fn check_site(&self, site: &str) -> Result<(), ControlError> {
        let settings = self.settings();
        let sites = &settings.datadog.sites;
        if sites.get(site).is_some() {
            return Ok(());
        }
        let known: Vec<&str> = sites.names().collect();
        let shown: String = site.chars().take(80).collect();
        Err(ControlError::Invalid(format!("site {shown:?} is not known: it must be one of {}", known.join(", "))))
    }

    /// Shows a tenant's ingest tokens to this host's listeners at once. When that fails, the change is seen all the same, by
    /// following the store.
    async fn show_tokens(&self, store: &Store, id: &TenantId) {
        if let Err(failed) = self.load_tokens(store, id).await {
            warn!(tenant = %id, "its ingest tokens are not known here yet: {failed}");
        }
    }

    /// Shows a tenant's ingest tokens to this host's listeners.
    pub(super) async fn load_tokens(&self, store: &Store, id: &TenantId) -> Result<(), StoreError> {
        let tokens = store.ingest_tokens(Some(id)).await?;
        self.registry.set_tokens(id, tokens.into_iter().map(|token| token.digest));
        Ok(())
    }
}

/// What gives a tenant a key of the operator's.
fn static_key(key: Secret) -> Result<[Change; 4], ControlError> {
    let text = key.expose();
    if text.is_empty() || text.len() > 256 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ControlError::Invalid(
            "api_key is no API key: Datadog's are 32 hexadecimal digits (Organization Settings, API Keys)".into(),
        ));
    }
    let key = NewKey { key, datadog_id: None, origin: Origin::Static };
    Ok([
        Change::Key(Some(key)),
        Change::Organisation(None),
        Change::KeyCreation(false),
        Change::Connection(Connection::Connected),
    ])
}

/// A time that everything accepted so far is before.
fn until_now() -> UnixMillis {
    UnixMillis(UnixMillis::now().0 + 1)
}

fn check_text(field: &str, text: &str) -> Result<(), ControlError> {
    if text.chars().count() > LONGEST_NAME {
        return Err(ControlError::Invalid(format!("{field} is longer than {LONGEST_NAME} characters")));
    }
    if text.contains(is_unprintable) {
        return Err(ControlError::Invalid(format!("{field} has control or format characters in it")));
    }
    Ok(())
}

/// What the store is to keep after a change of overrides, if that differs from `kept`.
fn overrides(
    own: Overrides,
    patch: &OverridesPatch,
    kept: &Map<String, Value>,
) -> Result<Option<Change>, ControlError> {
    let all = own.patched(patch).map_err(ControlError::Invalid)?.to_store(kept);
    Ok((all != *kept).then_some(Change::Overrides(all)))
}
