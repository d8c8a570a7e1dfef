//! Ingest tokens. Only their digests are stored: a lost token cannot be looked up, only replaced.

use super::backend::Row;
use super::tenants::tenant_id;
use super::{IngestToken, Store, StoreError};
use crate::types::{Secret, TenantId, UnixMillis};
use rand::Rng;
use sha2::{Digest, Sha256};

const COLUMNS: &str = "SELECT digest, tenant, id, label, last4, created FROM dogsled_ingest_tokens";

impl Store {
    /// Creates a token for a tenant: 32 hexadecimal digits, the form of an API key. It is shown only this once.
    ///
    /// # Errors
    /// When there is no such tenant, or the store fails.
    pub async fn create_ingest_token(
        &self,
        tenant: &TenantId,
        label: &str,
    ) -> Result<(Secret, IngestToken), StoreError> {
        let mut random = zeroize::Zeroizing::new([0; 16]);
        rand::rng().fill_bytes(random.as_mut_slice());
        let token = Secret::new(format!("{:032x}", u128::from_le_bytes(*random)));
        let kept = self.add_ingest_token(tenant, &token, label).await?;
        Ok((token, kept))
    }

    /// Assigns an existing token to a tenant.
    ///
    /// # Errors
    /// When there is no such tenant, the token already belongs to a tenant, or the store fails.
    pub async fn add_ingest_token(
        &self,
        tenant: &TenantId,
        token: &Secret,
        label: &str,
    ) -> Result<IngestToken, StoreError> {
        const ADD: &str = "INSERT INTO dogsled_ingest_tokens (digest, tenant, id, label, last4, created) \
             VALUES ($1, $2, $3, $4, $5, $6)";
        let digest = digest(token);
        let last4 = token.expose().char_indices().rev().nth(3).map_or("", |(at, _)| &token.expose()[at..]);
        let kept = IngestToken {
            id: digest.iter().take(8).map(|b| format!("{b:02x}")).collect(),
            tenant: tenant.clone(),
            label: label.to_owned(),
            last4: last4.to_ascii_lowercase(),
            digest,
            created: UnixMillis::now(),
        };
        let mut step = self.step().await?;
        step.touch(tenant).await?;
        const HOLDER: &str = "SELECT tenant FROM dogsled_ingest_tokens WHERE digest = $1";
        if let Some(mut row) = step.tx.query_one(HOLDER, vec![digest.to_vec().into()]).await? {
            return Err(StoreError::TokenTaken(tenant_id(&row.text()?)?));
        }
        let parameters = vec![
            digest.to_vec().into(),
            tenant.as_str().into(),
            kept.id.as_str().into(),
            label.into(),
            kept.last4.as_str().into(),
            kept.created.0.into(),
        ];
        step.tx.query(ADD, parameters).await?;
        self.commit(step).await?;
        Ok(kept)
    }

    /// The tokens of one tenant or of all, the oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ingest_tokens(&self, tenant: Option<&TenantId>) -> Result<Vec<IngestToken>, StoreError> {
        let mut tx = self.read().await?;
        let rows = match tenant {
            Some(tenant) => {
                let one = format!("{COLUMNS} WHERE tenant = $1 ORDER BY created, id");
                tx.query(&one, vec![tenant.as_str().into()]).await?
            }
            None => tx.query(&format!("{COLUMNS} ORDER BY created, id"), vec![]).await?,
        };
        rows.into_iter().map(ingest_token).collect()
    }

    /// Revokes a token of a tenant by its id, and says whether it was there.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn remove_ingest_token(&self, tenant: &TenantId, id: &str) -> Result<bool, StoreError> {
        const REMOVE: &str = "DELETE FROM dogsled_ingest_tokens WHERE tenant = $1 AND id = $2 RETURNING id";
        let mut step = self.step().await?;
        if step.tx.query(REMOVE, vec![tenant.as_str().into(), id.into()]).await?.is_empty() {
            return Ok(false);
        }
        step.touch(tenant).await?;
        self.commit(step).await?;
        Ok(true)
    }
}

fn ingest_token(mut row: Row) -> Result<IngestToken, StoreError> {
    let digest = row.bytes()?.try_into().map_err(|_| StoreError::Damaged("a digest has the wrong length".into()))?;
    Ok(IngestToken {
        digest,
        tenant: tenant_id(&row.text()?)?,
        id: row.text()?,
        label: row.text()?,
        last4: row.text()?,
        created: UnixMillis(row.int()?),
    })
}

/// Hexadecimal digits: clients differ in the case they send.
fn digest(token: &Secret) -> [u8; 32] {
    Sha256::digest(token.expose().to_ascii_lowercase().as_bytes()).into()
}
