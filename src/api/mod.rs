//! Requests and answers of the admin API, in both directions: the daemon reads the one and writes the other, the commands
//! do it the other way round with the same types, and the OpenAPI document describes them.
//!
//! Requests refuse fields that they do not have. Answers are read whatever else is in them, so that commands get along
//! with a daemon that says more than they know.

mod connect;
mod daemon;
mod dogstatsd;
mod problem;
mod tenant;
mod token;

pub use connect::{
    BegunView, CallbackRequest, ConfirmRequest, ConnectRequest, ConnectedView, DisconnectedView, HeldAction,
    HeldRequest, HeldView, KeyCameFrom,
};
pub use daemon::{DifferenceView, OauthView, ReloadedView, StatusView, StoreView};
pub use dogstatsd::{DogstatsdErrorView, DogstatsdListenerView, DogstatsdNameView, DogstatsdTenantView, DogstatsdView};
pub use problem::Problem;
pub use tenant::{
    ErrorView, KeyOrigin, KeyView, NewTenant, OrganisationView, QueueView, RateLimitView, RemoveQuery, RemovedView,
    Source, Telemetry, TenantList, TenantPatch, TenantPath, TenantView, TokensView,
};
pub use token::{NewToken, NewTokenView, TokenList, TokenPath, TokenView};

use crate::types::Secret;
use serde::{Serialize, Serializer};

/// Where the API begins.
pub const PREFIX: &str = "/admin/v1";

/// Writes a secret that the other side is to have.
fn exposed<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// The same, where there may be none.
fn exposed_if_any<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(Secret::expose).serialize(serializer)
}
