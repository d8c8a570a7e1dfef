//! The daemon itself: its status, and reading its configuration again.

use super::{QueueView, TenantView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the daemon is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StatusView {
    /// Its version.
    pub version: String,
    /// Why it does not take telemetry, if it does not.
    pub not_ready: Option<String>,
    /// The store of tenants.
    pub store: StoreView,
    /// The OAuth client.
    pub oauth: OauthView,
    /// All that is queued on this host.
    pub queue: QueueView,
    /// Every tenant.
    pub tenants: Vec<TenantView>,
}

/// The store of tenants.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StoreView {
    /// Where it is, without passwords.
    pub place: String,
    /// Whether it is open.
    pub open: bool,
    /// Why it cannot be used at present, if it cannot.
    pub error: Option<String>,
}

/// The OAuth client.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OauthView {
    /// Whether customers can connect.
    pub configured: bool,
    /// Why Datadog refuses this service's client, if it does: no tenant can connect or refresh then.
    pub refused: Option<String>,
}

/// What reading the configuration again has changed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReloadedView {
    /// What is in force now.
    pub changed: Vec<DifferenceView>,
    /// What else is new in the configuration, and comes into force with the next restart.
    pub needs_restart: Vec<DifferenceView>,
    /// What is allowed in it, but probably not meant.
    pub warnings: Vec<String>,
    /// What follows for tenants.
    pub notes: Vec<String>,
}

/// A key of the configuration that has another value, or a table that came or went. Secrets are `[redacted]`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DifferenceView {
    /// The key.
    pub key: String,
    /// Its value before, if there was one.
    pub from: Option<String>,
    /// Its value in the configuration as it is now, if there is one.
    pub to: Option<String>,
}
