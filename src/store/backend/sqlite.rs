//! SQLite: one connection on a thread of its own, since SQLite blocks while it waits for the disk.

#![expect(
    clippy::disallowed_methods,
    reason = "a thread of its own, fed by callers that hold the connection's lock and wait for the answer"
)]

use super::statement::{Mode, PATIENCE, Row, Value, patiently};
use crate::store::error::{Fault, StoreError};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, ToSql};
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, oneshot};
use tracing::warn;

/// How long a statement waits for another process. Less than [`PATIENCE`], so that the error is SQLite's own.
const BUSY: Duration = Duration::from_secs(PATIENCE.as_secs() / 2);

/// `synchronous = FULL`: with WAL, the default of many builds can lose the last commits in a power failure, and a key
/// is shown once. `secure_delete`: replaced data is overwritten.
const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
     PRAGMA secure_delete = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;";

#[derive(Debug)]
enum Order {
    Run { statement: String, parameters: Vec<Value>, reply: oneshot::Sender<rusqlite::Result<Vec<Row>>> },
    Rollback,
}

type Orders = mpsc::UnboundedSender<Order>;

/// A SQLite database.
#[derive(Debug)]
pub struct Sqlite {
    address: Arc<str>,
    orders: Arc<Mutex<Orders>>,
}

/// A transaction; the lock keeps others off the connection.
#[derive(Debug)]
pub struct Tx {
    address: Arc<str>,
    orders: OwnedMutexGuard<Orders>,
    /// Whether nothing is left to roll back.
    done: bool,
}

impl Sqlite {
    /// Opens the file, created with mode 0600 when it is missing.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let address: Arc<str> = format!("sqlite:{}", path.display()).into();
        make_private(path)?;
        let (orders, inbox) = mpsc::unbounded_channel();
        let (opened, is_open) = oneshot::channel();
        let path = path.to_owned();
        let work = move || match connect(&path) {
            Ok(connection) => {
                let _ = opened.send(Ok(()));
                serve(&connection, inbox);
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        };
        let failed = |fault| StoreError::Database { address: address.to_string(), fault };
        std::thread::Builder::new()
            .name("store".into())
            .spawn(work)
            .map_err(|error| failed(Fault::Other(format!("its thread could not be started: {error}"))))?;
        match is_open.await {
            Ok(Ok(())) => Ok(Self { address, orders: Arc::new(Mutex::new(orders)) }),
            Ok(Err(error)) => Err(failed(fault(&error))),
            Err(_) => Err(failed(Fault::Other("its thread ended".into()))),
        }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub async fn begin(&self, mode: Mode) -> Result<Tx, StoreError> {
        let lock = async { Ok(Arc::clone(&self.orders).lock_owned().await) };
        let orders = patiently(&self.address, "waiting for other work on it", lock).await?;
        // Not done yet: if this is cancelled while SQLite begins, the rollback follows.
        let mut tx = Tx { address: Arc::clone(&self.address), orders, done: false };
        tx.query(if mode == Mode::Write { "BEGIN IMMEDIATE" } else { "BEGIN" }, vec![]).await?;
        Ok(tx)
    }

    /// Empties the write-ahead log, where older versions of pages stay otherwise.
    pub async fn scrub(&self) -> Result<(), StoreError> {
        let orders = Arc::clone(&self.orders).lock_owned().await;
        let mut outside = Tx { address: Arc::clone(&self.address), orders, done: true };
        outside.query("PRAGMA wal_checkpoint(TRUNCATE)", vec![]).await.map(drop)
    }
}

impl Tx {
    pub async fn query(&mut self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let failed = |fault| StoreError::Database { address: self.address.to_string(), fault };
        let ended = || failed(Fault::Other("its thread ended: restart dogsled".into()));
        let order = Order::Run { statement: statement.to_owned(), parameters, reply };
        self.orders.send(order).map_err(|_| ended())?;
        let answer = async { answer.await.map_err(|_| ended())?.map_err(|error| failed(fault(&error))) };
        // SQLite's own patience is shorter; this is for disks that hang.
        patiently(&self.address, "its answer", answer).await
    }

