//! A place for a store, and hosts that share it.

use crate::postgres;
use dogsled::settings::{Settings, StoreUrl};
use dogsled::store::{NewTenant, NewTokens, Replaces, Store, StoreError};
use dogsled::types::{Secret, TenantId, UnixMillis};
use dogsled::vault::Source;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Makes two tests of one: `name::sqlite` and `name::postgres`.
macro_rules! both {
    ($($(#[$doc:meta])* async fn $name:ident($place:ident: Place) $body:block)*) => {$(
        $(#[$doc])*
        mod $name {
            #[allow(unused_imports)] // not every test needs all that its file imports
            use super::*;

            async fn test($place: $crate::store::harness::Place) $body

            #[tokio::test]
            async fn sqlite() {
                test($crate::store::harness::Place::sqlite()).await;
            }

            #[tokio::test]
            async fn postgres() {
                if let Some(place) = $crate::store::harness::Place::postgres().await {
                    test(place).await;
                }
            }
        }
    )*};
}
pub(crate) use both;

/// A database, and the state directory of a host that uses it.
pub struct Place {
    pub dir: TempDir,
    pub url: StoreUrl,
    /// The database's name, for PostgreSQL.
    pub database: Option<String>,
}

impl Place {
    pub fn sqlite() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), url: StoreUrl::Default, database: None }
    }

    pub async fn postgres() -> Option<Self> {
        let cluster = postgres::shared()?;
        cluster.client("postgres").await;
        let database = cluster.database().await;
        let url = StoreUrl::parse(&cluster.url(&database)).unwrap();
        Some(Self { dir: tempfile::tempdir().unwrap(), url, database: Some(database) })
    }

    pub fn key_file(&self) -> PathBuf {
        self.dir.path().join("master.key")
    }

    pub async fn try_open(&self) -> Result<Store, StoreError> {
        Store::open(&self.url, self.dir.path(), key_source(self.dir.path())).await
    }

    /// Opens the store; each time as another process would.
    pub async fn open(&self) -> Store {
        self.try_open().await.unwrap()
    }

    /// Runs statements on the database, past the store.
    pub async fn sql(&self, statements: &str) {
        match &self.database {
            None => {
                let connection = rusqlite::Connection::open(self.dir.path().join("tenants.db")).unwrap();
                connection.execute_batch(statements).unwrap();
            }
            Some(database) => {
                postgres::shared().unwrap().client(database).await.batch_execute(statements).await.unwrap();
            }
        }
    }
}

pub fn key_source(state_dir: &Path) -> Source {
    let mut settings = Settings::default();
    settings.state.dir = state_dir.to_owned();
    Source::configured(&settings, None)
}

pub fn id(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

pub async fn add(store: &Store, name: &str) -> TenantId {
    let tenant = NewTenant { id: id(name), site: "datadoghq.com".into() };
    store.add_tenant(&tenant, &[]).await.unwrap().id
}

pub fn tokens(access: &str, refresh: &str, replaces: Replaces) -> NewTokens {
    NewTokens {
        access: Secret::new(access),
        refresh: Secret::new(refresh),
        expires: UnixMillis(2_000_000_000_000),
        scopes: "api_keys_write".into(),
        replaces,
    }
}
