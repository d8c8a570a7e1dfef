//! The two databases behind one interface: statements with `$1` parameters of three types, run within transactions.
//!
//! Both speak enough of the same SQL that every statement is written once. The differences stay in here: connecting,
//! errors, the clock, and notification of changes.

mod postgres;
mod sqlite;
mod statement;
mod tls;

pub(super) use statement::{Mode, Row, Value};

use super::error::StoreError;
use crate::settings::StoreUrl;
use crate::types::{Secret, UnixMillis};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The file of the default database, in the state directory.
const DEFAULT_FILE: &str = "tenants.db";

/// The file of a SQLite database, or else the address of a PostgreSQL one.
pub(super) fn file<'a>(url: &'a StoreUrl, state_dir: &Path) -> Result<PathBuf, &'a Secret> {
    match url {
        StoreUrl::Default => Ok(state_dir.join(DEFAULT_FILE)),
        StoreUrl::Sqlite(path) => Ok(path.clone()),
        StoreUrl::Postgres(text) => Err(text),
    }
}

/// One of the databases.
#[derive(Debug)]
pub(super) enum Backend {
    Sqlite(sqlite::Sqlite),
    Postgres(Arc<postgres::Postgres>),
}

impl Backend {
    /// Connects, and creates the file of a SQLite database.
    pub async fn open(url: &StoreUrl, state_dir: &Path) -> Result<Self, StoreError> {
        match file(url, state_dir) {
            Ok(path) => sqlite::Sqlite::open(&path).await.map(Self::Sqlite),
            Err(text) => Ok(Self::Postgres(Arc::new(postgres::Postgres::new(text, url.to_string())?))),
        }
    }

    /// Its address without passwords, for errors.
    pub fn address(&self) -> &str {
        match self {
            Self::Sqlite(sqlite) => sqlite.address(),
            Self::Postgres(postgres) => postgres.address(),
        }
    }

    /// Begins a transaction. It is rolled back when dropped.
    pub async fn begin(&self, mode: Mode) -> Result<Tx, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.begin(mode).await.map(Tx::Sqlite),
            Self::Postgres(postgres) => postgres.begin(mode).await.map(Tx::Postgres),
        }
    }

    /// A statement in the types of this database.
    pub fn dialect(&self, statement: &str) -> String {
        match self {
            Self::Sqlite(_) => {
                let strict = if statement.starts_with("CREATE TABLE") { " STRICT" } else { "" };
                statement.replace("BIGINT", "INTEGER").replace("BYTEA", "BLOB") + strict
            }
            Self::Postgres(_) => statement.to_owned(),
        }
    }

    /// The statement that keeps others from changing the schema until the transaction ends.
    pub fn schema_lock(&self) -> Option<&'static str> {
        match self {
            // A write transaction is alone in any case.
            Self::Sqlite(_) => None,
            Self::Postgres(_) => Some("SELECT CAST(pg_advisory_xact_lock(7020103100) AS TEXT)"),
        }
    }

    /// Whether the schema's first table is there.
    pub fn has_schema(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SELECT count(*) FROM sqlite_schema WHERE name = 'dogsled_schema'",
            Self::Postgres(_) => "SELECT count(*) FROM pg_catalog.pg_class WHERE oid = to_regclass('dogsled_schema')",
        }
    }

    /// The statement that tells other processes of a change, once the transaction is committed.
    pub fn tell(&self) -> Option<&'static str> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(_) => Some("SELECT CAST(pg_notify('dogsled_changes', '') AS TEXT)"),
        }
    }

    /// Wakes `changed` whenever another process may have changed something, where the database can tell; runs until it
    /// is dropped.
    pub async fn listen(&self, changed: &Notify) {
        match self {
            Self::Sqlite(_) => std::future::pending().await,
            Self::Postgres(postgres) => postgres.listen(changed).await,
        }
    }

    /// How often to look for changes of other processes.
    pub fn poll_interval(&self) -> Duration {
        match self {
            Self::Sqlite(_) => Duration::from_secs(1),
            // Notifications are quick, but one may be lost with its connection.
            Self::Postgres(_) => Duration::from_secs(2),
        }
    }

    /// Removes overwritten data from the files, as far as the database can.
    pub async fn scrub(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.scrub().await,
            Self::Postgres(_) => Ok(()),
        }
    }
}

/// A transaction of either database.
#[derive(Debug)]
pub(super) enum Tx {
    Sqlite(sqlite::Tx),
    Postgres(postgres::Tx),
}

impl Tx {
    /// Runs a statement and gives its rows.
    pub async fn query(&mut self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(tx) => tx.query(statement, parameters).await,
            Self::Postgres(tx) => tx.query(statement, &parameters).await,
        }
    }

    /// Like [`query`](Self::query), for at most one row.
    pub async fn query_one(&mut self, statement: &str, parameters: Vec<Value>) -> Result<Option<Row>, StoreError> {
        Ok(self.query(statement, parameters).await?.into_iter().next())
    }

    /// Commits. The changes are on disk when this returns.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Postgres(tx) => tx.commit().await,
        }
    }

    /// The time of the clock that all users of the database share.
    pub async fn now(&mut self) -> Result<UnixMillis, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(UnixMillis::now()),
            Self::Postgres(_) => {
                const NOW: &str = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";
                match self.query_one(NOW, vec![]).await? {
                    Some(mut row) => row.int().map(UnixMillis),
                    None => Row::unexpected(),
                }
            }
        }
    }
}
