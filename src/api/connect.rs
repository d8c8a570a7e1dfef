//! Connecting customers through OAuth, and telemetry of the organisation that was connected before.

use super::TenantView;
use crate::types::{Secret, TenantId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a customer comes from, as Datadog sent it to the application's onboarding URL.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectRequest {
    /// `domain`: the Datadog site. Without it and `site`, Datadog asks the customer for theirs.
    pub domain: Option<String>,
    /// `site`: the web address of the customer's organisation.
    pub site: Option<String>,
    /// An opaque value of the session that is signed in at the application, such as a digest of its cookie: only the same
    /// session can finish the authorisation. Required unless `oauth.allow_unbound` is set.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 4096)]
    #[serde(default, serialize_with = "super::exposed_if_any", skip_serializing_if = "Option::is_none")]
    pub session: Option<Secret>,
}

/// An authorisation that has begun.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BegunView {
    /// Where to send the customer's browser. Good for one answer: show it to nobody else.
    #[schema(value_type = String, format = "uri")]
    #[serde(serialize_with = "super::exposed")]
    pub authorize_url: Secret,
    /// Until when Datadog's answer is taken.
    #[schema(format = DateTime)]
    pub expires_at: String,
}

/// Datadog's answer to an authorisation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackRequest {
    /// The query of the redirect, as it came: what follows the `?`.
    #[schema(value_type = String)]
    pub query: Secret,
    /// The tenant that the application knows to be signed in; another one's answer is refused.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9._-]{1,100}$")]
    pub tenant: Option<TenantId>,
    /// The session that is signed in there, as it was passed to `connect`. Both are required unless `oauth.allow_unbound`
    /// is set.
    #[schema(value_type = Option<String>)]
    pub session: Option<Secret>,
}

/// The confirmation of an authorisation that came back to the connect listener.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmRequest {
    /// The `ticket` that the browser brought to `oauth.success_url`; valid once.
    #[schema(value_type = String)]
    #[serde(serialize_with = "super::exposed")]
    pub ticket: Secret,
    /// The session that is signed in at the application, as it was passed to `connect`.
    #[schema(value_type = String)]
    #[serde(serialize_with = "super::exposed")]
    pub session: Secret,
}

/// A tenant that was connected.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ConnectedView {
    /// The tenant, as it is now.
    pub tenant: TenantView,
    /// Where its key came from.
    pub key: KeyCameFrom,
    /// Whether Datadog has said already that the key is good; if not, it is asked again in the background.
    pub verified: bool,
}

/// Where the key of a connected tenant came from.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyCameFrom {
    /// It was created just now.
    Created,
    /// It was here already, and is still good.
    Kept,
}

/// A tenant that was disconnected.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DisconnectedView {
    /// The tenant, as it is now.
    pub tenant: TenantView,
    /// Why the authorisation may still stand at Datadog, if it may.
    pub not_revoked: Option<String>,
    /// What the customer may do about what is left at Datadog.
    pub instructions: String,
}

/// What is to become of telemetry that was meant for another organisation.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HeldRequest {
    /// Whether it is released or dropped.
    pub action: HeldAction,
}

/// What is to become of telemetry that was meant for another organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HeldAction {
    /// It is delivered to the organisation that is connected now.
    Release,
    /// It is dropped, and counted as `purged`.
    Drop,
}

/// What was decided about held telemetry.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HeldView {
    /// The tenant, as it is now.
    pub tenant: TenantView,
    /// Items that were dropped on this host; others that share the store drop and count their own.
    pub dropped_items: u64,
}
