//! A stand-in for Datadog with one OAuth client, and hosts that share a store.

use dogsled::fakeintake::{Client, Effect, FakeIntake, Handle, Key, Options, Org, Rotation, Rule};
use dogsled::oauth::{Clock, Connected, FinishError, Oauth};
use dogsled::settings::{Settings, StoreUrl};
use dogsled::store::{Change, NewTenant, Store, TenantRecord};
use dogsled::tenancy::Registry;
use dogsled::types::{Secret, TenantId, UnixMillis};
use dogsled::vault::Source;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const CLIENT_ID: &str = "partner-client";
pub const CLIENT_SECRET: &str = "Sup3r/Secret+Of=The&Partner";
pub const REDIRECT: &str = "https://connect.example.com/oauth/callback";

/// The path on which keys are created.
pub const KEYS: &str = "/api/v2/api_keys/marketplace";
/// The path of tokens.
pub const TOKEN: &str = "/oauth2/v1/token";
/// The path on which keys are validated.
pub const VALIDATE: &str = "/api/v2/validate";

/// Everything but the hosts.
pub struct World {
    pub fakeintake: Handle,
    pub url: String,
    pub dir: TempDir,
    store: StoreUrl,
    /// How far the clock of all hosts is ahead, in milliseconds.
    ahead: Arc<AtomicI64>,
    pub http: reqwest::Client,
}

/// One of the hosts.
pub struct Host {
    pub oauth: Oauth,
    pub store: Store,
    pub registry: Arc<Registry>,
}

pub fn org(id: &str, domain: &str) -> Org {
    Org {
        id: id.into(),
        name: format!("The {id} & Co"),
        domain: domain.into(),
        site: "https://app.datadoghq.com".into(),
    }
}

pub fn client() -> Client {
    Client {
        client_id: CLIENT_ID.into(),
        client_secret: Some(CLIENT_SECRET.into()),
        name: "Partner".into(),
        redirect_uris: vec![REDIRECT.into()],
        orgs: vec![org("alpha", "datadoghq.com"), org("beta", "datadoghq.eu")],
        may_create_keys: true,
        expires_in: 3_600,
        rotation: Rotation::Replaced,
    }
}

