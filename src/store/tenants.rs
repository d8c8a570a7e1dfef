//! Tenants: adding, listing, changing, removing.

use super::backend::{Row, Tx, Value};
use super::{
    Change, Connection, Generations, KeyInfo, Lease, NewTenant, Organisation, Origin, Revision, Step, Store,
    StoreError, TenantRecord, TokensInfo,
};
use crate::types::{Generation, TenantId, UnixMillis};
use serde::Serialize;
use serde::de::DeserializeOwned;

const SELECT: &str = "SELECT t.id, t.display_name, t.site, t.paused, t.connection, t.reason, t.instructions, \
     t.organisation_id, t.organisation_name, t.held_id, t.held_name, t.dropped_before, t.generations, t.overrides, t.key_creation_begun, \
     t.created, t.updated, t.revision, k.origin, k.datadog_id, k.created, o.expires, o.scopes, o.granted, o.generation \
     FROM dogsled_tenants t LEFT JOIN dogsled_api_keys k ON k.tenant = t.id LEFT JOIN dogsled_tokens o ON o.tenant = t.id";

/// The conditions of a change.
#[derive(Debug, Clone, Copy, Default)]
pub struct Guard<'a> {
    /// This lease is still held: nobody else took it since.
    pub lease: Option<&'a Lease>,
    /// The tenant has not changed since this revision of it.
    pub revision: Option<Revision>,
}

impl Store {
    /// Adds a tenant, pending, with `changes` made to it at once.
    ///
    /// # Errors
    /// When it exists, when its organisation is another's, or when the store fails.
    pub async fn add_tenant(&self, tenant: &NewTenant, changes: &[Change]) -> Result<TenantRecord, StoreError> {
        const ADD: &str = "INSERT INTO dogsled_tenants (id, display_name, site, paused, connection, reason, \
             instructions, overrides, created, updated, revision, generations) \
             VALUES ($1, '', $2, 0, 'pending', '', '', '{}', $3, $3, $4, $5) ON CONFLICT (id) DO NOTHING RETURNING id";
        let mut step = self.step().await?;
        let parameters: Vec<Value> = vec![
            tenant.id.as_str().into(),
            tenant.site.as_str().into(),
            UnixMillis::now().0.into(),
            step.revision.0.into(),
            written(&Generations::new(generation(step.revision)))?.as_str().into(),
        ];
        if step.tx.query_one(ADD, parameters).await?.is_none() {
            return Err(StoreError::TenantExists(tenant.id.clone()));
        }
        step.tx.query("DELETE FROM dogsled_removed WHERE tenant = $1", vec![tenant.id.as_str().into()]).await?;
        for change in changes {
            step.change(&tenant.id, change).await?;
        }
        let added = step.tenant(&tenant.id).await?;
        self.commit(step).await?;
        Ok(added)
    }

    /// The tenant with this id, if it exists.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tenant(&self, id: &TenantId) -> Result<Option<TenantRecord>, StoreError> {
        find(&mut self.read().await?, id).await
    }

    /// All tenants by their ids.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tenants(&self) -> Result<Vec<TenantRecord>, StoreError> {
        let rows = self.read().await?.query(&format!("{SELECT} ORDER BY t.id"), vec![]).await?;
        let mut tenants = rows.into_iter().map(tenant).collect::<Result<Vec<_>, _>>()?;
        // Databases sort texts by rules of their own.
        tenants.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(tenants)
    }

    /// Applies changes to a tenant, all of them or none, and returns the tenant afterwards.
    ///
    /// # Errors
    /// When there is no such tenant, the guard or the generation of its tokens does not hold, its new organisation is
    /// another's, or the store fails.
    pub async fn apply(&self, id: &TenantId, guard: Guard<'_>, changes: &[Change]) -> Result<TenantRecord, StoreError> {
        let mut step = self.step().await?;
        let before = step.tenant(id).await?;
        if guard.revision.is_some_and(|revision| revision != before.revision) {
            return Err(StoreError::Stale { tenant: id.clone(), what: "by someone else" });
        }
        if let Some(lease) = guard.lease {
            lease.check(&mut step.tx).await?;
        }
        for change in changes {
            step.change(id, change).await?;
        }
        step.touch(id).await?;
        let after = step.tenant(id).await?;
        self.commit(step).await?;
        Ok(after)
    }

    /// Removes a tenant with everything that belongs to it; false when there was none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn remove_tenant(&self, id: &TenantId) -> Result<bool, StoreError> {
        const NOTE: &str = "INSERT INTO dogsled_removed (tenant, revision) VALUES ($1, $2)";
        let mut step = self.step().await?;
        let removed = step.tx.query("DELETE FROM dogsled_tenants WHERE id = $1 RETURNING id", vec![id.as_str().into()]);
        if removed.await?.is_empty() {
            return Ok(false);
        }
        step.tx.query(NOTE, vec![id.as_str().into(), step.revision.0.into()]).await?;
        self.commit(step).await?;
        Ok(true)
    }
}

