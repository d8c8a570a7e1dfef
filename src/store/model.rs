//! What the store keeps.

use crate::settings::Overrides;
use crate::types::{Secret, TenantId, UnixMillis};
use crate::vault::{KeyId, VaultError};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::time::Duration;
use tracing::error;

/// A number that every change of the store makes larger; it tells newer from older, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub i64);

/// A Datadog organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organisation {
    /// Its id, a UUID.
    pub id: String,
    /// Its name, if Datadog told it.
    pub name: Option<String>,
}

/// How a tenant stands with Datadog.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Connection {
    /// Never connected, or disconnected.
    #[default]
    Pending,
    /// Connected.
    Connected,
    /// The key is refused or the authorisation revoked.
    Unauthorized {
        /// What happened.
        reason: String,
        /// What the customer or the operator must do.
        instructions: String,
    },
}

/// How a key was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Created through OAuth.
    OAuth,
    /// Given by the operator.
    Static,
}

impl Origin {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OAuth => "oauth",
            Self::Static => "static",
        }
    }
}

/// What is known of an API key apart from the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Datadog's id of it, if known.
    pub datadog_id: Option<String>,
    /// How it was come by.
    pub origin: Origin,
    /// Since when it is here.
    pub created: UnixMillis,
}

/// An API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The key.
    pub key: Secret,
    /// What else is known of it.
    pub info: KeyInfo,
}

/// What is known of a tenant's OAuth tokens apart from the tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokensInfo {
    /// When the access token expires.
    pub expires: UnixMillis,
    /// The scopes, as Datadog wrote them.
    pub scopes: String,
    /// When they were granted.
    pub granted: UnixMillis,
    /// Names this very pair; no later one has the same, even of another tenant.
    pub generation: Revision,
}

/// A tenant's OAuth tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The access token.
    pub access: Secret,
    /// The refresh token.
    pub refresh: Secret,
    /// What else is known of them.
    pub info: TokensInfo,
}

/// A tenant, without its secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantRecord {
    /// Its id.
    pub id: TenantId,
    /// Its name for people; may be empty.
    pub display_name: String,
    /// Its Datadog site.
    pub site: String,
    /// Whether the operator holds its telemetry, however it stands with Datadog.
    pub paused: bool,
    /// How it stands with Datadog.
    pub connection: Connection,
    /// The organisation that it is connected to. No two tenants have the same.
    pub organisation: Option<Organisation>,
    /// The organisation that telemetry which is held was meant for, where that is not the present one.
    pub held_for: Option<Organisation>,
    /// What was accepted before this time is to be dropped by every host that has some of it: the operator's word on what was
    /// held.
    pub dropped_before: Option<UnixMillis>,
    /// Settings of its own.
    pub overrides: Map<String, Value>,
    /// Since when the creation of a key has been under way. When nobody is at it any more, the answer was lost, and the
    /// key may exist without anyone knowing it.
    pub key_creation_begun: Option<UnixMillis>,
    /// Its key, if there is one.
    pub key: Option<KeyInfo>,
    /// Its tokens, if there are any.
    pub tokens: Option<TokensInfo>,
    /// When it was added.
    pub created: UnixMillis,
    /// When it last changed.
    pub updated: UnixMillis,
    /// Its last change.
    pub revision: Revision,
}

impl TenantRecord {
    /// What of [`overrides`](Self::overrides) this version knows: what the tenant may do otherwise than all. Keys that another
    /// version has written are kept in the store, and have no effect here.
    pub fn own(&self) -> Overrides {
        Overrides::from_store(&self.overrides).unwrap_or_else(|error| {
            error!(tenant = %self.id, "its own limits and quotas in the store are not understood, and those of all hold: {error}");
            Overrides::default()
        })
    }
}

/// A tenant to add.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTenant {
    /// Its id.
    pub id: TenantId,
    /// Its Datadog site.
    pub site: String,
}

/// One thing to change of a tenant. Those that are given together are made together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Its name for people.
    DisplayName(String),
    /// Its Datadog site.
    Site(String),
    /// Whether the operator holds its telemetry.
    Paused(bool),
    /// How it stands with Datadog.
    Connection(Connection),
    /// The organisation that it is connected to; none frees it for another tenant.
    Organisation(Option<Organisation>),
    /// The organisation that held telemetry was meant for.
    HeldFor(Option<Organisation>),
    /// What was accepted before this time is to be dropped.
    DroppedBefore(UnixMillis),
    /// Settings of its own, all of them.
    Overrides(Map<String, Value>),
    /// Its key; none forgets it.
    Key(Option<NewKey>),
    /// Its tokens; none forgets them.
    Tokens(Option<NewTokens>),
    /// Whether the creation of a key is under way. Kept before the request is sent, and ended together with keeping the
    /// key.
    KeyCreation(bool),
}

/// A key to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// The key.
    pub key: Secret,
    /// Datadog's id of it, if known.
    pub datadog_id: Option<String>,
    /// How it was come by.
    pub origin: Origin,
}

/// Tokens to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTokens {
    /// The access token.
    pub access: Secret,
    /// The refresh token.
    pub refresh: Secret,
    /// When the access token expires.
    pub expires: UnixMillis,
    /// The scopes, as Datadog wrote them.
    pub scopes: String,
    /// What they may take the place of.
    pub replaces: Replaces,
}

/// Which tokens new ones may take the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaces {
    /// Any, or none: the customer has just granted these.
    Any,
    /// Those of this generation: the ones that were refreshed. Others are newer, and stay.
    Generation(Revision),
}

/// An ingest token, of which only a digest is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestToken {
    /// Names it in listings; of no use as a token.
    pub id: String,
    /// The tenant that it stands for.
    pub tenant: TenantId,
    /// What it is for.
    pub label: String,
    /// Its last four digits.
    pub last4: String,
    /// SHA-256 of the token in lower case.
    pub digest: [u8; 32],
    /// When it was added.
    pub created: UnixMillis,
}

/// An authorisation that a customer has been sent off to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The tenant.
    pub tenant: TenantId,
    /// The PKCE verifier.
    pub verifier: Secret,
    /// The Datadog site that answers the API.
    pub domain: String,
    /// The web host that the customer is signed in at.
    pub site: String,
}

/// What a state stood for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// This authorisation, and nobody gets it again.
    Fresh(Pending),
    /// One that was taken before.
    Used(TenantId),
    /// One that came back too late.
    Expired(TenantId),
    /// Nothing: it was made up, or is long past.
    Unknown,
}

/// What changed since some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The revision that the store has now: where to go on from.
    pub revision: Revision,
    /// The tenants that changed, were added or removed.
    pub tenants: Vec<TenantId>,
}

/// What a change of the master key did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rekeyed {
    /// The key that secrets were sealed with.
    pub from: KeyId,
    /// The key that they are sealed with now.
    pub to: KeyId,
    /// How many there are.
    pub secrets: usize,
    /// Where the old key is kept, if it was in a file; or why the files could not be exchanged.
    pub kept: Result<Option<PathBuf>, VaultError>,
    /// What is left to do where the key is handed in from outside.
    pub advice: Option<String>,
}

/// The longest time that an authorisation may take, after which its state is forgotten: longer than any `expires`, so
/// that a late callback is told what happened.
pub(super) const PENDING_KEPT: Duration = Duration::from_secs(24 * 3_600);
