//! The configuration as the daemon uses it: checked, typed, defaults filled in.

use super::StoreUrl;
use super::units::{as_duration, as_size};
use super::{Journal, Limits, Overrides};
use crate::types::{Secret, TenantId};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be configured.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Settings {
    /// `[state]`
    pub state: State,
    /// `[ingest]`
    pub ingest: Ingest,
    /// `[tenancy]`
    pub tenancy: Tenancy,
    /// `[tenants.<id>]`
    #[serde(serialize_with = "by_name", skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<TenantId, StaticTenant>,
    /// `[oauth]`
    pub oauth: Oauth,
    /// `[store]`
    pub store: Store,
    /// `[batch]`
    pub batch: Batch,
    /// `[delivery]`
    pub delivery: Delivery,
    /// `[limits]`
    pub limits: Limits,
    /// `[journal]`
    pub journal: Journal,
    /// `[memory]`
    pub memory: Memory,
    /// `[admin]`
    pub admin: Admin,
    /// `[log]`
    pub log: Log,
    /// `[shutdown]`
    pub shutdown: Shutdown,
    /// `[datadog]`
    pub datadog: Datadog,
    /// What is allowed but probably not meant, one line each, found while loading.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// Where the daemon keeps what must survive it.
#[derive(Debug, Clone, Serialize)]
pub struct State {
    /// The state directory, 0700.
    pub dir: PathBuf,
}

/// The local HTTP port.
#[derive(Debug, Clone, Serialize)]
pub struct Ingest {
    /// Address and port; empty for none.
    pub listen: String,
    /// Path of a Unix socket; empty for none.
    pub socket: String,
    /// The largest request body, in bytes after decompression.
    #[serde(serialize_with = "as_size")]
    pub max_body: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// Whether every request needs a known ingest token.
    pub require_token: bool,
    /// Whether addresses beyond loopback may be served without tokens.
    pub allow_anonymous: bool,
    /// How long a client may take to send a request's header, and how long a connection may idle.
    #[serde(serialize_with = "as_duration")]
    pub header_timeout: Duration,
    /// How long a client may take to send a request's body.
    #[serde(serialize_with = "as_duration")]
    pub body_timeout: Duration,
}

/// How a request's tenant is found.
#[derive(Debug, Clone, Serialize)]
pub struct Tenancy {
    /// The header that names it.
    pub header: String,
    /// The tag that names it.
    pub tag: String,
    /// Whether tags are looked at.
    pub from_tags: bool,
    /// The tenant of requests that name none.
    #[serde(serialize_with = "or_empty")]
    pub default: Option<TenantId>,
    /// The most tenants with metrics of their own; others share the label `other`.
    pub max_labels: usize,
}

/// A tenant of the configuration file.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StaticTenant {
    /// Its Datadog site.
    pub site: String,
    /// Its API key; none: telemetry is held until there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// Local ingest tokens that stand for this tenant: 32 hex digits each.
    pub ingest_tokens: Vec<Secret>,
    /// What it may do that others may not, or may not do.
    #[serde(flatten, serialize_with = "flat")]
    pub own: Overrides,
}

/// The OAuth client with which customers connect their Datadog organisations.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Oauth {
    /// The client's id, as of Datadog's Developer Platform; empty: nobody can connect.
    pub client_id: String,
    /// The client's secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// Where Datadog sends the customer's browser back to; one of the client's redirect URIs, to the letter.
    pub redirect_uri: String,
    /// Address and port of the connect listener; empty for none.
    pub listen: String,
    /// Where the browser goes once a customer is connected; empty for a page of our own.
    pub success_url: String,
}

impl Oauth {
    /// Whether customers can connect.
    pub fn is_configured(&self) -> bool {
        !self.client_id.is_empty()
    }
}

/// Where tenants and their secrets are kept.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Store {
    /// The database.
    pub url: StoreUrl,
    /// The file of the master key; none: `master.key` in the state directory, or what systemd hands in.
    #[serde(serialize_with = "path_or_empty")]
    pub master_key_file: Option<PathBuf>,
    /// The master key itself, instead of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master_key: Option<Secret>,
}

/// When a batch is due and how it is compressed.
#[derive(Debug, Clone, Serialize)]
pub struct Batch {
    /// The longest that an item waits for others.
    #[serde(serialize_with = "as_duration")]
    pub max_age: Duration,
    /// Which compression.
    pub compression: Compression,
    /// Compression level; 0 is the encoding's sensible default.
    pub level: i32,
}

