//! What the demonstration runs on: a stand-in for Datadog and the daemon, both in this process and on loopback.

use super::traffic::ids_of;
use crate::admin;
use crate::daemon::{Daemon, DaemonError};
use crate::intake::{Filter, Handle, Intake, Key, Options};
use crate::ledger::{Balance, Ledger};
use crate::settings::{Settings, SettingsError};
use crate::tenancy::{Registry, TenantState};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The tenants.
pub(super) const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

/// Why there is no demonstration.
#[derive(Debug, thiserror::Error)]
pub(super) enum StageError {
    #[error("no temporary directory could be made at {}: {source}; set TMPDIR to one that is writable", .path.display())]
    Scratch { path: PathBuf, source: io::Error },
    #[error("the stand-in for Datadog could not listen on loopback: {0}")]
    Intake(io::Error),
    #[error("the demonstration's own configuration is refused: {0}")]
    Settings(#[from] SettingsError),
    #[error("the metrics could not be set up: {0}")]
    Metrics(String),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error("the HTTP client could not be set up: {0}")]
    Client(#[from] reqwest::Error),
}

/// The daemon and the stand-in, at work.
pub(super) struct Stage {
    /// Scripts the stand-in and tells what it received.
    pub(super) intake: Handle,
    /// The stand-in's address.
    pub(super) intake_url: String,
    /// The daemon's local port.
    pub(super) url: String,
    /// The daemon's metrics.
    pub(super) metrics_url: String,
    ledger: Arc<Ledger>,
    registry: Arc<Registry>,
    keys: [String; TENANTS.len()],
    tokens: [String; TENANTS.len()],
    scratch: Scratch,
    stop: watch::Sender<bool>,
    running: [JoinHandle<()>; 2],
}

impl Stage {
    /// Starts both on free ports, with a key and an ingest token for each tenant.
    pub(super) async fn open() -> Result<Self, StageError> {
        let scratch = Scratch::new()?;
        let intake = Intake::bind("127.0.0.1:0", Options { any_key: false, ..Options::default() });
        let intake = intake.map_err(StageError::Intake)?;
        let (handle, intake_url) = (intake.handle(), format!("http://{}", intake.addr()));
        let random = |_| format!("{:032x}", rand::random::<u128>());
        let (keys, tokens) = (TENANTS.map(random), TENANTS.map(random));
        let settings = Settings::from_toml(&configuration(&scratch.0, &intake_url, &keys, &tokens))?;
        let recorder = admin::install_recorder().map_err(|error| StageError::Metrics(error.to_string()))?;
        let daemon = Daemon::start(&settings, recorder).await?;
        let url = daemon.ingest_addresses().first().map(|address| format!("http://{address}")).unwrap_or_default();
        let metrics_url = daemon.admin_address().map(|address| format!("http://{address}/metrics")).unwrap_or_default();
        let (ledger, registry) = (daemon.ledger(), daemon.registry());
        let (stop, stopped) = watch::channel(false);
        let until = |mut stopped: watch::Receiver<bool>| async move {
            // An error means that there is no stage any more.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let running = [
            tokio::spawn(daemon.run(until(stopped.clone()), std::future::pending())),
            tokio::spawn(async move {
                // It ends only when told to.
                let _ = intake.serve(until(stopped)).await;
            }),
        ];
        let stage = Self {
            intake: handle,
            intake_url,
            url,
            metrics_url,
            ledger,
            registry,
            keys,
            tokens,
            scratch,
            stop,
            running,
        };
        (0..TENANTS.len()).for_each(|tenant| stage.set_key(tenant, true));
        Ok(stage)
    }

    /// Ends both; nothing is left behind.
    pub(super) async fn close(self) {
        self.stop.send_replace(true);
        for running in self.running {
            // A panic was shown when it happened.
            let _ = running.await;
        }
    }

    /// Has Datadog take a tenant's key or refuse it.
    pub(super) fn set_key(&self, tenant: usize, valid: bool) {
        let (key, org) = (self.keys[tenant].clone(), TENANTS[tenant].to_owned());
        self.intake.set_key(Key { key, org, valid, client_id: None });
    }

    /// A tenant's API key.
    pub(super) fn key(&self, tenant: usize) -> &str {
        &self.keys[tenant]
    }

    /// A tenant's ingest token.
    pub(super) fn token(&self, tenant: usize) -> &str {
        &self.tokens[tenant]
    }

    /// A tenant's state.
    pub(super) fn state(&self, tenant: usize) -> TenantState {
        self.registry.get(TENANTS[tenant]).map_or(TenantState::Pending, |tenant| tenant.state())
    }

    /// The figures of each tenant, all kinds together.
    pub(super) fn balances(&self) -> [Balance; TENANTS.len()] {
        let mut balances = [Balance::default(); TENANTS.len()];
        for (tenant, _, balance) in self.ledger.read() {
            if let Some(index) = TENANTS.iter().position(|name| *name == tenant.as_str()) {
                balances[index].add(&balance);
            }
        }
        balances
    }

    /// The identifiers of the items that came with a tenant's key, in order of arrival; empty for one without.
    pub(super) fn received(&self, tenant: usize) -> Vec<String> {
        let filter = Filter { key: Some(self.key(tenant).to_owned()), kind: None };
        let items = self.intake.items(&filter, 0, usize::MAX);
        items.iter().map(|item| ids_of(&item.json).next().unwrap_or_default().to_owned()).collect()
    }

    /// The identifiers of a tenant's dead letters.
    pub(super) fn buried(&self, tenant: usize) -> Vec<String> {
        ids_of(&self.dead_letters(tenant)).map(str::to_owned).collect()
    }

    /// Requests that came sooner than a 429 had allowed.
    pub(super) fn too_early(&self) -> u64 {
        let received = self.intake.received(&Filter::default());
        received.keys.values().map(|counts| counts.total.rate_limit_violations).sum()
    }

    /// The dead letters of a tenant, one JSON object a line.
    pub(super) fn dead_letters(&self, tenant: usize) -> String {
        let path = self.scratch.0.join("state/dead-letters").join(format!("{}.ndjson", TENANTS[tenant]));
        fs::read_to_string(path).unwrap_or_default()
    }
}

/// The daemon's usual configuration, but quicker: a demonstration has seconds, not hours.
fn configuration(dir: &Path, intake: &str, keys: &[String], tokens: &[String]) -> String {
    let tenants =
        TENANTS.iter().zip(keys).zip(tokens).map(|((tenant, key), token)| {
            format!("[tenants.{tenant}]\napi_key = {key:?}\ningest_tokens = [{token:?}]\n")
        });
    let tenants: String = tenants.collect();
    format!(
        "[state]\ndir = {dir:?}\n\
         [ingest]\nlisten = \"127.0.0.1:0\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n\
         [batch]\nmax_age = \"200ms\"\n\
         [delivery]\nretry_initial = \"200ms\"\nretry_max = \"1s\"\n\
         [shutdown]\ngrace = \"1s\"\n\
         [datadog.sites.\"datadoghq.com\"]\napi = {intake:?}\nlogs = {intake:?}\nevents = {intake:?}\n\
         {tenants}",
        dir = dir.join("state"),
    )
}

/// A directory that is gone when the demonstration is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, StageError> {
        let path = std::env::temp_dir().join(format!("dogsled-demo-{:016x}", rand::random::<u64>()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(StageError::Scratch { path, source }),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans temporary directories.
        let _ = fs::remove_dir_all(&self.0);
    }
}