impl Step {
    /// A tenant that must exist.
    pub(super) async fn tenant(&mut self, id: &TenantId) -> Result<TenantRecord, StoreError> {
        find(&mut self.tx, id).await?.ok_or_else(|| StoreError::UnknownTenant(id.clone()))
    }

    /// Notes that something of a tenant has changed.
    ///
    /// # Errors
    /// When there is no such tenant, or the store fails.
    pub(super) async fn touch(&mut self, id: &TenantId) -> Result<(), StoreError> {
        const TOUCH: &str = "UPDATE dogsled_tenants SET updated = $2, revision = $3 WHERE id = $1 RETURNING id";
        let parameters: Vec<Value> = vec![id.as_str().into(), UnixMillis::now().0.into(), self.revision.0.into()];
        match self.tx.query_one(TOUCH, parameters).await? {
            Some(_) => Ok(()),
            None => Err(StoreError::UnknownTenant(id.clone())),
        }
    }

    async fn change(&mut self, id: &TenantId, change: &Change) -> Result<(), StoreError> {
        let (set, mut parameters): (&str, Vec<Value>) = match change {
            Change::DisplayName(name) => ("display_name = $2", vec![name.as_str().into()]),
            Change::Site(site) => ("site = $2", vec![site.as_str().into()]),
            Change::Paused(paused) => ("paused = $2", vec![i64::from(*paused).into()]),
            Change::Connection(connection) => {
                let (name, reason, instructions) = match connection {
                    Connection::Pending => ("pending", "", ""),
                    Connection::Connected => ("connected", "", ""),
                    Connection::Unauthorized { reason, instructions } => ("unauthorized", &**reason, &**instructions),
                };
                (
                    "connection = $2, reason = $3, instructions = $4",
                    vec![name.into(), reason.into(), instructions.into()],
                )
            }
            Change::Organisation(organisation) => {
                if let Some(organisation) = organisation {
                    self.check_free(id, organisation).await?;
                }
                ("organisation_id = $2, organisation_name = $3", columns(organisation.as_ref()))
            }
            Change::HeldFor(organisation) => ("held_id = $2, held_name = $3", columns(organisation.as_ref())),
            Change::KeyOf(organisation) => {
                let mut generations = self.tenant(id).await?.generations;
                generations.follow_key(organisation.as_deref(), generation(self.revision));
                ("generations = $2", vec![written(&generations)?.as_str().into()])
            }
            Change::ReleasedBefore(time) => {
                let mut generations = self.tenant(id).await?.generations;
                generations.release(*time);
                ("generations = $2", vec![written(&generations)?.as_str().into()])
            }
            Change::DroppedBefore(time) => ("dropped_before = $2", vec![time.0.into()]),
            Change::Overrides(overrides) => ("overrides = $2", vec![written(overrides)?.as_str().into()]),
            Change::KeyCreation(begun) => ("key_creation_begun = $2", vec![begun.then(|| UnixMillis::now().0).into()]),
            Change::Key(key) => return self.change_key(id, key.as_ref()).await,
            Change::Tokens(tokens) => return self.change_tokens(id, tokens.as_ref()).await,
        };
        parameters.insert(0, id.as_str().into());
        self.tx.query(&format!("UPDATE dogsled_tenants SET {set} WHERE id = $1"), parameters).await.map(drop)
    }

