//! Tenants, and how they stand.

use crate::settings::{Overrides, OwnLimits, OwnQuota, TablePatch};
use crate::tenancy::TenantState;
use crate::types::{Secret, TenantId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A tenant, how it stands with Datadog, and what is queued here.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TenantView {
    /// Its id.
    pub id: String,
    /// Its name for people; may be empty.
    pub display_name: String,
    /// Its Datadog site.
    pub site: String,
    /// Where it is kept.
    pub source: Source,
    /// Whether and how its telemetry flows.
    pub state: TenantState,
    /// Whether the operator holds its telemetry.
    pub paused: bool,
    /// How it stands, in a sentence.
    pub status: String,
    /// What somebody must do, if anything.
    pub to_do: Option<String>,
    /// The Datadog organisation that it is connected to.
    pub organisation: Option<OrganisationView>,
    /// The organisation that held telemetry was meant for, where that is not the present one: release it or drop it.
    pub held_for: Option<OrganisationView>,
    /// Its API key, without the key.
    pub key: Option<KeyView>,
    /// Its OAuth tokens, without the tokens.
    pub tokens: Option<TokensView>,
    /// Limits of its own; null where those of all hold.
    pub limits: OwnLimits,
    /// A quota of its own; null where that of all holds.
    pub journal: OwnQuota,
    /// What it may do, its own or not.
    pub in_effect: Overrides,
    /// What is queued on this host.
    pub queue: QueueView,
    /// What is left of rate limits, where Datadog has told.
    pub rate_limits: Vec<RateLimitView>,
    /// What last went wrong since the daemon was started.
    pub last_error: Option<ErrorView>,
    /// When it was added.
    #[schema(format = DateTime)]
    pub created_at: Option<String>,
    /// When it last changed.
    #[schema(format = DateTime)]
    pub updated_at: Option<String>,
}

/// Where a tenant is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// In the configuration file: it is changed there.
    Static,
    /// In the store.
    Store,
}

/// A Datadog organisation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OrganisationView {
    /// Its id.
    pub id: String,
    /// Its name as the customer's browser gave it, if it did: Datadog verifies the id alone.
    pub name: Option<String>,
}

/// An API key, without the key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    /// How it was come by.
    pub origin: KeyOrigin,
    /// Datadog's id of it, if known.
    pub datadog_id: Option<String>,
    /// Since when it is here; none for one of the configuration file.
    #[schema(format = DateTime)]
    pub created_at: Option<String>,
    /// That long, in seconds.
    #[schema(minimum = 0)]
    pub age_seconds: Option<u64>,
}

/// How a key was come by.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyOrigin {
    /// Created through OAuth.
    Oauth,
    /// Given by the operator.
    Static,
}

/// OAuth tokens, without the tokens.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokensView {
    /// When the access token expires; it is refreshed before.
    #[schema(format = DateTime)]
    pub expires_at: String,
    /// When the present pair was granted.
    #[schema(format = DateTime)]
    pub granted_at: String,
    /// The age of the present pair, in seconds.
    #[schema(minimum = 0)]
    pub age_seconds: u64,
    /// The scopes, as Datadog wrote them.
    pub scopes: String,
}

/// What is queued on this host.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
pub struct QueueView {
    /// Items.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The age of the oldest, in seconds.
    pub oldest_seconds: Option<f64>,
    /// Items among them that were accepted for another organisation, or for an earlier tenant of that id. They are not sent
    /// before the operator has decided.
    #[serde(default)]
    pub held_items: u64,
}

/// What is left of the rate limit of an endpoint.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RateLimitView {
    /// The path of the endpoint.
    pub endpoint: String,
    /// Requests that may still be sent before the limit is reset.
    pub remaining: u64,
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ErrorView {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// The path of the endpoint that said so.
    pub endpoint: String,
    /// Its message with the status, or the network's.
    pub message: String,
}

/// Tenants.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TenantList {
    /// By their ids.
    pub tenants: Vec<TenantView>,
    /// Why those of the store are missing, if they are.
    pub incomplete: Option<String>,
}

/// What became of a tenant that was removed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RemovedView {
    /// Its id.
    pub id: String,
    /// Whether it was there; not when only its telemetry was.
    pub removed: bool,
    /// Items of it that were dropped on this host.
    pub dropped_items: u64,
    /// Items of it that are kept on this host, until they are too old (`journal.max_age`) or it is added again.
    pub kept_items: u64,
    /// Why its authorisation may still stand at Datadog, if it may.
    pub not_revoked: Option<String>,
}

/// Names a tenant.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct TenantPath {
    /// The tenant's id
    #[param(value_type = String, min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._-]+$")]
    pub id: TenantId,
}

/// A tenant to be added.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// Its id: what the application calls it.
    #[schema(value_type = String, pattern = "^[A-Za-z0-9._-]{1,100}$", min_length = 1, max_length = 100)]
    pub id: TenantId,
    /// Its name for people.
    #[schema(max_length = 200)]
    pub display_name: Option<String>,
    /// Its Datadog site, such as `datadoghq.eu`; `datadog.default_site` if none is given.
    pub site: Option<String>,
    /// An API key of its organisation, for those that are not to be connected through OAuth.
    #[schema(value_type = Option<String>, format = Password, min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
    pub api_key: Option<Secret>,
    /// Limits of its own; null: none.
    #[schema(value_type = Option<OwnLimits>)]
    #[serde(default)]
    pub limits: TablePatch<OwnLimits>,
    /// A quota of its own; null: none.
    #[schema(value_type = Option<OwnQuota>)]
    #[serde(default)]
    pub journal: TablePatch<OwnQuota>,
}

/// What is to be changed of a tenant; what is not given stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantPatch {
    /// Its name for people.
    #[schema(max_length = 200)]
    pub display_name: Option<String>,
    /// Its Datadog site. Not of a tenant that is connected through OAuth.
    pub site: Option<String>,
    /// An API key of its organisation. Not of a tenant that is connected through OAuth.
    #[schema(value_type = Option<String>, format = Password, min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
    pub api_key: Option<Secret>,
    /// Limits of its own; null: none.
    #[schema(value_type = Option<OwnLimits>)]
    #[serde(default)]
    pub limits: TablePatch<OwnLimits>,
    /// A quota of its own; null: none.
    #[schema(value_type = Option<OwnQuota>)]
    #[serde(default)]
    pub journal: TablePatch<OwnQuota>,
}

/// How a tenant is removed.
#[derive(Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RemoveQuery {
    /// What happens to telemetry that is queued on this host: it is kept (until `journal.max_age`, or until the tenant is added
    /// again), or it is dropped and counted as `purged`.
    #[serde(default)]
    #[param(inline)]
    pub telemetry: Telemetry,
}

/// What happens to queued telemetry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Telemetry {
    /// It is kept.
    #[default]
    Keep,
    /// It is dropped.
    Purge,
}
