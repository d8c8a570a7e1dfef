//! What the operator is shown. These types are the schema of the admin API.

use crate::deliver::LastError;
use crate::oauth::{self, Begun, Connected, Disconnected, KeyUse};
use crate::settings::{Overrides, OwnLimits, OwnQuota};
use crate::store::{IngestToken, KeyInfo, Organisation, Origin, TenantRecord, TokensInfo};
use crate::types::{Endpoint, UnixMillis};
use serde::Serialize;
use utoipa::ToSchema;

/// A tenant, how it stands with Datadog, and what it has waiting here.
#[derive(Debug, Clone, Serialize, ToSchema)]
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
    pub state: State,
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
    /// What waits on this host.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// In the configuration file: it is changed there.
    Static,
    /// In the store.
    Store,
}

/// Whether and how a tenant's telemetry flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not connected: telemetry is held.
    Pending,
    /// Delivered as it comes.
    Active,
    /// Waiting for a rate limit to reset.
    Throttled,
    /// Waiting to try again after a failure.
    Retrying,
    /// Datadog refuses the key or the authorisation: telemetry is held.
    Unauthorized,
    /// Held by the operator, or until the operator has decided about telemetry of another organisation.
    Paused,
}

/// A Datadog organisation.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OrganisationView {
    /// Its id.
    pub id: String,
    /// Its name, if Datadog told it.
    pub name: Option<String>,
}

/// An API key, without the key.
#[derive(Debug, Clone, Serialize, ToSchema)]
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
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyOrigin {
    /// Created through OAuth.
    Oauth,
    /// Given by the operator.
    Static,
}

/// OAuth tokens, without the tokens.
#[derive(Debug, Clone, Serialize, ToSchema)]
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

/// What a tenant has waiting on this host.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub struct QueueView {
    /// Items.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The age of the oldest, in seconds.
    pub oldest_seconds: Option<f64>,
}

/// What is left of the rate limit of an endpoint.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RateLimitView {
    /// The path of the endpoint.
    pub endpoint: String,
    /// Requests that may still be sent before the limit is reset.
    pub remaining: u64,
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ErrorView {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// The path of the endpoint that said so.
    pub endpoint: String,
    /// Its words with the status, or what the network said.
    pub message: String,
}

/// Tenants.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TenantList {
    /// By their ids.
    pub tenants: Vec<TenantView>,
    /// Why those of the store are missing, if they are.
    pub incomplete: Option<String>,
}

/// An authorisation that has begun.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BegunView {
    /// Where to send the customer's browser. Good for one answer: show it to nobody else.
    #[schema(format = "uri")]
    pub authorize_url: String,
    /// Until when Datadog's answer is taken.
    #[schema(format = DateTime)]
    pub expires_at: String,
}

/// A tenant that was connected.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ConnectedView {
    /// The tenant, as it is now.
    pub tenant: TenantView,
    /// Where its key came from.
    pub key: KeyCameFrom,
    /// Whether Datadog has said already that the key is good; if not, it is asked again in the background.
    pub verified: bool,
}

/// Where the key of a connected tenant came from.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyCameFrom {
    /// It was created just now.
    Created,
    /// It was here already, and is still good.
    Kept,
}

/// A tenant that was disconnected.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DisconnectedView {
    /// The tenant, as it is now.
    pub tenant: TenantView,
    /// Why the authorisation may still stand at Datadog, if it may.
    pub not_revoked: Option<String>,
    /// What the customer may do about what is left at Datadog.
    pub instructions: String,
}

/// What became of a tenant that was removed.
#[derive(Debug, Clone, Serialize, ToSchema)]
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

/// What was decided about held telemetry.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HeldView {
    /// The tenant, as it is now.
    pub tenant: TenantView,
    /// Items that were dropped on this host; others that share the store drop and count their own.
    pub dropped_items: u64,
}

/// An ingest token, without the token.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TokenView {
    /// Names it.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// Its last four digits.
    pub last4: String,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// An ingest token that was made just now.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct NewTokenView {
    /// The token. It is shown this once.
    pub token: String,
    /// What else is known of it.
    #[serde(flatten)]
    pub info: TokenView,
}

