//! The durable state of tenants: who they are, their connection to Datadog, and their secrets, sealed by
//! [`vault`](crate::vault).
//!
//! SQLite in the state directory serves one host, PostgreSQL several that share their tenants, by the same statements.
//! A call is one transaction: when it returns, everything of it is on the disk; when it fails, nothing of it is.
//! Writers exclude one another, so that the conditions a step checks still hold when it writes.
//!
//! Hosts keep out of each other's way by [`Lease`]s, and changes made under one are checked against it, so that a host
//! that was frozen for a while overwrites nothing. They learn of each other's changes by [`Store::watch`].

mod backend;
mod error;
mod generations;
mod ingest_tokens;
mod lease;
mod model;
mod pending;
mod rekey;
mod schema;
mod secrets;
mod tenants;
mod watch;

pub use error::{Fault, StoreError};
pub use generations::Generations;
pub use lease::Lease;
pub use model::{
    ApiKey, Change, Changes, Connection, IngestToken, KeyInfo, NewKey, NewTenant, NewTokens, Organisation, Origin,
    Pending, Rekeyed, Replaces, Revision, SessionDigest, Taken, TenantRecord, Tokens, TokensInfo,
};
pub use pending::Park;
pub use tenants::Guard;
pub use watch::Watch;

use crate::settings::StoreUrl;
use crate::vault::{KeyId, Keyring, Source, VaultError};
use backend::{Backend, Mode, Tx};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Notify;
use tracing::{info, warn};

/// A handle to the store. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    backend: Backend,
    source: Source,
    keys: RwLock<Arc<Keyring>>,
    changed: Notify,
}

/// A write transaction, with the keys that it may seal with.
struct Step {
    tx: Tx,
    keys: Arc<Keyring>,
    key: KeyId,
    revision: Revision,
}

impl Store {
    /// Opens the store, creating or upgrading what is needed: the schema, and the master key of a new store.
    ///
    /// # Errors
    /// When the database cannot be used or is of a newer version, or the master key is missing, accessible to others,
    /// or not the one that the store was sealed with. Nothing is changed then.
    pub async fn open(url: &StoreUrl, state_dir: &Path, source: Source) -> Result<Self, StoreError> {
        let keys = source.load().map_err(StoreError::KeySource)?;
        let backend = Backend::open(url, state_dir).await?;
        schema::migrate(&backend).await?;
        let keys = RwLock::new(Arc::new(keys));
        let store = Self { inner: Arc::new(Inner { backend, source, keys, changed: Notify::new() }) };
        store.settle_key().await?;
        match store.replaced_keys().await {
            Ok(replaced) if !replaced.is_empty() => warn!(
                keys = replaced.len(),
                "master keys that were replaced are still on the disk, and open old backups of the store to whoever reads \
                 them: once no such backup is needed, `dogsled store old-keys --remove`"
            ),
            Ok(_) => {}
            Err(error) => warn!("{error}"),
        }
        Ok(store)
    }

    /// Like [`open`](Self::open), but creates no SQLite file.
    ///
    /// # Errors
    /// See [`open`](Self::open); also when there is no such file.
    pub async fn open_existing(url: &StoreUrl, state_dir: &Path, source: Source) -> Result<Self, StoreError> {
        if let Some(path) = backend::file(url, state_dir).ok().filter(|path| !path.exists()) {
            let reason = "there is no store: check state.dir and store.url".into();
            return Err(StoreError::File { path, reason });
        }
        Self::open(url, state_dir, source).await
    }

    /// Its address without passwords.
    pub fn address(&self) -> &str {
        self.inner.backend.address()
    }

    /// Ensures that the store has a master key and that this process has it.
    async fn settle_key(&self) -> Result<(), StoreError> {
        let mut key = sealed_with(&mut self.read().await?).await?;
        if key.is_none() {
            key = self.name_key().await?;
        }
        let Some(key) = key else { return Ok(()) };
        self.keys_with(key)?;
        self.finish_rotation(key);
        Ok(())
    }

