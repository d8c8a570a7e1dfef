//! PostgreSQL: a few connections, made when they are needed and discarded when they break.

use super::statement::{Mode, PATIENCE, Row, Value, patiently};
use super::tls::{Stream, Tls};
use crate::store::error::{Fault, StoreError};
use crate::types::Secret;
use bytes::BytesMut;
use std::error::Error;
use std::future::poll_fn;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Socket};
use tracing::debug;

/// The most connections at once: writers wait for one another anyway.
const CONNECTIONS: usize = 4;

/// Where Debian's PostgreSQL listens, for an address that names no host.
const SOCKET: &str = "/var/run/postgresql";

/// The server gives up before we do, so that the error is its own, and does not hold locks for a host that froze.
/// `synchronous_commit`: what is committed is on the disk; stronger settings of the server are kept.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = '8s'; SET LOCAL lock_timeout = '8s'; \
     SET LOCAL idle_in_transaction_session_timeout = '15s'; \
     SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') IN ('off', 'local')";

const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '8s'";

/// How long a connection may be silent before it is probed.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The longest pause before listening is tried again.
const LISTEN_PAUSE: Duration = Duration::from_secs(5);

/// A PostgreSQL database.
pub struct Postgres {
    address: String,
    config: Config,
    tls: Tls,
    idle: Mutex<Vec<Client>>,
    permits: Arc<Semaphore>,
}

/// A transaction on a pooled connection.
pub struct Tx {
    pool: Arc<Postgres>,
    /// Present until the transaction has ended.
    client: Option<Client>,
    _permit: OwnedSemaphorePermit,
}

impl Postgres {
    /// Prepares connections to an address; none is made yet.
    pub fn new(url: &Secret, address: String) -> Result<Self, StoreError> {
        let refused = |why| StoreError::Database { address: address.clone(), fault: Fault::Other(why) };
        let (config, tls) = configure(url.expose()).map_err(refused)?;
        Ok(Self { address, config, tls, idle: Mutex::default(), permits: Arc::new(Semaphore::new(CONNECTIONS)) })
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub async fn begin(self: &Arc<Self>, mode: Mode) -> Result<Tx, StoreError> {
        let permit = async {
            // Never closed.
            Arc::clone(&self.permits).acquire_owned().await.map_err(|_| self.failed(Fault::Busy("closed".into())))
        };
        let permit = patiently(&self.address, "waiting for other work on it", permit).await?;
        let begin = if mode == Mode::Write { BEGIN } else { BEGIN_READ };
        // One that waited may have broken meanwhile, which shows only when it is used.
        if let Some(client) = self.take() {
            match patiently(&self.address, "its answer", self.batch(&client, begin)).await {
                Ok(()) => return Ok(Tx { pool: Arc::clone(self), client: Some(client), _permit: permit }),
                Err(error) => {
                    debug!("reconnecting to the store: {error}");
                    // The others are broken too, and each would be waited for.
                    self.idle().clear();
                }
            }
        }
        let client = patiently(&self.address, "connecting", async {
            let (client, connection) =
                self.config.connect(self.tls.clone()).await.map_err(|error| self.error(&error))?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    debug!("a connection of the store ended: {error}");
                }
            });
            self.batch(&client, begin).await?;
            Ok(client)
        });
        Ok(Tx { pool: Arc::clone(self), client: Some(client.await?), _permit: permit })
    }

    async fn batch(&self, client: &Client, statements: &str) -> Result<(), StoreError> {
        client.batch_execute(statements).await.map_err(|error| self.error(&error))
    }

    /// Wakes `changed` at every notification, and after every pause in listening.
    pub async fn listen(&self, changed: &Notify) {
        let mut pause = Duration::from_secs(1);
        loop {
            match self.config.connect(self.tls.clone()).await {
                Ok((client, connection)) => {
                    let reason = self.hear(&client, connection, changed, &mut pause).await;
                    debug!("listening for changes of the store ended: {reason}");
                }
                Err(error) => debug!("listening for changes of the store is not possible: {}", self.error(&error)),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LISTEN_PAUSE);
        }
    }

    async fn hear(
        &self,
        client: &Client,
        mut connection: Connection<Socket, Stream<Socket>>,
        changed: &Notify,
        pause: &mut Duration,
    ) -> String {
        let mut subscribed = false;
        let mut subscribe = pin!(client.batch_execute("LISTEN dogsled_changes"));
        loop {
            tokio::select! {
                message = poll_fn(|cx| connection.poll_message(cx)) => match message {
                    Some(Ok(AsyncMessage::Notification(_))) => changed.notify_waiters(),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return self.error(&error).to_string(),
                    None => return "the server closed the connection".into(),
                },
                done = &mut subscribe, if !subscribed => match done {
                    Ok(()) => {
                        subscribed = true;
                        *pause = Duration::from_secs(1);
                        // Log each failure once.
                        changed.notify_waiters();
                    }
                    Err(error) => return self.error(&error).to_string(),
                },
            }
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Client>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Client> {
        let mut idle = self.idle();
        idle.retain(|client| !client.is_closed());
        idle.pop()
    }

    fn keep(&self, client: Client) {
        if !client.is_closed() {
            self.idle().push(client);
        }
    }

    fn failed(&self, fault: Fault) -> StoreError {
        StoreError::Database { address: self.address.clone(), fault }
    }

    fn error(&self, error: &tokio_postgres::Error) -> StoreError {
        self.failed(fault(error))
    }
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Postgres({})", self.address)
    }
}

