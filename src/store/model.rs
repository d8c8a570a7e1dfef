//! The records of the store.

use super::Generations;
use crate::settings::Overrides;
use crate::types::{Secret, TenantId, UnixMillis};
use crate::vault::{KeyId, VaultError};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::time::Duration;
use tracing::error;

/// The counter that every change of the store increases: it orders all changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub i64);

/// A Datadog organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organisation {
    /// Its id, a UUID.
    pub id: String,
    /// Its name, if Datadog gave it.
    pub name: Option<String>,
}

/// The state of a tenant's connection to Datadog.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Connection {
    /// Never connected, or disconnected.
    #[default]
    Pending,
    /// Connected to an organisation.
    Connected,
    /// The key is refused or the authorisation revoked.
    Unauthorized {
        /// Datadog's reason.
        reason: String,
        /// What the customer or the operator must do.
        instructions: String,
    },
}

/// Where a key came from.
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

/// An API key's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Datadog's id of it, if known.
    pub datadog_id: Option<String>,
    /// Where it came from.
    pub origin: Origin,
    /// When it was stored.
    pub created: UnixMillis,
}

/// An API key with its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The secret itself.
    pub key: Secret,
    /// The metadata.
    pub info: KeyInfo,
}

/// The metadata of a tenant's OAuth tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokensInfo {
    /// When the access token expires.
    pub expires: UnixMillis,
    /// The scopes, as Datadog wrote them.
    pub scopes: String,
    /// When they were granted.
    pub granted: UnixMillis,
    /// Identifies this pair of tokens; no later one has the same, even of another tenant.
    pub generation: Revision,
}

/// A tenant's OAuth tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The access token.
    pub access: Secret,
    /// The refresh token.
    pub refresh: Secret,
    /// Their metadata.
    pub info: TokensInfo,
}

/// A tenant, without its secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantRecord {
    /// The id that requests name.
    pub id: TenantId,
    /// The name shown to people; may be empty.
    pub display_name: String,
    /// Its Datadog site.
    pub site: String,
    /// Whether the operator has paused its delivery.
    pub paused: bool,
    /// The state of its connection to Datadog.
    pub connection: Connection,
    /// The organisation that it is connected to. No two tenants have the same.
    pub organisation: Option<Organisation>,
    /// The organisation that held telemetry was meant for, where that is not the present one.
    pub held_for: Option<Organisation>,
    /// Telemetry accepted before this time is to be dropped by every host that has any: the operator's decision on held
    /// telemetry.
    pub dropped_before: Option<UnixMillis>,
    /// For whom its telemetry was accepted since it was created.
    pub generations: Generations,
    /// Settings of its own.
    pub overrides: Map<String, Value>,
    /// When the creation of a key began that has not ended. If nobody is working on it any more, the answer was lost,
    /// and the key may exist unseen.
    pub key_creation_begun: Option<UnixMillis>,
    /// The metadata of its key, if it has one.
    pub key: Option<KeyInfo>,
    /// The metadata of its tokens, if it has any.
    pub tokens: Option<TokensInfo>,
    /// When it was added.
    pub created: UnixMillis,
    /// When it last changed.
    pub updated: UnixMillis,
    /// The revision of its last change.
    pub revision: Revision,
}

impl TenantRecord {
    /// What of [`overrides`](Self::overrides) this version knows: what the tenant may do otherwise than all. Keys that
    /// another version has written are kept in the store, and have no effect here.
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

/// A change to a tenant. Changes given together are applied together or not at all.
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
    /// Telemetry accepted before this time is to be dropped.
    DroppedBefore(UnixMillis),
    /// Telemetry accepted before this time goes to the present organisation, whoever it was accepted for.
    ReleasedBefore(UnixMillis),
    /// The organisation of the tenant's key, by its id; none where Datadog has not said it yet. Telemetry that was accepted for
    /// another one is held.
    KeyOf(Option<String>),
    /// Settings of its own, all of them.
    Overrides(Map<String, Value>),
    /// Its key; none forgets it.
    Key(Option<NewKey>),
    /// Its tokens; none forgets them.
    Tokens(Option<NewTokens>),
    /// Whether a key is being created. Stored before the request is sent, and cleared in the same step that stores the key.
    KeyCreation(bool),
}

/// A key to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// The secret itself.
    pub key: Secret,
    /// Datadog's id of it, if known.
    pub datadog_id: Option<String>,
    /// How it was come by.
    pub origin: Origin,
}

/// Tokens to be stored.
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
    /// Which tokens they may replace.
    pub replaces: Replaces,
}

/// Which tokens new ones may replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaces {
    /// Any or none: the customer has just granted the new ones.
    Any,
    /// Only those of this generation, which were refreshed. Any others are newer, and stay.
    Generation(Revision),
}

/// An ingest token; only its digest is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestToken {
    /// Identifies it in listings; of no use as a token.
    pub id: String,
    /// The tenant that it stands for.
    pub tenant: TenantId,
    /// The operator's note of its purpose.
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
    /// The tenant to be connected.
    pub tenant: TenantId,
    /// The PKCE verifier.
    pub verifier: Secret,
    /// The Datadog site that answers the API.
    pub domain: String,
    /// The web host that the customer is signed in at.
    pub site: String,
    /// The digest of the application's session that it was begun in; none for an unbound one.
    pub session: Option<SessionDigest>,
    /// Datadog's answer, of one that is redeemed by a ticket.
    pub answer: Option<Secret>,
}

/// SHA-256 of a tenant and an application's session of it.
pub type SessionDigest = [u8; 32];

/// The outcome of redeeming a state or a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The authorisation; nobody gets it again.
    Fresh(Pending),
    /// The authorisation waits for the application to confirm it with the ticket.
    Unconfirmed(TenantId),
    /// It was redeemed before.
    Used(TenantId),
    /// It came back too late.
    Expired(TenantId),
    /// It was never issued, or expired long ago.
    Unknown,
}

/// The changes since a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The store's revision now, from which to continue.
    pub revision: Revision,
    /// The tenants that changed, were added or removed.
    pub tenants: Vec<TenantId>,
}

/// The outcome of a rotation of the master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rekeyed {
    /// The key that secrets were sealed with.
    pub from: KeyId,
    /// The key that they are sealed with now.
    pub to: KeyId,
    /// The number of secrets.
    pub secrets: usize,
    /// Where the old key is kept, if it was in a file; or why the files could not be swapped.
    pub kept: Result<Option<PathBuf>, VaultError>,
    /// What is left to do where the key is provided from outside.
    pub advice: Option<String>,
}

/// The longest time that an authorisation may take, after which its state is deleted: longer than any `expires`, so
/// that a late callback gets a precise refusal.
pub(super) const PENDING_KEPT: Duration = Duration::from_secs(24 * 3_600);
