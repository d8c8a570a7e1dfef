//! The tenants of the store: opened with the daemon, shown to its deliveries, attended to while it runs.

use super::run::DaemonError;
use crate::oauth::{Clock, Connect, Oauth};
use crate::settings::Settings;
use crate::store::{Revision, Store};
use crate::tenancy::Registry;
use crate::vault::Source;
use std::sync::Arc;
use tokio::task::JoinSet;
use tracing::info;

/// What tenants that connect need: their store, the OAuth client, and the listener that browsers are sent back to.
#[derive(Debug)]
pub(super) struct Tenants {
    oauth: Oauth,
    loaded: Revision,
    connect: Option<Connect>,
}

impl Tenants {
    /// Opens what is configured and puts the tenants of the store into the registry; none without an OAuth client.
    ///
    /// # Errors
    /// When the store or the listener cannot be opened.
    pub async fn open(settings: &Settings, registry: &Arc<Registry>) -> Result<Option<Self>, DaemonError> {
        if !settings.oauth.is_configured() {
            return Ok(None);
        }
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        let source = Source::configured(settings, credentials.as_deref());
        let store = Store::open(&settings.store.url, &settings.state.dir, source).await?;
        let oauth = Oauth::new(settings, store, registry.clone(), Clock::default())?;
        let loaded = oauth.load().await?;
        let connect = match settings.oauth.listen.as_str() {
            "" => None,
            address => {
                let connect = Connect::bind(address).await?;
                info!(listener = "connect", address = %connect.address(), "listening");
                Some(connect)
            }
        };
        Ok(Some(Self { oauth, loaded, connect }))
    }

    /// Attends to the tenants, and serves the listener, until the result is dropped.
    pub fn run(self) -> JoinSet<()> {
        let Self { oauth, loaded, connect } = self;
        let mut tasks = JoinSet::new();
        if let Some(connect) = connect {
            tasks.spawn(connect.serve(oauth.clone()));
        }
        tasks.spawn(async move { oauth.run(loaded).await });
        tasks
    }
}
