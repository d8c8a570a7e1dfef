//! Rotation of the master key.

use super::backend::Value;
use super::pending::{ANSWER, VERIFIER};
use super::secrets::{ACCESS_TOKEN, API_KEY, REFRESH_TOKEN};
use super::tenants::tenant_id;
use super::{Rekeyed, Store, StoreError, sealed_with, unusable};
use crate::vault::{Binding, KeyId, Keyring, MasterKey};
use std::path::PathBuf;
use std::sync::PoisonError;
use tracing::warn;

/// Everything that is sealed: the field that it is bound to, how it is found (rows of an identity, the tenant and the
/// sealed secret), and how it is replaced.
const SEALED: [(&str, &str, &str); 5] = [
    (
        API_KEY,
        "SELECT CAST(NULL AS BYTEA), tenant, sealed FROM dogsled_api_keys",
        "UPDATE dogsled_api_keys SET sealed = $1 WHERE tenant = $2",
    ),
    (
        ACCESS_TOKEN,
        "SELECT CAST(NULL AS BYTEA), tenant, access FROM dogsled_tokens",
        "UPDATE dogsled_tokens SET access = $1 WHERE tenant = $2",
    ),
    (
        REFRESH_TOKEN,
        "SELECT CAST(NULL AS BYTEA), tenant, refresh FROM dogsled_tokens",
        "UPDATE dogsled_tokens SET refresh = $1 WHERE tenant = $2",
    ),
    (
        VERIFIER,
        "SELECT state, tenant, verifier FROM dogsled_pending WHERE verifier IS NOT NULL",
        "UPDATE dogsled_pending SET verifier = $1 WHERE tenant = $2 AND state = $3",
    ),
    (
        ANSWER,
        "SELECT state, tenant, answer FROM dogsled_pending WHERE answer IS NOT NULL",
        "UPDATE dogsled_pending SET answer = $1 WHERE tenant = $2 AND state = $3",
    ),
];

impl Store {
    /// Rotates the master key: to `wanted`, or to that of an unfinished rotation, or to a new one.
    ///
    /// All secrets are sealed again in one step: after a crash at any point, the store holds everything under the old key
    /// or everything under the new one, and the key file or the one beside it has that key. A process running meanwhile
    /// reads its key file again when it meets the new key, and nothing is sealed with the old one afterwards.
    ///
    /// # Errors
    /// When there is no other key to change to, a secret cannot be decrypted, or the store fails. Nothing is changed then.
    pub async fn rekey(&self, wanted: Option<MasterKey>) -> Result<Rekeyed, StoreError> {
        let present = sealed_with(&mut self.read().await?).await?;
        if let Some(same) = wanted.as_ref().map(MasterKey::id).filter(|id| Some(*id) == present) {
            return Err(StoreError::SameKey(same));
        }
        let rotation = self.inner.source.rotation();
        let new = match rotation {
            Some(rotation) => rotation.begin(wanted).map_err(StoreError::KeySource)?,
            None => wanted.ok_or(StoreError::NewKeyNeeded)?,
        };
        let (from, secrets) = self.seal_anew(&new).await?;
        if let Err(error) = self.inner.backend.scrub().await {
            warn!("secrets sealed with the old key may still be in the files of the store: {error}");
        }
        let kept = rotation.map_or(Ok(None), |rotation| rotation.finish(new.id()));
        let advice = rotation.is_none().then(|| self.inner.source.advice(new.id()));
        Ok(Rekeyed { from, to: new.id(), secrets, kept, advice })
    }

    /// The master keys that were replaced and are kept beside the key file, with their files. One that the store needs is
    /// not among them, wherever it is.
    ///
    /// # Errors
    /// When the directory of the key file cannot be read, or the store fails.
    pub async fn replaced_keys(&self) -> Result<Vec<(KeyId, PathBuf)>, StoreError> {
        let Some(rotation) = self.inner.source.rotation() else { return Ok(Vec::new()) };
        let present = sealed_with(&mut self.read().await?).await?;
        let mut kept = rotation.kept().map_err(StoreError::KeySource)?;
        kept.retain(|(id, _)| Some(*id) != present);
        Ok(kept)
    }

    /// Removes the [`replaced_keys`](Self::replaced_keys), and gives what is removed. Backups of the store that were
    /// sealed with one of them can be opened by nobody afterwards.
    ///
    /// # Errors
    /// As there, and when a file cannot be removed.
    pub async fn remove_replaced_keys(&self) -> Result<Vec<(KeyId, PathBuf)>, StoreError> {
        let replaced = self.replaced_keys().await?;
        let rotation = self.inner.source.rotation();
        for (rotation, (id, _)) in rotation.iter().cycle().zip(&replaced) {
            rotation.remove_kept(*id).map_err(StoreError::KeySource)?;
        }
        Ok(replaced)
    }

    async fn seal_anew(&self, new: &MasterKey) -> Result<(KeyId, usize), StoreError> {
        let mut step = self.step().await?;
        if step.key == new.id() {
            return Err(StoreError::SameKey(step.key));
        }
        let old = step.keys.get(step.key).map_err(StoreError::KeySource)?;
        let both = Keyring::new([old.clone(), new.clone()]);
        let mut secrets = 0;
        for (field, find, replace) in SEALED {
            for mut row in step.tx.query(&self.inner.backend.dialect(find), vec![]).await? {
                let (identity, tenant, sealed) = (row.opt_bytes()?, tenant_id(&row.text()?)?, row.bytes()?);
                let binding = Binding { tenant: tenant.as_str(), field };
                let secret = both.open(binding, &sealed).map_err(unusable(&tenant, field))?;
                let sealed = both.seal(new.id(), binding, &secret).map_err(unusable(&tenant, field))?;
                let mut parameters: Vec<Value> = vec![sealed.into(), tenant.as_str().into()];
                parameters.extend(identity.map(Value::from));
                step.tx.query(replace, parameters).await?;
                secrets += 1;
            }
        }
        let id = new.id().to_string();
        step.tx.query("UPDATE dogsled_meta SET master_key = $1", vec![id.as_str().into()]).await?;
        let from = step.key;
        self.commit(step).await?;
        *self.inner.keys.write().unwrap_or_else(PoisonError::into_inner) = both.into();
        Ok((from, secrets))
    }
}
