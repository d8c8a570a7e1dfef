//! What the store, the deliveries and the OAuth client know, in the types of the admin API.

use crate::api::{
    BegunView, ConnectedView, DifferenceView, DisconnectedView, ErrorView, KeyCameFrom, KeyOrigin, KeyView,
    OrganisationView, QueueView, RateLimitView, TenantView, TokenView, TokensView,
};
use crate::deliver::LastError;
use crate::oauth::{Begun, Connected, Disconnected, KeyUse};
use crate::settings::Difference;
use crate::store::{IngestToken, KeyInfo, Organisation, Origin, TokensInfo};
use crate::types::{Endpoint, UnixMillis};

/// A time as RFC 3339 writes it.
pub(super) fn time(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

fn age(since: UnixMillis, now: UnixMillis) -> u64 {
    u64::try_from((now.0 - since.0) / 1000).unwrap_or_default()
}

impl From<&Organisation> for OrganisationView {
    fn from(organisation: &Organisation) -> Self {
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

impl From<(Endpoint, u64)> for RateLimitView {
    fn from((endpoint, remaining): (Endpoint, u64)) -> Self {
        Self { endpoint: endpoint.path().to_owned(), remaining }
    }
}

impl From<LastError> for ErrorView {
    fn from(error: LastError) -> Self {
        Self { at: time(error.at), endpoint: error.endpoint.to_owned(), message: error.message }
    }
}

impl From<Begun> for BegunView {
    fn from(begun: Begun) -> Self {
        Self { authorize_url: begun.authorize_url, expires_at: time(begun.expires) }
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

impl From<IngestToken> for TokenView {
    fn from(token: IngestToken) -> Self {
        let IngestToken { id, label, last4, created, .. } = token;
        Self { id, label, last4, created_at: time(created) }
    }
}

impl From<Difference> for DifferenceView {
    fn from(difference: Difference) -> Self {
        let Difference { key, from, to } = difference;
        Self { key, from, to }
    }
}

impl QueueView {
    pub(super) fn add(&mut self, other: Self) {
        self.items += other.items;
        self.bytes += other.bytes;
        self.held_items += other.held_items;
        self.oldest_seconds = match (self.oldest_seconds, other.oldest_seconds) {
            (Some(mine), Some(theirs)) => Some(mine.max(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
    }
}