    pub async fn commit(mut self) -> Result<(), StoreError> {
        match self.query("COMMIT", vec![]).await {
            Ok(_) => {
                self.done = true;
                Ok(())
            }
            // The disk failed, or did not answer, while it was being written.
            Err(StoreError::Database { address, fault: Fault::Unreachable(reason) | Fault::Slow(reason) }) => {
                Err(StoreError::Uncertain { address, reason })
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        // Before the lock is released, so before anything that another transaction orders.
        if !self.done {
            let _ = self.orders.send(Order::Rollback);
        }
    }
}

/// Creates the directory (0700) and the file (0600) when they are missing, and removes the permissions of other users.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let failed = |path: &Path, error: std::io::Error| {
        let reason = format!("{error}; the user that runs dogsled must be able to write there");
        StoreError::File { path: path.to_owned(), reason }
    };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| failed(directory, error))?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.sync_all().map_err(|error| failed(path, error)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            // SQLite's other two files take their mode from the first when they are made anew.
            for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
                tighten(&file);
            }
            Ok(())
        }
        Err(error) => Err(failed(path, error)),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn tighten(path: &Path) {
    let Ok(metadata) = std::fs::metadata(path) else { return };
    if metadata.permissions().mode() & 0o077 != 0 {
        match std::fs::set_permissions(path, Permissions::from_mode(0o600)) {
            Ok(()) => warn!("{} was accessible to other users; its mode is now 0600", path.display()),
            Err(error) => {
                warn!("{} is accessible to other users, and its mode cannot be changed: {error}", path.display())
            }
        }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // SQLite does not wait for the switch to WAL when other processes begin or end at the same moment.
    let deadline = Instant::now() + BUSY;
    while let Err(error) = connection.execute_batch(PRAGMAS) {
        if !matches!(fault(&error), Fault::Busy(_)) || Instant::now() > deadline {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Executes orders until all senders are gone.
fn serve(connection: &Connection, mut inbox: mpsc::UnboundedReceiver<Order>) {
    while let Some(order) = inbox.blocking_recv() {
        match order {
            // Whoever no longer waits for the answer has sent a rollback after it.
            Order::Run { statement, parameters, reply } => drop(reply.send(run(connection, &statement, &parameters))),
            Order::Rollback if connection.is_autocommit() => {}
            Order::Rollback => {
                if let Err(error) = connection.execute_batch("ROLLBACK") {
                    warn!("a step of the store could not be rolled back: {error}");
                }
            }
        }
    }
}

fn run(connection: &Connection, statement: &str, parameters: &[Value]) -> rusqlite::Result<Vec<Row>> {
    // `$1` would be a name to SQLite, `?1` is a number.
    let mut prepared = connection.prepare_cached(&statement.replace('$', "?"))?;
    let columns = prepared.column_count();
    let mut found = prepared.query(rusqlite::params_from_iter(parameters))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let column = |index| {
            Ok(match row.get_ref(index)? {
                ValueRef::Null => Value::Int(None),
                ValueRef::Integer(value) => Value::Int(Some(value)),
                ValueRef::Text(text) => Value::Text(Some(String::from_utf8_lossy(text).into_owned())),
                ValueRef::Blob(bytes) => Value::Bytes(Some(bytes.to_vec())),
                // There are no columns of this type.
                ValueRef::Real(value) => Value::Text(Some(value.to_string())),
            })
        };
        rows.push(Row::new((0..columns).map(column).collect::<rusqlite::Result<_>>()?));
    }
    Ok(rows)
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Int(Some(value)) => ValueRef::Integer(*value),
            Self::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(Some(bytes)) => ValueRef::Blob(bytes),
            Self::Int(None) | Self::Text(None) | Self::Bytes(None) => ValueRef::Null,
        }))
    }
}

fn fault(error: &rusqlite::Error) -> Fault {
    let code = error.sqlite_error_code();
    let words = error.to_string();
    match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Fault::Busy(words),
        Some(ErrorCode::ReadOnly) => Fault::ReadOnly,
        Some(ErrorCode::DiskFull) => Fault::Full,
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::SystemIoFailure) => {
            Fault::Unreachable(words)
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Fault::Corrupt(words),
        _ => Fault::Other(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs statements outside any transaction.
    async fn outside(sqlite: &Sqlite, statement: &str) {
        let orders = Arc::clone(&sqlite.orders).lock_owned().await;
        let mut tx = Tx { address: Arc::clone(&sqlite.address), orders, done: true };
        tx.query(statement, vec![]).await.unwrap();
    }

    async fn write(sqlite: &Sqlite, bytes: usize) -> Result<(), StoreError> {
        let mut tx = sqlite.begin(Mode::Write).await?;
        tx.query("INSERT INTO t (x) VALUES ($1)", vec![vec![7; 1].into()]).await?;
        tx.query("INSERT INTO t (x) VALUES ($1)", vec![vec![7; bytes].into()]).await?;
        tx.commit().await
    }

    async fn rows(sqlite: &Sqlite) -> i64 {
        let mut tx = sqlite.begin(Mode::Read).await.unwrap();
        tx.query("SELECT count(*) FROM t", vec![]).await.unwrap().remove(0).int().unwrap()
    }

    #[tokio::test]
    async fn a_full_disk_leaves_no_part_of_a_step() {
        let dir = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(&dir.path().join("t.db")).await.unwrap();
        outside(&sqlite, "CREATE TABLE t (x BLOB)").await;
        write(&sqlite, 1).await.unwrap();

        // SQLite's own bound stands for a disk of that size.
        outside(&sqlite, "PRAGMA max_page_count = 20").await;
        let error = write(&sqlite, 1 << 20).await.unwrap_err();
        assert!(matches!(error, StoreError::Database { fault: Fault::Full, .. }), "{error}");
        assert!(error.to_string().contains("no space left"), "{error}");
        assert_eq!(rows(&sqlite).await, 2);
        write(&sqlite, 1).await.unwrap();

        outside(&sqlite, "PRAGMA query_only = ON").await;
        let error = write(&sqlite, 1).await.unwrap_err();
        assert!(matches!(error, StoreError::Database { fault: Fault::ReadOnly, .. }), "{error}");
        outside(&sqlite, "PRAGMA query_only = OFF").await;
        write(&sqlite, 1).await.unwrap();
        assert_eq!(rows(&sqlite).await, 6);
    }

    #[tokio::test]
    async fn commits_are_synced_and_deletions_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(&dir.path().join("t.db")).await.unwrap();
        let mut tx = sqlite.begin(Mode::Read).await.unwrap();
        for (pragma, expected) in [("synchronous", 2), ("secure_delete", 1), ("foreign_keys", 1)] {
            let mut row = tx.query(&format!("PRAGMA {pragma}"), vec![]).await.unwrap().remove(0);
            assert_eq!(row.int().unwrap(), expected, "{pragma}");
        }
        assert_eq!(tx.query("PRAGMA journal_mode", vec![]).await.unwrap().remove(0).text().unwrap(), "wal");
    }
}