pub fn id(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

/// A rule that does `effect` to so many requests of a path.
pub fn rule(path: &str, times: u64, effect: Effect) -> Rule {
    Rule { key: None, path: Some(path.into()), skip: 0, times: Some(times), effect }
}

/// A rule that answers a path with a status.
pub fn status(path: &str, times: u64, code: u16, body: &str) -> Rule {
    rule(path, times, Effect::Status { code, headers: Default::default(), body: Some(body.into()) })
}

/// Looks again and again until `look` gives something; fails, naming `what`, when that takes too long.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(client())
    }

    pub fn with(client: Client) -> Self {
        let options = Options { any_key: false, clients: vec![client], ..Options::default() };
        let fakeintake = FakeIntake::bind("127.0.0.1:0", options).unwrap();
        let (handle, url) = (fakeintake.handle(), format!("http://{}", fakeintake.addr()));
        tokio::spawn(fakeintake.serve(std::future::pending()));
        let http = dogsled::outbound::builder(None).unwrap().no_proxy().build().unwrap();
        let (dir, store) = (tempfile::tempdir().unwrap(), StoreUrl::Default);
        Self { fakeintake: handle, url, dir, store, ahead: Arc::default(), http }
    }

    /// Hosts share a PostgreSQL database, where that is installed.
    pub async fn on_postgres() -> Option<Self> {
        let cluster = crate::postgres::shared()?;
        let store = StoreUrl::parse(&cluster.url(&cluster.database().await)).unwrap();
        Some(Self { store, ..Self::new() })
    }

    pub fn settings(&self) -> Settings {
        let mut text = format!(
            "state.dir = {:?}\n[oauth]\nclient_id = {CLIENT_ID:?}\nclient_secret = {CLIENT_SECRET:?}\n\
             redirect_uri = {REDIRECT:?}\nallow_unbound = true\n",
            self.dir.path()
        );
        for site in ["datadoghq.com", "datadoghq.eu"] {
            text += &format!("[datadog.sites.{site:?}]\napi = {0:?}\napp = {0:?}\n", self.url);
        }
        Settings::from_toml(&text).unwrap()
    }

    /// A host of its own on the shared store, as after a restart.
    pub async fn host(&self) -> Host {
        self.host_with(&self.settings()).await
    }

    pub async fn host_with(&self, settings: &Settings) -> Host {
        self.host_at(settings, self.dir.path()).await
    }

    /// A host with its state directory there.
    pub async fn host_at(&self, settings: &Settings, state_dir: &Path) -> Host {
        let source = Source::configured(settings, None);
        let store = Store::open(&self.store, state_dir, source).await.unwrap();
        let registry = Arc::new(Registry::default());
        let ahead = self.ahead.clone();
        let clock = Clock::new(move || UnixMillis(UnixMillis::now().0 + ahead.load(Ordering::Relaxed)));
        let oauth = Oauth::new(settings, store.clone(), registry.clone(), clock).unwrap();
        Host { oauth, store, registry }
    }

    pub fn pass(&self, time: Duration) {
        self.ahead.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// What a customer's browser brings back, having gone through the consent page.
    pub async fn decide(&self, authorize_url: &Secret, org: &str, decision: &str) -> String {
        let page = self.http.get(authorize_url.expose()).send().await.unwrap();
        assert_eq!(page.status(), 200, "the consent page");
        let (_, query) = authorize_url.expose().split_once('?').unwrap();
        let form = format!("{query}&org={org}&decision={decision}");
        let post = self.http.post(format!("{}/oauth2/v1/authorize", self.url)).body(form).send().await.unwrap();
        assert_eq!(post.status(), 302, "the way back");
        let location = post.headers()["location"].to_str().unwrap();
        location.strip_prefix(REDIRECT).and_then(|rest| rest.strip_prefix('?')).unwrap().to_owned()
    }

    /// The callback's query of a customer who approves.
    pub async fn approve(&self, host: &Host, tenant: &TenantId, org: &str) -> String {
        let begun =
            host.oauth.begin(tenant, Some("datadoghq.com"), Some("https://app.datadoghq.com"), None).await.unwrap();
        self.decide(&begun.authorize_url, org, "approve").await
    }

    pub async fn connect(&self, host: &Host, tenant: &TenantId, org: &str) -> Result<Connected, FinishError> {
        let query = self.approve(host, tenant, org).await;
        host.oauth.finish(&query, Some(tenant), None).await
    }

    /// The good keys of this client that the stand-in knows, by organisation.
    pub fn keys(&self, org: &str) -> Vec<String> {
        let keys = self.fakeintake.keys().into_iter();
        keys.filter(|key| key.valid && key.org == org && key.client_id.is_some()).map(|key| key.key).collect()
    }

    /// The customer revokes the integration's key in Datadog.
    pub fn revoke_keys(&self, org: &str) {
        for key in self.keys(org) {
            self.fakeintake.set_key(Key { key, org: org.into(), valid: false, client_id: Some(CLIENT_ID.into()) });
        }
    }
}

impl Host {
    pub async fn add(&self, name: &str) -> TenantId {
        let tenant = NewTenant { id: id(name), site: "datadoghq.com".into() };
        self.store.add_tenant(&tenant, &[]).await.unwrap().id
    }

    pub async fn record(&self, tenant: &TenantId) -> TenantRecord {
        self.store.tenant(tenant).await.unwrap().unwrap()
    }

    /// The key that this host would send with.
    pub fn key(&self, tenant: &TenantId) -> Option<String> {
        self.registry.get(tenant.as_str())?.key().map(|key| key.expose().to_owned())
    }

    pub async fn apply(&self, tenant: &TenantId, changes: &[Change]) -> TenantRecord {
        self.store.apply(tenant, Default::default(), changes).await.unwrap()
    }
}

/// A callback's query without some of its parameters and with others instead.
pub fn changed(query: &str, changes: &[(&str, Option<&str>)]) -> String {
    let pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
    let kept = pairs.filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(kept);
    query.extend_pairs(changes.iter().filter_map(|(name, value)| Some((*name, (*value)?))));
    query.finish()
}