impl Tx {
    fn client(&self) -> Result<&Client, StoreError> {
        self.client.as_ref().ok_or_else(|| self.pool.failed(Fault::Unreachable("the connection was abandoned".into())))
    }

    pub async fn query(&mut self, statement: &str, parameters: &[Value]) -> Result<Vec<Row>, StoreError> {
        let typed: Vec<_> =
            parameters.iter().map(|value| (value as &(dyn ToSql + Sync), value.postgres_type())).collect();
        // Without preparing: one round trip, and a pooler in between does no harm.
        let work =
            async { self.client()?.query_typed(statement, &typed).await.map_err(|error| self.pool.error(&error)) };
        let answer = tokio::time::timeout(PATIENCE, work).await;
        let Ok(answer) = answer else {
            // The state of the connection is unknown.
            self.client = None;
            return Err(self.pool.failed(Fault::Slow(format!("no answer for {} s", PATIENCE.as_secs()))));
        };
        answer?.iter().map(|row| self.row(row)).collect()
    }

    fn row(&self, row: &tokio_postgres::Row) -> Result<Row, StoreError> {
        let column = |(index, column): (usize, &tokio_postgres::Column)| match *column.type_() {
            Type::INT8 => row.try_get(index).map(Value::Int),
            Type::BYTEA => row.try_get(index).map(Value::Bytes),
            _ => row.try_get(index).map(Value::Text),
        };
        let columns = row.columns().iter().enumerate().map(column).collect::<Result<_, _>>();
        columns.map(Row::new).map_err(|error| self.pool.error(&error))
    }

    pub async fn commit(mut self) -> Result<(), StoreError> {
        let uncertain =
            |pool: &Postgres, reason: String| StoreError::Uncertain { address: pool.address.clone(), reason };
        let Some(client) = self.client.take() else { return self.client().map(drop) };
        match tokio::time::timeout(PATIENCE, client.batch_execute("COMMIT")).await {
            Ok(Ok(())) => {
                self.pool.keep(client);
                Ok(())
            }
            Ok(Err(error)) if error.as_db_error().is_some() && !client.is_closed() => {
                let told = self.pool.error(&error);
                self.client = Some(client);
                Err(told)
            }
            Ok(Err(error)) => Err(uncertain(&self.pool, words(&error))),
            Err(_) => Err(uncertain(&self.pool, format!("no answer for {} s", PATIENCE.as_secs()))),
        }
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        let Some(client) = self.client.take().filter(|client| !client.is_closed()) else { return };
        let pool = Arc::clone(&self.pool);
        // Without a runtime the connection is closed, and the server rolls back.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            match tokio::time::timeout(PATIENCE, client.batch_execute("ROLLBACK")).await {
                Ok(Ok(())) => pool.keep(client),
                Ok(Err(error)) => debug!("a step of the store was rolled back by closing its connection: {error}"),
                Err(_) => debug!("a step of the store was rolled back by closing its connection: no answer"),
            }
        });
    }
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tx({})", self.pool.address)
    }
}

impl Value {
    fn postgres_type(&self) -> Type {
        match self {
            Self::Int(_) => Type::INT8,
            Self::Text(_) => Type::TEXT,
            Self::Bytes(_) => Type::BYTEA,
        }
    }
}

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Int(value) => value.to_sql(ty, out),
            Self::Text(value) => value.to_sql(ty, out),
            Self::Bytes(value) => value.to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        [Type::INT8, Type::TEXT, Type::BYTEA].contains(ty)
    }

    to_sql_checked!();
}