/// The configured compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// The best that the endpoint takes.
    Auto,
    /// zstd where the endpoint takes it, else as `Auto`.
    Zstd,
    /// gzip where the endpoint takes it, else as `Auto`.
    Gzip,
    /// deflate where the endpoint takes it, else as `Auto`.
    Deflate,
    /// None.
    None,
}

/// How payloads are submitted.
#[derive(Debug, Clone, Serialize)]
pub struct Delivery {
    /// Requests of one tenant at once.
    pub concurrency_per_tenant: usize,
    /// Requests at once.
    pub concurrency: usize,
    /// How long one request may take.
    #[serde(serialize_with = "as_duration")]
    pub timeout: Duration,
    /// The first retry comes within this time.
    #[serde(serialize_with = "as_duration")]
    pub retry_initial: Duration,
    /// Retries are never further apart than this.
    #[serde(serialize_with = "as_duration")]
    pub retry_max: Duration,
    /// Whether items that Datadog would not keep for their age are dropped instead of sent.
    pub drop_late: bool,
    /// How often a key in use is validated, about.
    #[serde(serialize_with = "as_duration")]
    pub validate_interval: Duration,
}

/// Bounds on memory.
#[derive(Debug, Clone, Serialize)]
pub struct Memory {
    /// Bytes of items waiting in memory.
    #[serde(serialize_with = "as_size")]
    pub max_queue_bytes: usize,
}

/// The operator's port.
#[derive(Debug, Clone, Serialize)]
pub struct Admin {
    /// Address and port; empty for none.
    pub listen: String,
}

/// The daemon's own log.
#[derive(Debug, Clone, Serialize)]
pub struct Log {
    /// A level, or directives as of `tracing-subscriber`'s `Targets`.
    pub level: String,
    /// Its form.
    pub format: LogFormat,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// For reading.
    Human,
    /// One JSON object a line.
    Json,
}

/// How the daemon ends.
#[derive(Debug, Clone, Serialize)]
pub struct Shutdown {
    /// How long what is queued is still delivered.
    #[serde(serialize_with = "as_duration")]
    pub grace: Duration,
}

/// Datadog's side.
#[derive(Debug, Clone, Serialize)]
pub struct Datadog {
    /// The site of tenants that name none.
    pub default_site: String,
    /// Whether plain `http://` is allowed beyond loopback.
    pub allow_plaintext: bool,
    /// PEM file with certificates to trust besides the system's.
    #[serde(serialize_with = "path_or_empty")]
    pub ca_file: Option<PathBuf>,
    /// The known sites. Those that are as Datadog has them are not printed.
    #[serde(skip_serializing_if = "super::Sites::is_standard")]
    pub sites: super::Sites,
}

impl Default for State {
    fn default() -> Self {
        Self { dir: "/var/lib/dogsled".into() }
    }
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8282".into(),
            socket: String::new(),
            max_body: 16 << 20,
            max_connections: 4096,
            require_token: false,
            allow_anonymous: false,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for Tenancy {
    fn default() -> Self {
        Self { header: "X-Tenant".into(), tag: "tenant".into(), from_tags: true, default: None, max_labels: 1_000 }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self { max_age: Duration::from_secs(2), compression: Compression::Auto, level: 0 }
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            concurrency_per_tenant: 4,
            concurrency: 64,
            timeout: Duration::from_secs(30),
            retry_initial: Duration::from_secs(1),
            retry_max: Duration::from_secs(300),
            drop_late: false,
            validate_interval: Duration::from_secs(3_600),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self { max_queue_bytes: 128 << 20 }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8283".into() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Auto }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace: Duration::from_secs(20) }
    }
}

impl Default for Datadog {
    fn default() -> Self {
        Self {
            default_site: "datadoghq.com".into(),
            allow_plaintext: false,
            ca_file: None,
            sites: super::Sites::default(),
        }
    }
}

fn or_empty<S: Serializer>(id: &Option<TenantId>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_ref().map_or("", TenantId::as_str))
}

pub(super) fn path_or_empty<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.as_deref().unwrap_or("".as_ref()).display())
}

fn by_name<S: Serializer>(tenants: &BTreeMap<TenantId, StaticTenant>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(tenants.iter().map(|(id, tenant)| (id.as_str(), tenant)))
}

fn flat<S: Serializer>(own: &Overrides, serializer: S) -> Result<S::Ok, S::Error> {
    own.to_store(&serde_json::Map::new()).serialize(serializer)
}