/// Ingest tokens.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TokenList {
    /// The oldest first.
    pub tokens: Vec<TokenView>,
}

/// How the daemon is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StatusView {
    /// Its version.
    pub version: String,
    /// Why it does not take telemetry, if it does not.
    pub not_ready: Option<String>,
    /// The store of tenants.
    pub store: StoreView,
    /// The OAuth client.
    pub oauth: OauthView,
    /// All that waits on this host.
    pub queue: QueueView,
    /// Every tenant.
    pub tenants: Vec<TenantView>,
}

/// The store of tenants.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StoreView {
    /// Where it is, without passwords.
    pub place: String,
    /// Whether it is open.
    pub open: bool,
    /// Why it cannot be used at present, if it cannot.
    pub error: Option<String>,
}

/// The OAuth client.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OauthView {
    /// Whether customers can connect.
    pub configured: bool,
    /// Why Datadog refuses this service's client, if it does: no tenant can connect or refresh then.
    pub refused: Option<String>,
}

/// A time as RFC 3339 writes it.
pub(super) fn time(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

fn age(since: UnixMillis, now: UnixMillis) -> u64 {
    u64::try_from((now.0 - since.0) / 1000).unwrap_or_default()
}

impl OrganisationView {
    pub(super) fn new(organisation: &Organisation) -> Self {
        Self { id: organisation.id.clone(), name: organisation.name.clone() }
    }
}

impl KeyView {
    pub(super) fn new(key: &KeyInfo, now: UnixMillis) -> Self {
        let origin = match key.origin {
            Origin::OAuth => KeyOrigin::Oauth,
            Origin::Static => KeyOrigin::Static,
        };
        let (datadog_id, age_seconds) = (key.datadog_id.clone(), Some(age(key.created, now)));
        Self { origin, datadog_id, created_at: Some(time(key.created)), age_seconds }
    }

    /// That of a tenant of the configuration file.
    pub(super) fn of_file() -> Self {
        Self { origin: KeyOrigin::Static, datadog_id: None, created_at: None, age_seconds: None }
    }
}

impl TokensView {
    pub(super) fn new(tokens: &TokensInfo, now: UnixMillis) -> Self {
        Self {
            expires_at: time(tokens.expires),
            granted_at: time(tokens.granted),
            age_seconds: age(tokens.granted, now),
            scopes: tokens.scopes.clone(),
        }
    }
}

impl RateLimitView {
    pub(super) fn new((endpoint, remaining): (Endpoint, u64)) -> Self {
        Self { endpoint: endpoint.path().to_owned(), remaining }
    }
}

impl ErrorView {
    pub(super) fn new(error: LastError) -> Self {
        Self { at: time(error.at), endpoint: error.endpoint.to_owned(), message: error.words }
    }
}

impl BegunView {
    pub(super) fn new(begun: &Begun) -> Self {
        Self { authorize_url: begun.authorize_url.expose().to_owned(), expires_at: time(begun.expires) }
    }
}

impl ConnectedView {
    pub(super) fn new(tenant: TenantView, connected: &Connected) -> Self {
        let key = match connected.key {
            KeyUse::Created => KeyCameFrom::Created,
            KeyUse::Kept => KeyCameFrom::Kept,
        };
        Self { tenant, key, verified: connected.verified }
    }
}

impl DisconnectedView {
    pub(super) fn new(tenant: TenantView, disconnected: Disconnected) -> Self {
        let Disconnected { not_revoked, instructions, .. } = disconnected;
        Self { tenant, not_revoked, instructions: instructions.to_string() }
    }
}

impl TokenView {
    pub(super) fn new(token: IngestToken) -> Self {
        let IngestToken { id, label, last4, created, .. } = token;
        Self { id, label, last4, created_at: time(created) }
    }
}

/// How a tenant of the store stands, in words.
pub(super) fn words(record: &TenantRecord, now: UnixMillis) -> (String, Option<String>) {
    let oauth::Status { text, to_do } = oauth::status(record, now);
    (text, to_do)
}
