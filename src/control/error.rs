//! Why an operation failed, with a name for programs and the status of an HTTP answer.

use crate::oauth::{BeginError, FinishError};
use crate::store::StoreError;
use crate::types::{InvalidTenantId, TenantId};

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The request is invalid by itself.
    #[error("{0}")]
    Invalid(String),
    /// No tenant can be called so.
    #[error(transparent)]
    Name(#[from] InvalidTenantId),
    /// A tenant of the configuration file.
    #[error("tenant {0} is in the configuration file ([tenants.{0}]): change it there, and reload the configuration")]
    Static(TenantId),
    /// A tenant of the configuration file cannot be added.
    #[error("tenant {0} is in the configuration file ([tenants.{0}]) already: choose another id, or remove it there")]
    StaticExists(TenantId),
    /// The tenant's key came by OAuth.
    #[error("tenant {tenant} is connected through OAuth: disconnect it before its {what} is changed")]
    Connected {
        /// The tenant.
        tenant: TenantId,
        /// What was to be changed.
        what: &'static str,
    },
    /// No OAuth client is configured.
    #[error("no OAuth client is configured: set oauth.client_id, client_secret_file and redirect_uri")]
    NoClient,
    /// Nothing of another organisation is held.
    #[error("tenant {0} holds nothing that was meant for another organisation")]
    NothingHeld(TenantId),
    /// No such ingest token.
    #[error("tenant {tenant} has no ingest token with the id {token:?}")]
    UnknownToken {
        /// The tenant.
        tenant: TenantId,
        /// The id of the token.
        token: String,
    },
    /// The store is not open.
    #[error(
        "the store of tenants is not open yet, and is tried again by itself; tenants of the configuration file are served: {0}"
    )]
    NotOpen(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An authorisation could not begin.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// An authorisation, or its end, did not succeed.
    #[error(transparent)]
    Finish(#[from] FinishError),
    /// The journal could not be read.
    #[error("the journal cannot be read: {0}")]
    Journal(#[from] std::io::Error),
}

impl ControlError {
    /// A name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) | Self::Name(_) => "bad_request",
            Self::Static(_) | Self::StaticExists(_) => "static_tenant",
            Self::Connected { .. } => "connected",
            Self::NoClient => "oauth_not_configured",
            Self::NothingHeld(_) => "nothing_held",
            Self::UnknownToken { .. } => "unknown_token",
            Self::NotOpen(_) => "store",
            Self::Store(error) => match error {
                StoreError::UnknownTenant(_) => "unknown_tenant",
                StoreError::TenantExists(_) => "tenant_exists",
                StoreError::Stale { .. } | StoreError::LeaseLost { .. } => "changed_meanwhile",
                _ => "store",
            },
            Self::Begin(error) => error.code(),
            Self::Finish(error) => error.code(),
            Self::Journal(_) => "journal",
        }
    }

    /// The status of an HTTP answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::Invalid(_) | Self::Name(_) => 400,
            Self::Static(_)
            | Self::StaticExists(_)
            | Self::Connected { .. }
            | Self::NoClient
            | Self::NothingHeld(_) => 409,
            Self::UnknownToken { .. } => 404,
            Self::Store(error) => match error {
                StoreError::UnknownTenant(_) => 404,
                StoreError::TenantExists(_)
                | StoreError::TokenTaken(_)
                | StoreError::OrganisationHeld { .. }
                | StoreError::Stale { .. }
                | StoreError::LeaseLost { .. } => 409,
                _ => 503,
            },
            Self::Begin(error) => error.status(),
            Self::Finish(error) => error.status(),
            Self::NotOpen(_) | Self::Journal(_) => 503,
        }
    }
}
