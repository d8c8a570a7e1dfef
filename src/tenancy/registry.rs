//! All tenants, by name and by ingest token.

use super::{Access, FileKeys, Meters, Tenant};
use crate::settings::Settings;
use crate::types::{Secret, TenantId, UnixMillis};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;

/// The tenants that the daemon knows. Tokens are kept as SHA-256 digests only, so that looking one up compares nothing
/// that an emitter could measure.
#[derive(Debug, Default)]
pub struct Registry {
    inner: RwLock<Inner>,
    changes: watch::Sender<()>,
    partial: AtomicBool,
    meters: Arc<Meters>,
    file_keys: FileKeys,
}

#[derive(Debug, Default)]
struct Inner {
    tenants: HashMap<TenantId, Arc<Tenant>>,
    tokens: HashMap<[u8; 32], TenantId>,
}

impl Registry {
    /// A registry of tenants with these meters.
    pub fn new(meters: Arc<Meters>, file_keys: FileKeys) -> Self {
        Self { meters, file_keys, ..Self::default() }
    }

    /// The meters of its tenants.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Replaces the tenants of the configuration `before` by those of `now`. Returns those that are no longer in it:
    /// they stay registered, without ingest tokens.
    pub fn configure(&self, before: &Settings, now: &Settings) -> Vec<TenantId> {
        for (id, tenant) in &now.tenants {
            // Loading the settings has checked that every site is known.
            let Some(site) = now.datadog.sites.get(&tenant.site) else { continue };
            let present = self.get(id.as_str()).filter(|_| before.tenants.contains_key(id));
            let hold = self.file_keys.hold(id, tenant.api_key.as_ref());
            let tenant = match present.filter(|present| present.site == site) {
                Some(present) => {
                    present.set_terms(tenant.api_key.clone().map_or(Access::None, Access::Key), hold);
                    continue;
                }
                None => Tenant::new(id.clone(), site, tenant.api_key.clone()),
            };
            tenant.set_terms(tenant.key().map_or(Access::None, Access::Key), hold);
            self.insert(Arc::new(tenant));
        }
        // At once, so that no token that is good before and after is unknown in between.
        let mut inner = self.write();
        inner.tokens.retain(|_, of| !before.tenants.contains_key(of) && !now.tenants.contains_key(of));
        for (id, tenant) in &now.tenants {
            inner.tokens.extend(tenant.ingest_tokens.iter().map(|token| (digest(token.expose()), id.clone())));
        }
        before.tenants.keys().filter(|id| !now.tenants.contains_key(*id)).cloned().collect()
    }

    /// The tenants of a configuration file whose key's organisation is not known yet, with the key.
    pub fn unidentified(&self, settings: &Settings) -> Vec<(Arc<Tenant>, Secret)> {
        let keyed = settings.tenants.iter().filter_map(|(id, tenant)| Some((id, tenant.api_key.as_ref()?)));
        let unknown = keyed.filter(|(id, key)| !self.file_keys.knows(id, key));
        unknown.filter_map(|(id, key)| Some((self.get(id.as_str())?, key.clone()))).collect()
    }

    /// Notes the organisation of a key of the configuration file: the tenant gets what was accepted for other keys of it.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn identify(&self, tenant: &Tenant, key: &Secret, organisation: &str) -> io::Result<()> {
        self.file_keys.learn(&tenant.id, key, organisation)?;
        self.hold_by_key(tenant);
        Ok(())
    }

    /// Notes that Datadog refuses a key of the configuration file.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn note_refused(&self, tenant: &TenantId, key: &Secret) -> io::Result<()> {
        self.file_keys.note_refused(tenant, key)
    }

    /// Releases what a tenant of the configuration file has of other recipients, accepted before a time, to its present key.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn release(&self, tenant: &Tenant, before: UnixMillis) -> io::Result<()> {
        if let Some(key) = tenant.key() {
            self.file_keys.release(&tenant.id, &key, before)?;
            self.hold_by_key(tenant);
        }
        Ok(())
    }

    fn hold_by_key(&self, tenant: &Tenant) {
        if let Some(key) = tenant.key() {
            let hold = self.file_keys.hold(&tenant.id, Some(&key));
            tenant.set_terms(Access::Key(key), hold);
        }
    }

    /// Adds a tenant, or replaces the one of that name.
    pub fn insert(&self, tenant: Arc<Tenant>) {
        // It can be in one registry only, and stays in it.
        let _ = tenant.changes.set(self.changes.clone());
        let _ = tenant.meter.set(self.meters.of(&tenant.id));
        self.write().tenants.insert(tenant.id.clone(), tenant);
        self.changes.send_replace(());
    }

    /// Notified whenever a tenant is added or removed, or its permission to send changes.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Sets whether more tenants may exist than are known so far, so that an unknown one may yet turn out to exist.
    pub fn set_partial(&self, partial: bool) {
        self.partial.store(partial, Ordering::Release);
    }

    /// Whether there may be more tenants than are known so far.
    pub fn is_partial(&self) -> bool {
        self.partial.load(Ordering::Acquire)
    }

    /// Whether no telemetry can be accepted for now, because the tenants cannot be read.
    pub fn is_blind(&self) -> bool {
        self.is_partial() && self.read().tenants.is_empty()
    }

    /// Removes a tenant and its tokens.
    pub fn remove(&self, id: &TenantId) {
        let mut inner = self.write();
        inner.tenants.remove(id);
        inner.tokens.retain(|_, tenant| tenant != id);
        drop(inner);
        self.changes.send_replace(());
    }

    /// Assigns an ingest token to a tenant.
    pub fn add_token(&self, token: &Secret, tenant: &TenantId) {
        self.write().tokens.insert(digest(token.expose()), tenant.clone());
    }

    /// Assigns exactly the tokens with these SHA-256 digests (of the lower case) to a tenant. Those that belong to
    /// another tenant stay there.
    pub fn set_tokens(&self, tenant: &TenantId, digests: impl IntoIterator<Item = [u8; 32]>) {
        let mut inner = self.write();
        inner.tokens.retain(|_, of| of != tenant);
        for digest in digests {
            inner.tokens.entry(digest).or_insert_with(|| tenant.clone());
        }
    }

    /// The tenant of that name.
    pub fn get(&self, id: &str) -> Option<Arc<Tenant>> {
        self.read().tenants.get(id).cloned()
    }

    /// The tenant that an ingest token belongs to.
    pub fn by_token(&self, token: &str) -> Option<Arc<Tenant>> {
        let inner = self.read();
        inner.tenants.get(inner.tokens.get(&digest(token))?).cloned()
    }

    /// Every tenant, in no order.
    pub fn all(&self) -> Vec<Arc<Tenant>> {
        self.read().tenants.values().cloned().collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(token: &str) -> [u8; 32] {
    // Hexadecimal digits: clients differ in the case they send.
    Sha256::digest(token.to_ascii_lowercase().as_bytes()).into()
}