/// Reads an address: `sslmode` and `sslrootcert` are ours, the rest is the client library's. Errors name no value.
fn configure(url: &str) -> Result<(Config, Tls), String> {
    let (address, options) = url.split_once('?').unwrap_or((url, ""));
    let (mut mode, mut roots, mut rest) = (None, None, Vec::new());
    for option in options.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value),
            Some(("sslrootcert", value)) => {
                let decoded =
                    form_urlencoded::parse(format!("f={value}").as_bytes()).next().map(|(_, path)| path.into_owned());
                roots = decoded.map(PathBuf::from);
            }
            _ => rest.push(option),
        }
    }
    let address = if rest.is_empty() { address.to_owned() } else { format!("{address}?{}", rest.join("&")) };
    let mut config: Config = address.parse().map_err(|error: tokio_postgres::Error| words(&error))?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        config.host_path(SOCKET);
    }
    if config.get_application_name().is_none() {
        config.application_name("dogsled");
    }
    config.connect_timeout(config.get_connect_timeout().copied().unwrap_or(PATIENCE / 2));
    config.tcp_user_timeout(PATIENCE);
    // A connection that only listens would not notice for hours that the server is gone.
    config.keepalives_idle(KEEPALIVE.min(config.get_keepalives_idle()));
    let encrypted = match mode {
        Some("disable") => false,
        // TLS without verification would encrypt to whoever answers, so TLS is always verified here.
        Some("require" | "verify-ca" | "verify-full") => true,
        None => !is_local(&config),
        Some(_) => return Err("sslmode must be disable or verify-full".into()),
    };
    config.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
    let tls = if encrypted { Tls::new(roots.as_deref())? } else { Tls::off() };
    Ok((config, tls))
}

/// Whether the server is on this machine, as far as the address tells.
fn is_local(config: &Config) -> bool {
    let is_local = |host: &Host| match host {
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
        Host::Unix(_) => true,
    };
    config.get_hosts().iter().all(is_local) && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

/// An error with its causes.
fn words(error: &tokio_postgres::Error) -> String {
    let mut text = match error.as_db_error() {
        // Without its details, which may quote the values of a row.
        Some(error) => return error.message().to_owned(),
        None => error.to_string(),
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text += ": ";
            text += &words;
        }
        cause = error.source();
    }
    text
}

fn fault(error: &tokio_postgres::Error) -> Fault {
    let words = words(error);
    let Some(code) = error.code() else {
        return Fault::Unreachable(words);
    };
    match code.code() {
        _ if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Fault::ReadOnly,
        _ if *code == SqlState::DISK_FULL => Fault::Full,
        _ if *code == SqlState::LOCK_NOT_AVAILABLE || *code == SqlState::QUERY_CANCELED => Fault::Busy(words),
        "25P03" => Fault::Busy(words), // idle_in_transaction_session_timeout
        "57P01" | "57P02" | "57P03" | "53300" => Fault::Unreachable(words), // shut down, crashed, starting, full
        "42501" | "3D000" | "3F000" => Fault::Refused(words), // no right, no such database, no schema
        class if class.starts_with("08") => Fault::Unreachable(words),
        class if class.starts_with("28") => Fault::Refused(words),
        "XX001" | "XX002" => Fault::Corrupt(words),
        class if class.starts_with("40") => Fault::Busy(words), // serialization failure, deadlock
        _ => Fault::Other(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_connections_are_encrypted_by_default() {
        for (url, encrypted) in [
            ("postgres://db.example/d", true),
            ("postgres://10.0.0.1/d?sslmode=verify-full", true),
            ("postgres://127.0.0.1/d?sslmode=require", true),
            ("postgres://db.example/d?sslmode=disable", false),
            ("postgres://localhost/d", false),
            ("postgres://[::1]/d", false),
            ("postgres:///d?host=/run/postgresql", false),
            ("postgres:///d", false),
            ("postgres://localhost,db.example/d", true),
        ] {
            let (config, _) = configure(url).unwrap();
            assert_eq!(config.get_ssl_mode() == SslMode::Require, encrypted, "{url}");
        }
    }

    #[test]
    fn a_bad_address_is_refused_unseen() {
        for url in [
            "postgres://me:hunter2@h:port/d",
            "postgres://me:hunter2@h/d?unknown=hunter2",
            "postgres://me:hunter2@h/d?sslmode=prefer",
            "postgres://me:hunter2@h/d?connect_timeout=hunter2",
            "postgres://me:hunter2@h/d?sslrootcert=/nonexistent.pem",
            "postgres://me:hunter2%zz@h/d?sslmode=hunter2",
        ] {
            let error = configure(url).err().unwrap_or_else(|| panic!("{url}"));
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
