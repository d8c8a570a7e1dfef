//! The two databases behind one interface: statements with `$1` parameters of three types, run within transactions.
//!
//! Both speak enough of the same SQL that every statement is written once. The differences stay in here: connecting,
//! errors, the clock, and notification of changes.

mod postgres;
mod sqlite;
mod tls;

use super::error::{Fault, StoreError};
use crate::settings::StoreUrl;
use crate::types::{Secret, UnixMillis};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The longest wait for a connection or for the database's answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The file of the default database, in the state directory.
const DEFAULT_FILE: &str = "tenants.db";

/// A parameter or a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(Some(value))
    }
}

impl From<Option<Vec<u8>>> for Value {
    fn from(value: Option<Vec<u8>>) -> Self {
        Self::Bytes(value)
    }
}

/// A row of an answer, read from left to right.
#[derive(Debug)]
pub(super) struct Row(std::vec::IntoIter<Value>);

impl Row {
    fn new(columns: Vec<Value>) -> Self {
        Self(columns.into_iter())
    }

    fn unexpected<T>() -> Result<T, StoreError> {
        Err(StoreError::Damaged("a column holds a value of the wrong type".into()))
    }

    pub fn opt_int(&mut self) -> Result<Option<i64>, StoreError> {
        match self.0.next() {
            Some(Value::Int(value)) => Ok(value),
            // SQLite's NULL has no type.
            Some(Value::Text(None) | Value::Bytes(None)) => Ok(None),
            _ => Self::unexpected(),
        }
    }

    pub fn opt_text(&mut self) -> Result<Option<String>, StoreError> {
        match self.0.next() {
            Some(Value::Text(value)) => Ok(value),
            Some(Value::Int(None) | Value::Bytes(None)) => Ok(None),
            _ => Self::unexpected(),
        }
    }

    pub fn opt_bytes(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.0.next() {
            Some(Value::Bytes(value)) => Ok(value),
            Some(Value::Int(None) | Value::Text(None)) => Ok(None),
            _ => Self::unexpected(),
        }
    }

    pub fn int(&mut self) -> Result<i64, StoreError> {
        self.opt_int()?.map_or_else(Self::unexpected, Ok)
    }

    pub fn text(&mut self) -> Result<String, StoreError> {
        self.opt_text()?.map_or_else(Self::unexpected, Ok)
    }

    pub fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        self.opt_bytes()?.map_or_else(Self::unexpected, Ok)
    }
}

/// The mode of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Sees one state of the whole store.
    Read,
    /// Excludes other writers, which wait.
    Write,
}

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

/// Waits at most [`PATIENCE`].
async fn patiently<T>(
    address: &str,
    what: &str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| {
        let fault = Fault::Slow(format!("{what} took more than {} s", PATIENCE.as_secs()));
        Err(StoreError::Database { address: address.to_owned(), fault })
    })
}
