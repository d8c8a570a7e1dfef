//! What the demonstration runs on: a stand-in for Datadog and the daemon, both in this process and on loopback.

use super::connect::{Application, ConnectError};
use super::item_id::ids_of;
use crate::daemon::{Daemon, DaemonError};
use crate::fakeintake::{Client, FakeIntake, Filter, Handle, Key, Options, Org, Rotation};
use crate::ledger::{Balance, Ledger};
use crate::metric::Recorder;
use crate::settings::{Settings, SettingsError};
use crate::tenancy::{Registry, TenantState};
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The tenants of the demo.
pub(super) const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

/// The partner's OAuth client.
const CLIENT: &str = "demo-partner";

/// The life of access tokens, in seconds; Datadog says an hour.
const TOKEN_LIFE: u64 = 3_600;

/// How often a free port is tried: another program may be quicker.
const PORTS: u32 = 5;

/// Why there is no demonstration.
#[derive(Debug, thiserror::Error)]
pub(super) enum StageError {
    #[error("cannot create a temporary directory at {}: {source}; set TMPDIR to a writable one", .path.display())]
    Scratch { path: PathBuf, source: io::Error },
    #[error("nothing could listen on loopback: {0}")]
    Loopback(io::Error),
    #[error("the demonstration's own configuration is refused: {0}")]
    Settings(#[from] SettingsError),
    #[error("the metrics could not be set up: {0}")]
    Metrics(String),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error("the HTTP client could not be set up: {0}")]
    Client(#[from] reqwest::Error),
    #[error("the token of the admin API could not be read: {0}")]
    Token(io::Error),
    #[error("the daemon's DogStatsD socket cannot be reached: {0}")]
    Dogstatsd(io::Error),
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// The daemon and the stand-in, at work.
pub(super) struct Stage {
    /// Scripts the stand-in and tells what it received.
    pub(super) fakeintake: Handle,
    /// The stand-in's address.
    pub(super) intake_url: String,
    /// The daemon's local port.
    pub(super) url: String,
    /// Where it takes DogStatsD.
    pub(super) dogstatsd: String,
    /// The daemon's admin port.
    pub(super) admin_url: String,
    /// Where the daemon takes customers that Datadog sends back.
    pub(super) connect_url: String,
    /// The partner's application.
    pub(super) application: Application,
    ledger: Arc<Ledger>,
    registry: Arc<Registry>,
    client: Client,
    scratch: Scratch,
    stop: watch::Sender<bool>,
    running: [JoinHandle<()>; 2],
}

impl Stage {
    /// Starts both on free ports, and adds the tenants; none is connected yet.
    pub(super) async fn open() -> Result<Self, StageError> {
        let scratch = Scratch::new()?;
        let fakeintake = FakeIntake::bind("127.0.0.1:0", Options { any_key: false, ..Options::default() });
        let fakeintake = fakeintake.map_err(StageError::Loopback)?;
        let (handle, intake_url) = (fakeintake.handle(), format!("http://{}", fakeintake.addr()));
        let recorder = Recorder::install().map_err(|error| StageError::Metrics(error.to_string()))?;
        let mut client = partner();
        let mut tries = 1;
        let (daemon, connect_url) = loop {
            // Datadog wants to know beforehand where customers are sent back to, so the port cannot be left to chance.
            let free = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
            let connect = free.map_err(StageError::Loopback)?.to_string();
            let connect_url = callback_url(&connect);
            client.redirect_uris = vec![connect_url.clone()];
            let settings = Settings::from_toml(&configuration(&scratch.0, &intake_url, &connect, &client))?;
            match Daemon::start(&settings, recorder.clone()).await {
                Ok(daemon) => break (daemon, connect_url),
                Err(DaemonError::Listen(_)) if tries < PORTS => tries += 1,
                Err(error) => return Err(error.into()),
            }
        };
        handle.set_client(client.clone());
        let url = daemon.ingest_addresses().first().map(|address| format!("http://{address}")).unwrap_or_default();
        let dogstatsd = daemon.dogstatsd_addresses().first().cloned().unwrap_or_default();
        let admin_url = daemon.admin_address().map(|address| format!("http://{address}")).unwrap_or_default();
        let token = fs::read_to_string(scratch.0.join("state/admin.token")).map_err(StageError::Token)?;
        let application = Application::new(format!("{admin_url}/admin/v1"), token.trim().to_owned())?;
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
                let _ = fakeintake.serve(until(stopped)).await;
            }),
        ];
        let stage = Self {
            fakeintake: handle,
            intake_url,
            url,
            dogstatsd,
            admin_url,
            connect_url,
            application,
            ledger,
            registry,
            client,
            scratch,
            stop,
            running,
        };
        for tenant in TENANTS {
            if let Err(error) = stage.application.add(tenant).await {
                stage.close().await;
                return Err(error.into());
            }
        }
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

