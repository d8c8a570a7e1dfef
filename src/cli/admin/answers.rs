//! What the commands read of the admin API's answers. What they do not know they leave alone, so that they get along with
//! a daemon that is somewhat newer; `--json` prints the answers themselves.

use crate::settings::{Overrides, OwnLimits, OwnQuota};
use serde::Deserialize;

/// A tenant.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Tenant {
    pub(in crate::cli) id: String,
    pub(in crate::cli) display_name: String,
    pub(in crate::cli) site: String,
    pub(in crate::cli) source: String,
    pub(in crate::cli) state: String,
    pub(in crate::cli) status: String,
    pub(in crate::cli) to_do: Option<String>,
    pub(in crate::cli) organisation: Option<Organisation>,
    pub(in crate::cli) held_for: Option<Organisation>,
    pub(in crate::cli) key: Option<Key>,
    pub(in crate::cli) tokens: Option<Tokens>,
    #[serde(default)]
    pub(in crate::cli) limits: OwnLimits,
    #[serde(default)]
    pub(in crate::cli) journal: OwnQuota,
    #[serde(default)]
    pub(in crate::cli) in_effect: Overrides,
    pub(in crate::cli) queue: Queue,
    pub(in crate::cli) rate_limits: Vec<RateLimit>,
    pub(in crate::cli) last_error: Option<LastError>,
    pub(in crate::cli) created_at: Option<String>,
    pub(in crate::cli) updated_at: Option<String>,
}

/// A Datadog organisation.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Organisation {
    pub(in crate::cli) id: String,
    pub(in crate::cli) name: Option<String>,
}

/// An API key, without the key.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Key {
    pub(in crate::cli) origin: String,
    pub(in crate::cli) datadog_id: Option<String>,
    pub(in crate::cli) age_seconds: Option<u64>,
}

/// OAuth tokens, without the tokens.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Tokens {
    pub(in crate::cli) expires_at: String,
    pub(in crate::cli) age_seconds: u64,
    pub(in crate::cli) scopes: String,
}

/// What waits.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Queue {
    pub(in crate::cli) items: u64,
    pub(in crate::cli) bytes: u64,
    pub(in crate::cli) oldest_seconds: Option<f64>,
}

/// What is left of a rate limit.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct RateLimit {
    pub(in crate::cli) endpoint: String,
    pub(in crate::cli) remaining: u64,
}

/// What went wrong last.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct LastError {
    pub(in crate::cli) at: String,
    pub(in crate::cli) endpoint: String,
    pub(in crate::cli) message: String,
}

/// All tenants.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct TenantList {
    pub(in crate::cli) tenants: Vec<Tenant>,
    pub(in crate::cli) incomplete: Option<String>,
}

/// An authorisation that has begun.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Begun {
    pub(in crate::cli) authorize_url: String,
    pub(in crate::cli) expires_at: String,
}

/// A tenant that was disconnected.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Disconnected {
    pub(in crate::cli) not_revoked: Option<String>,
    pub(in crate::cli) instructions: String,
}

/// A tenant that was removed.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Removed {
    pub(in crate::cli) removed: bool,
    pub(in crate::cli) dropped_items: u64,
    pub(in crate::cli) kept_items: u64,
    pub(in crate::cli) not_revoked: Option<String>,
}

/// What was decided about held telemetry.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Held {
    pub(in crate::cli) tenant: Tenant,
    pub(in crate::cli) dropped_items: u64,
}

/// An ingest token, with the token only where it was made just now.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Token {
    pub(in crate::cli) id: String,
    pub(in crate::cli) label: String,
    pub(in crate::cli) last4: String,
    pub(in crate::cli) created_at: String,
    pub(in crate::cli) token: Option<crate::types::Secret>,
}

/// Ingest tokens.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct TokenList {
    pub(in crate::cli) tokens: Vec<Token>,
}

/// The daemon and all tenants.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Status {
    pub(in crate::cli) version: String,
    pub(in crate::cli) not_ready: Option<String>,
    pub(in crate::cli) store: Store,
    pub(in crate::cli) oauth: Oauth,
    pub(in crate::cli) queue: Queue,
    pub(in crate::cli) tenants: Vec<Tenant>,
}

/// The store of tenants.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Store {
    pub(in crate::cli) place: String,
    pub(in crate::cli) error: Option<String>,
}

/// The OAuth client.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Oauth {
    pub(in crate::cli) refused: Option<String>,
}
