//! The tables, and the upgrade of older schemas.

use super::backend::{Backend, Mode, Tx};
use super::error::StoreError;

/// The statements of each version, applied in order, each version in one transaction with the record of its number.
/// Released versions are never edited; a change is a new version.
const VERSIONS: [&[&str]; 4] = [
    FIRST,
    &["ALTER TABLE dogsled_tenants ADD COLUMN dropped_before BIGINT"],
    &[
        // What older releases accepted is of generation 0. Where some of it is held for another organisation, all is.
        "ALTER TABLE dogsled_tenants ADD COLUMN generations TEXT NOT NULL DEFAULT '[{\"generation\":0,\"organisation\":null}]'",
        "UPDATE dogsled_tenants SET generations = '[{\"generation\":0,\"organisation\":\"' || organisation_id || '\"}]' \
         WHERE organisation_id IS NOT NULL",
        "UPDATE dogsled_tenants SET generations = '[{\"generation\":0,\"organisation\":\"' || held_id || '\"},\
         {\"generation\":' || revision || ',\"organisation\":null}]' WHERE held_id IS NOT NULL",
    ],
    CONFIRMATION,
];

/// The session that an authorisation was begun in, and Datadog's answer until it is confirmed there.
const CONFIRMATION: &[&str] = &[
    "ALTER TABLE dogsled_pending ADD COLUMN session BYTEA",
    "ALTER TABLE dogsled_pending ADD COLUMN ticket BYTEA",
    "ALTER TABLE dogsled_pending ADD COLUMN answer BYTEA",
    "CREATE UNIQUE INDEX dogsled_pending_ticket ON dogsled_pending (ticket)",
];

const FIRST: &[&str] = &[
    // One row: the counter of changes, and the key that everything is sealed with.
    "CREATE TABLE dogsled_meta (one BIGINT PRIMARY KEY CHECK (one = 1), revision BIGINT NOT NULL, master_key TEXT)",
    "INSERT INTO dogsled_meta (one, revision) VALUES (1, 0)",
    "CREATE TABLE dogsled_tenants (id TEXT PRIMARY KEY, display_name TEXT NOT NULL, site TEXT NOT NULL, \
     paused BIGINT NOT NULL, connection TEXT NOT NULL, reason TEXT NOT NULL, instructions TEXT NOT NULL, \
     organisation_id TEXT UNIQUE, organisation_name TEXT, held_id TEXT, held_name TEXT, overrides TEXT NOT NULL, \
     key_creation_begun BIGINT, created BIGINT NOT NULL, updated BIGINT NOT NULL, revision BIGINT NOT NULL)",
    "CREATE INDEX dogsled_tenants_revision ON dogsled_tenants (revision)",
    "CREATE TABLE dogsled_api_keys (tenant TEXT PRIMARY KEY REFERENCES dogsled_tenants (id) ON DELETE CASCADE, \
     sealed BYTEA NOT NULL, datadog_id TEXT, origin TEXT NOT NULL, created BIGINT NOT NULL)",
    "CREATE TABLE dogsled_tokens (tenant TEXT PRIMARY KEY REFERENCES dogsled_tenants (id) ON DELETE CASCADE, \
     access BYTEA NOT NULL, refresh BYTEA NOT NULL, expires BIGINT NOT NULL, scopes TEXT NOT NULL, \
     granted BIGINT NOT NULL, generation BIGINT NOT NULL)",
    "CREATE TABLE dogsled_ingest_tokens (digest BYTEA PRIMARY KEY, tenant TEXT NOT NULL REFERENCES dogsled_tenants (id) \
     ON DELETE CASCADE, id TEXT NOT NULL UNIQUE, label TEXT NOT NULL, last4 TEXT NOT NULL, created BIGINT NOT NULL)",
    "CREATE TABLE dogsled_pending (state BYTEA PRIMARY KEY, tenant TEXT NOT NULL REFERENCES dogsled_tenants (id) \
     ON DELETE CASCADE, verifier BYTEA, domain TEXT NOT NULL, site TEXT NOT NULL, created BIGINT NOT NULL, \
     expires BIGINT NOT NULL)",
    "CREATE TABLE dogsled_removed (tenant TEXT PRIMARY KEY, revision BIGINT NOT NULL)",
    "CREATE TABLE dogsled_leases (tenant TEXT NOT NULL, purpose TEXT NOT NULL, fencing BIGINT NOT NULL, \
     expires BIGINT NOT NULL, PRIMARY KEY (tenant, purpose))",
];

/// The newest version that this code knows.
const KNOWN: i64 = VERSIONS.len() as i64;

/// Upgrades the schema, one process at a time.
pub(super) async fn migrate(backend: &Backend) -> Result<(), StoreError> {
    // Usually it is current, and opening writes nothing.
    if version(&mut backend.begin(Mode::Read).await?, backend).await? == Some(KNOWN) {
        return Ok(());
    }
    let mut tx = backend.begin(Mode::Write).await?;
    if let Some(lock) = backend.schema_lock() {
        tx.query(lock, vec![]).await?;
    }
    // Once more: another process may have upgraded it meanwhile.
    let found = match version(&mut tx, backend).await? {
        Some(found) if found > KNOWN => {
            return Err(StoreError::NewerSchema { address: backend.address().to_owned(), found, known: KNOWN });
        }
        Some(found) => found,
        None => {
            tx.query(&backend.dialect("CREATE TABLE dogsled_schema (version BIGINT NOT NULL)"), vec![]).await?;
            tx.query("INSERT INTO dogsled_schema (version) VALUES (0)", vec![]).await?;
            0
        }
    };
    let missing = VERSIONS.iter().skip(usize::try_from(found).unwrap_or_default());
    for statement in missing.flat_map(|statements| statements.iter()) {
        tx.query(&backend.dialect(statement), vec![]).await?;
    }
    tx.query("UPDATE dogsled_schema SET version = $1", vec![KNOWN.into()]).await?;
    tx.commit().await
}

/// The version of the schema that is there, if any.
async fn version(tx: &mut Tx, backend: &Backend) -> Result<Option<i64>, StoreError> {
    let is_there = tx.query_one(backend.has_schema(), vec![]).await?.map(|mut row| row.int()).transpose()?;
    if is_there == Some(0) {
        return Ok(None);
    }
    tx.query_one("SELECT version FROM dogsled_schema", vec![]).await?.map(|mut row| row.int()).transpose()
}
