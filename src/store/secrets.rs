//! API keys and OAuth tokens, sealed.

use super::backend::{Row, Value};
use super::tenants::{origin, tenant_id};
use super::{
    ApiKey, KeyInfo, NewKey, NewTokens, Replaces, Revision, Step, Store, StoreError, Tokens, TokensInfo, sealed_with,
    unusable,
};
use crate::types::{Secret, TenantId, UnixMillis};
use crate::vault::{Binding, Keyring};

/// The names that secrets are bound to. They are part of what is sealed: a change of one is a new version of the schema.
pub(super) const API_KEY: &str = "api_key";
pub(super) const ACCESS_TOKEN: &str = "access_token";
pub(super) const REFRESH_TOKEN: &str = "refresh_token";

impl Store {
    /// The API key of a tenant, if it has one.
    ///
    /// # Errors
    /// When it cannot be decrypted, or the store fails.
    pub async fn api_key(&self, tenant: &TenantId) -> Result<Option<ApiKey>, StoreError> {
        const ONE: &str = "SELECT tenant, sealed, origin, datadog_id, created FROM dogsled_api_keys WHERE tenant = $1";
        let (rows, keys) = self.sealed(ONE, vec![tenant.as_str().into()]).await?;
        rows.into_iter().next().map(|row| api_key(row, &keys)?.1).transpose()
    }

    /// The API keys of all tenants. One that cannot be decrypted affects its own tenant only.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn api_keys(&self) -> Result<Vec<(TenantId, Result<ApiKey, StoreError>)>, StoreError> {
        const ALL: &str = "SELECT tenant, sealed, origin, datadog_id, created FROM dogsled_api_keys";
        let (rows, keys) = self.sealed(ALL, vec![]).await?;
        rows.into_iter().map(|row| api_key(row, &keys)).collect()
    }

    /// The OAuth tokens of a tenant, if it has any.
    ///
    /// # Errors
    /// When they cannot be decrypted, or the store fails.
    pub async fn tokens(&self, tenant: &TenantId) -> Result<Option<Tokens>, StoreError> {
        const ONE: &str =
            "SELECT access, refresh, expires, scopes, granted, generation FROM dogsled_tokens WHERE tenant = $1";
        let (rows, keys) = self.sealed(ONE, vec![tenant.as_str().into()]).await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
        let mut open = |field| {
            let sealed = row.bytes()?;
            keys.open(Binding { tenant: tenant.as_str(), field }, &sealed).map_err(unusable(tenant, field))
        };
        let (access, refresh) = (open(ACCESS_TOKEN)?, open(REFRESH_TOKEN)?);
        let info = TokensInfo {
            expires: UnixMillis(row.int()?),
            scopes: row.text()?,
            granted: UnixMillis(row.int()?),
            generation: Revision(row.int()?),
        };
        Ok(Some(Tokens { access, refresh, info }))
    }

    /// Rows with sealed secrets, and the keys that open them.
    async fn sealed(
        &self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<(Vec<Row>, std::sync::Arc<Keyring>), StoreError> {
        let mut tx = self.read().await?;
        let rows = tx.query(statement, parameters).await?;
        // Of the same state of the store, so it is the key of these rows.
        let key = sealed_with(&mut tx).await?;
        let keys = key.map_or_else(|| Ok(self.keys()), |key| self.keys_with(key))?;
        Ok((rows, keys))
    }
}

impl Step {
    pub(super) fn seal(&self, tenant: &TenantId, field: &'static str, secret: &Secret) -> Result<Value, StoreError> {
        let sealed = self.keys.seal(self.key, Binding { tenant: tenant.as_str(), field }, secret);
        sealed.map(Value::from).map_err(unusable(tenant, field))
    }

    pub(super) async fn change_key(&mut self, id: &TenantId, key: Option<&NewKey>) -> Result<(), StoreError> {
        const SET: &str = "INSERT INTO dogsled_api_keys (tenant, sealed, datadog_id, origin, created) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant) DO UPDATE SET sealed = excluded.sealed, \
             datadog_id = excluded.datadog_id, origin = excluded.origin, created = excluded.created";
        let Some(key) = key else {
            return self.forget("DELETE FROM dogsled_api_keys WHERE tenant = $1", id).await;
        };
        let sealed = self.seal(id, API_KEY, &key.key)?;
        let (datadog_id, origin) = (key.datadog_id.as_deref().into(), key.origin.name().into());
        let parameters = vec![id.as_str().into(), sealed, datadog_id, origin, UnixMillis::now().0.into()];
        self.tx.query(SET, parameters).await.map(drop)
    }

    pub(super) async fn change_tokens(&mut self, id: &TenantId, tokens: Option<&NewTokens>) -> Result<(), StoreError> {
        const PRESENT: &str = "SELECT generation FROM dogsled_tokens WHERE tenant = $1";
        const SET: &str = "INSERT INTO dogsled_tokens (tenant, access, refresh, expires, scopes, granted, generation) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant) DO UPDATE SET access = excluded.access, \
             refresh = excluded.refresh, expires = excluded.expires, scopes = excluded.scopes, \
             granted = excluded.granted, generation = excluded.generation";
        let Some(tokens) = tokens else {
            return self.forget("DELETE FROM dogsled_tokens WHERE tenant = $1", id).await;
        };
        if let Replaces::Generation(expected) = tokens.replaces {
            let row = self.tx.query_one(PRESENT, vec![id.as_str().into()]).await?;
            if row.map(|mut row| row.int()).transpose()? != Some(expected.0) {
                return Err(StoreError::Stale { tenant: id.clone(), what: "its tokens have been replaced" });
            }
        }
        let (access, refresh) =
            (self.seal(id, ACCESS_TOKEN, &tokens.access)?, self.seal(id, REFRESH_TOKEN, &tokens.refresh)?);
        let parameters = vec![
            id.as_str().into(),
            access,
            refresh,
            tokens.expires.0.into(),
            tokens.scopes.as_str().into(),
            UnixMillis::now().0.into(),
            self.revision.0.into(),
        ];
        self.tx.query(SET, parameters).await.map(drop)
    }

    async fn forget(&mut self, statement: &str, id: &TenantId) -> Result<(), StoreError> {
        self.tx.query(statement, vec![id.as_str().into()]).await.map(drop)
    }
}

fn api_key(mut row: Row, keys: &Keyring) -> Result<(TenantId, Result<ApiKey, StoreError>), StoreError> {
    let tenant = tenant_id(&row.text()?)?;
    let sealed = row.bytes()?;
    let info = KeyInfo { origin: origin(&row.text()?)?, datadog_id: row.opt_text()?, created: UnixMillis(row.int()?) };
    let key = keys.open(Binding { tenant: tenant.as_str(), field: API_KEY }, &sealed);
    let key = key.map(|key| ApiKey { key, info }).map_err(unusable(&tenant, API_KEY));
    Ok((tenant, key))
}