    /// Sets the life of the access tokens that Datadog grants from now on, in seconds; none is the usual one.
    pub(super) fn set_token_life(&self, life: Option<u64>) {
        self.fakeintake.set_client(Client { expires_in: life.unwrap_or(TOKEN_LIFE), ..self.client.clone() });
    }

    /// The customer revokes the API key of their organisation.
    pub(super) fn revoke_key(&self, tenant: usize) {
        for key in self.keys(tenant) {
            self.fakeintake.set_key(Key { valid: false, ..key });
        }
    }

    /// The customer ends the authorisation, and revokes the API key with it.
    pub(super) fn revoke_authorisation(&self, tenant: usize) {
        self.fakeintake.revoke_tokens(Some(CLIENT), Some(TENANTS[tenant]));
        self.revoke_key(tenant);
    }

    /// The API keys that the partner's client was ever given for a tenant's organisation.
    fn keys(&self, tenant: usize) -> Vec<Key> {
        let keys = self.fakeintake.keys().into_iter();
        keys.filter(|key| key.org == TENANTS[tenant] && key.client_id.as_deref() == Some(CLIENT)).collect()
    }

    /// The API key of a tenant's organisation that is good; empty if there is none.
    pub(super) fn key(&self, tenant: usize) -> String {
        self.keys(tenant).into_iter().find(|key| key.valid).map(|key| key.key).unwrap_or_default()
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

    /// The identifiers of the items that came with a tenant's keys, in order of arrival; empty for one without.
    pub(super) fn received(&self, tenant: usize) -> Vec<String> {
        let of = |key: Key| self.fakeintake.items(&Filter { key: Some(key.key), kind: None }, 0, usize::MAX);
        let mut items: Vec<_> = self.keys(tenant).into_iter().flat_map(of).collect();
        items.sort_by_key(|item| item.order);
        items.iter().map(|item| ids_of(&item.json).next().unwrap_or_default().to_owned()).collect()
    }

    /// The identifiers of a tenant's dead letters.
    pub(super) fn buried(&self, tenant: usize) -> Vec<String> {
        ids_of(&self.dead_letters(tenant)).map(str::to_owned).collect()
    }

    /// Requests that came sooner than a 429 had allowed.
    pub(super) fn too_early(&self) -> u64 {
        let received = self.fakeintake.received(&Filter::default());
        received.keys.values().map(|counts| counts.total.rate_limit_violations).sum()
    }

    /// The dead letters of a tenant, one JSON object a line.
    pub(super) fn dead_letters(&self, tenant: usize) -> String {
        let path = self.scratch.0.join("state/dead-letters").join(format!("{}.ndjson", TENANTS[tenant]));
        fs::read_to_string(path).unwrap_or_default()
    }
}

/// The partner's client, as Datadog knows it. Every tenant has an organisation of its own.
#[expect(clippy::disallowed_methods, reason = "nobody is to guess it, with a seed or without")]
fn partner() -> Client {
    let org = |tenant: &str| Org {
        id: tenant.to_owned(),
        name: tenant.to_owned(),
        domain: "datadoghq.com".into(),
        site: "https://app.datadoghq.com".into(),
    };
    Client {
        client_id: CLIENT.into(),
        client_secret: Some(format!("{:032x}", rand::random::<u128>())),
        name: "The demonstration".into(),
        redirect_uris: Vec::new(),
        orgs: TENANTS.map(org).into(),
        may_create_keys: true,
        expires_in: TOKEN_LIFE,
        rotation: Rotation::Replaced,
    }
}

fn callback_url(connect: &str) -> String {
    format!("http://{connect}/oauth/callback")
}

/// The daemon's usual configuration, but quicker: a demonstration has seconds, not hours.
fn configuration(dir: &Path, fakeintake: &str, connect: &str, client: &Client) -> String {
    format!(
        "[state]\ndir = {dir:?}\n\
         [ingest]\nlisten = \"127.0.0.1:0\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n\
         [dogstatsd]\nlisten = \"127.0.0.1:0\"\ninterval = \"1s\"\n\
         [tenancy]\nfrom_tags = true\n\
         [batch]\nmax_age = \"200ms\"\n\
         [delivery]\nretry_initial = \"200ms\"\nretry_max = \"1s\"\n\
         [shutdown]\ngrace = \"1s\"\n\
         [oauth]\nclient_id = {CLIENT:?}\nclient_secret = {secret:?}\nlisten = {connect:?}\nredirect_uri = {back:?}\n\
         success_url = \"http://127.0.0.1/settings/datadog\"\n\
         [datadog.sites.\"datadoghq.com\"]\napi = {fakeintake:?}\nlogs = {fakeintake:?}\nevents = {fakeintake:?}\napp = {fakeintake:?}\n",
        dir = dir.join("state"),
        secret = client.client_secret.as_deref().unwrap_or_default(),
        back = callback_url(connect),
    )
}

/// A directory that is gone when the demonstration is over.
struct Scratch(PathBuf);

impl Scratch {
    #[expect(clippy::disallowed_methods, reason = "a name that no other run has")]
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