    /// Whether no other tenant has an organisation. Steps come one after the other, so it stays so.
    async fn check_free(&mut self, id: &TenantId, organisation: &Organisation) -> Result<(), StoreError> {
        const HOLDER: &str = "SELECT id FROM dogsled_tenants WHERE organisation_id = $1 AND id <> $2";
        let parameters = vec![organisation.id.as_str().into(), id.as_str().into()];
        match self.tx.query_one(HOLDER, parameters).await? {
            None => Ok(()),
            Some(mut row) => Err(StoreError::OrganisationHeld {
                organisation: organisation.id.clone(),
                by: tenant_id(&row.text()?)?,
            }),
        }
    }
}

/// A revision is given out once, so it can name a generation.
fn generation(revision: Revision) -> Generation {
    Generation(revision.0.unsigned_abs())
}

fn written(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Damaged(error.to_string()))
}

fn read<T: DeserializeOwned>(id: &TenantId, what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Damaged(format!("the {what} of tenant {id} are no JSON ({error})")))
}

fn columns(organisation: Option<&Organisation>) -> Vec<Value> {
    let name = organisation.and_then(|organisation| organisation.name.as_deref());
    vec![organisation.map(|organisation| organisation.id.as_str()).into(), name.into()]
}

async fn find(tx: &mut Tx, id: &TenantId) -> Result<Option<TenantRecord>, StoreError> {
    let row = tx.query_one(&format!("{SELECT} WHERE t.id = $1"), vec![id.as_str().into()]).await?;
    row.map(tenant).transpose()
}

/// Reads an id that was written as one.
pub(super) fn tenant_id(text: &str) -> Result<TenantId, StoreError> {
    TenantId::new(text).map_err(|error| StoreError::Damaged(error.to_string()))
}

pub(super) fn origin(text: &str) -> Result<Origin, StoreError> {
    [Origin::OAuth, Origin::Static]
        .into_iter()
        .find(|origin| origin.name() == text)
        .ok_or_else(|| StoreError::Damaged(format!("{text:?} is not the origin of a key")))
}

/// Reads the columns of [`SELECT`].
fn tenant(mut row: Row) -> Result<TenantRecord, StoreError> {
    let id = tenant_id(&row.text()?)?;
    let (display_name, site, paused) = (row.text()?, row.text()?, row.int()? != 0);
    let connection = match (row.text()?.as_str(), row.text()?, row.text()?) {
        ("pending", ..) => Connection::Pending,
        ("connected", ..) => Connection::Connected,
        ("unauthorized", reason, instructions) => Connection::Unauthorized { reason, instructions },
        (other, ..) => return Err(StoreError::Damaged(format!("tenant {id} is {other:?}, which is not a state"))),
    };
    let (organisation, held_for) = (organisation(&mut row)?, organisation(&mut row)?);
    let dropped_before = row.opt_int()?.map(UnixMillis);
    let generations = read(&id, "generations", &row.text()?)?;
    let overrides = read(&id, "overrides", &row.text()?)?;
    let key_creation_begun = row.opt_int()?.map(UnixMillis);
    let (created, updated) = (UnixMillis(row.int()?), UnixMillis(row.int()?));
    let revision = Revision(row.int()?);
    let key = match (row.opt_text()?, row.opt_text()?, row.opt_int()?) {
        (Some(by), datadog_id, Some(created)) => {
            Some(KeyInfo { datadog_id, origin: origin(&by)?, created: UnixMillis(created) })
        }
        _ => None,
    };
    let tokens = match (row.opt_int()?, row.opt_text()?, row.opt_int()?, row.opt_int()?) {
        (Some(expires), Some(scopes), Some(granted), Some(generation)) => Some(TokensInfo {
            expires: UnixMillis(expires),
            scopes,
            granted: UnixMillis(granted),
            generation: Revision(generation),
        }),
        _ => None,
    };
    Ok(TenantRecord {
        id,
        display_name,
        site,
        paused,
        connection,
        organisation,
        held_for,
        dropped_before,
        generations,
        overrides,
        key_creation_begun,
        key,
        tokens,
        created,
        updated,
        revision,
    })
}

fn organisation(row: &mut Row) -> Result<Option<Organisation>, StoreError> {
    let (id, name) = (row.opt_text()?, row.opt_text()?);
    Ok(id.map(|id| Organisation { id, name }))
}