    /// Names the master key of a new store, unless another process was quicker: then its key is given.
    async fn name_key(&self) -> Result<Option<KeyId>, StoreError> {
        // An update, so that another process that does the same waits here.
        const LOCK: &str = "UPDATE dogsled_meta SET revision = revision + 1 RETURNING master_key";
        let mut tx = self.inner.backend.begin(Mode::Write).await?;
        let named = tx.query_one(LOCK, vec![]).await?.map(|mut row| row.opt_text()).transpose()?.flatten();
        if let Some(named) = named {
            return key_id(&named).map(Some);
        }
        let source = &self.inner.source;
        let key = match self.reload_keys()?.first() {
            Some(key) => key,
            None => {
                let key = source.create().map_err(StoreError::KeySource)?.id();
                self.reload_keys()?;
                info!("master key {key} was created; keep a copy of it, apart from the backups of the store");
                key
            }
        };
        tx.query("UPDATE dogsled_meta SET master_key = $1", vec![key.to_string().as_str().into()]).await?;
        tx.commit().await?;
        Ok(None)
    }

    /// Finishes a key rotation that the store has made and the files have not.
    fn finish_rotation(&self, key: KeyId) {
        let Some(rotation) = self.inner.source.rotation() else { return };
        match rotation.finish(key) {
            Ok(Some(kept)) => info!("the master key is now {key}; the previous one is kept as {}", kept.display()),
            Ok(None) => {}
            Err(error) => warn!("{error}"),
        }
    }

    fn keys(&self) -> Arc<Keyring> {
        Arc::clone(&self.inner.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn reload_keys(&self) -> Result<Arc<Keyring>, StoreError> {
        let keys = Arc::new(self.inner.source.load().map_err(StoreError::KeySource)?);
        *self.inner.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&keys);
        Ok(keys)
    }

    /// The keys, with that one among them: another process may have changed it, and then its file has it too.
    fn keys_with(&self, key: KeyId) -> Result<Arc<Keyring>, StoreError> {
        let keys = self.keys();
        if keys.contains(key) {
            return Ok(keys);
        }
        let keys = self.reload_keys()?;
        match keys.get(key).map(drop) {
            Ok(()) => {
                self.finish_rotation(key);
                Ok(keys)
            }
            Err(why) => {
                let (address, advice) = (self.address().to_owned(), self.inner.source.advice(key));
                Err(StoreError::MasterKey { address, needed: key, why, advice })
            }
        }
    }

    async fn read(&self) -> Result<Tx, StoreError> {
        self.inner.backend.begin(Mode::Read).await
    }

    /// Begins a step. Its first statement takes the one row that all steps need, so that they run one after the other,
    /// revisions become visible in order, and none seals with a retired key.
    async fn step(&self) -> Result<Step, StoreError> {
        const NEXT: &str = "UPDATE dogsled_meta SET revision = revision + 1 RETURNING revision, master_key";
        let mut tx = self.inner.backend.begin(Mode::Write).await?;
        let Some(mut row) = tx.query_one(NEXT, vec![]).await? else {
            return Err(StoreError::Damaged("dogsled_meta has no row".into()));
        };
        let revision = Revision(row.int()?);
        let key = key_id(&row.text()?)?;
        Ok(Step { tx, keys: self.keys_with(key)?, key, revision })
    }

    /// Commits a step and notifies watchers.
    async fn commit(&self, mut step: Step) -> Result<(), StoreError> {
        if let Some(tell) = self.inner.backend.tell() {
            step.tx.query(tell, vec![]).await?;
        }
        step.tx.commit().await?;
        self.inner.changed.notify_waiters();
        Ok(())
    }
}

/// The key that everything in the store is sealed with; none in a new store.
async fn sealed_with(tx: &mut Tx) -> Result<Option<KeyId>, StoreError> {
    let row = tx.query_one("SELECT master_key FROM dogsled_meta", vec![]).await?;
    match row.map(|mut row| row.opt_text()).transpose()?.flatten() {
        Some(text) => key_id(&text).map(Some),
        None => Ok(None),
    }
}

fn key_id(text: &str) -> Result<KeyId, StoreError> {
    KeyId::parse(text).ok_or_else(|| StoreError::Damaged(format!("{text:?} is no id of a master key")))
}

/// The error of a secret that cannot be opened or sealed.
fn unusable(tenant: &crate::types::TenantId, field: &'static str) -> impl FnOnce(VaultError) -> StoreError {
    let tenant = tenant.clone();
    move |why| StoreError::Secret { tenant, field, why }
}
