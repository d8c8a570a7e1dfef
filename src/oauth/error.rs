//! Why a customer is not connected: each error has a code for programs, an HTTP status, and a message for people.

use super::callback::CallbackError;
use super::site::SiteError;
use super::status::Trouble;
use crate::store::StoreError;
use crate::types::TenantId;

/// Why an authorisation cannot begin. No request was made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BeginError {
    /// No OAuth client is configured.
    #[error("no OAuth client is configured: set oauth.client_id, client_secret_file and redirect_uri")]
    NotConfigured,
    /// A tenant of the configuration file.
    #[error(
        "tenant {0} has its API key in the configuration file: remove [tenants.{0}] there and add the tenant again to let it connect"
    )]
    Configured(TenantId),
    /// There is no session to bind it to.
    #[error(
        "session is missing: pass an opaque value of the session that is signed in at your application, which has to finish \
         the authorisation; oauth.allow_unbound = true does without, and docs/oauth.md says what that means"
    )]
    NoSession,
    /// The session is empty or too long.
    #[error("session must have 1 to 4096 bytes: pass a digest of yours if it is longer")]
    BadSession,
    /// `domain` or `site`.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// No such tenant, or the store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a callback did not connect its tenant.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FinishError {
    /// The callback itself is invalid.
    #[error(transparent)]
    Callback(#[from] CallbackError),
    /// The state is unknown.
    #[error("this authorisation is unknown: it was not begun here, or too long ago; begin again")]
    UnknownState,
    /// The state was used before.
    #[error(
        "this authorisation of tenant {0} was used before, and each is valid for one answer; begin again if it did not succeed"
    )]
    UsedState(TenantId),
    /// The state has expired.
    #[error("this authorisation of tenant {0} took longer than ten minutes; begin again")]
    ExpiredState(TenantId),
    /// The state belongs to another tenant than the application says.
    #[error("this authorisation was begun for another tenant than {0}; begin again for this one")]
    OtherTenant(TenantId),
    /// The session is not the one in which the authorisation was begun.
    #[error(
        "this authorisation was begun in another session: either the customer signed in anew in between, or somebody else began \
         it; begin again in this session"
    )]
    OtherSession,
    /// Nothing says in which session it ends, or it was begun in none.
    #[error(
        "tenant and session are missing: pass those that are signed in at your application, with which the authorisation was \
         begun; one that was begun without a session must begin again"
    )]
    Unbound,
    /// The ticket is unknown.
    #[error("this ticket is unknown: it is not from the connect listener, or too old; begin again")]
    UnknownTicket,
    /// Datadog sent an error instead of a code.
    #[error("Datadog did not authorise tenant {tenant}: {error}{}{description}", if .description.is_empty() { "" } else { ": " })]
    Denied {
        /// The tenant.
        tenant: TenantId,
        /// The error of RFC 6749, 4.1.2.1.
        error: String,
        /// What Datadog adds.
        description: String,
    },
    /// The site is no longer configured.
    #[error("the site {site:?} of tenant {tenant}'s authorisation is no longer configured; begin again")]
    SiteGone {
        /// The tenant.
        tenant: TenantId,
        /// The site.
        site: String,
    },
    /// Datadog refuses the code.
    #[error("Datadog refused the authorisation code of tenant {tenant} ({words}); begin again")]
    CodeRefused {
        /// The tenant.
        tenant: TenantId,
        /// Datadog's words.
        words: String,
    },
    /// Datadog refuses the client, whatever the tenant; none has changed.
    #[error(
        "Datadog refuses this service's own OAuth client ({words}): oauth.client_id and client_secret_file must be those of \
         Datadog's Developer Platform, test or production alike; no tenant was changed"
    )]
    Partner {
        /// Datadog's words.
        words: String,
    },
    /// Datadog cannot be reached.
    #[error(
        "Datadog could not be reached for tenant {tenant} ({words}); nothing was changed; begin again a little later"
    )]
    Unreachable {
        /// The tenant.
        tenant: TenantId,
        /// What happened.
        words: String,
    },
    /// Another operation on the tenant is in progress.
    #[error("another operation on tenant {0} is in progress, here or on another host; begin again a little later")]
    Busy(TenantId),
    /// The daemon is shutting down. The authorisation stays valid.
    #[error("this service is being restarted: reload this page in a few seconds")]
    Ending,
    /// Another tenant has the organisation.
    #[error(
        "tenant {tenant} is not connected: its Datadog organisation is connected to another tenant, which the log names, and an \
         organisation has a single key; connect another organisation, or disconnect the other tenant"
    )]
    OrganisationHeld {
        /// The tenant that wants to connect.
        tenant: TenantId,
        /// The one that has the organisation: for the operator only.
        by: TenantId,
    },
    /// No key was created, or none that could be stored.
    #[error("tenant {tenant} has no new API key: {}; {}", .trouble.reason, .trouble.instructions)]
    NoKey {
        /// The tenant.
        tenant: TenantId,
        /// Why, and what to do.
        trouble: Trouble,
    },
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task panicked.
    #[error("connecting failed because of an error in this service; its log has the details; begin again")]
    Internal,
}

impl BeginError {
    /// A name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotConfigured => "not_configured",
            Self::Configured(_) => "static_tenant",
            Self::NoSession => "missing_session",
            Self::BadSession => "bad_session",
            Self::Site(_) => "bad_site",
            Self::Store(error) => store_code(error),
        }
    }

    /// The status of an HTTP answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::NotConfigured | Self::Configured(_) => 409,
            Self::Site(_) | Self::NoSession | Self::BadSession => 400,
            Self::Store(error) => store_status(error),
        }
    }
}

impl FinishError {
    /// A name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Callback(CallbackError::Site(_)) => "bad_site",
            Self::Callback(CallbackError::OtherClient(_)) => "other_client",
            Self::Callback(CallbackError::NoCode) => "missing_code",
            Self::Callback(CallbackError::NoState) => "missing_state",
            Self::Callback(_) => "bad_callback",
            Self::UnknownState => "unknown_state",
            Self::UsedState(_) => "used_state",
            Self::ExpiredState(_) => "expired_state",
            Self::OtherTenant(_) => "other_tenant",
            Self::OtherSession => "other_session",
            Self::Unbound => "missing_session",
            Self::UnknownTicket => "unknown_ticket",
            Self::Denied { .. } => "denied",
            Self::SiteGone { .. } => "bad_site",
            Self::CodeRefused { .. } => "code_refused",
            Self::Partner { .. } => "client_refused",
            Self::Unreachable { .. } => "datadog_unreachable",
            Self::Busy(_) => "busy",
            Self::Ending => "ending",
            Self::OrganisationHeld { .. } => "organisation_held",
            Self::NoKey { .. } => "no_key",
            Self::Store(error) => store_code(error),
            Self::Internal => "internal",
        }
    }

    /// The status of an HTTP answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::Callback(_) | Self::UnknownState | Self::Unbound | Self::UnknownTicket | Self::SiteGone { .. } => 400,
            Self::Denied { .. } | Self::OtherTenant(_) | Self::OtherSession => 403,
            Self::OrganisationHeld { .. } | Self::NoKey { .. } => 409,
            Self::UsedState(_) | Self::ExpiredState(_) => 410,
            Self::CodeRefused { .. } | Self::Partner { .. } => 502,
            Self::Unreachable { .. } | Self::Busy(_) | Self::Ending => 503,
            Self::Store(error) => store_status(error),
            Self::Internal => 500,
        }
    }
}

fn store_code(error: &StoreError) -> &'static str {
    match error {
        StoreError::UnknownTenant(_) => "unknown_tenant",
        _ => "store",
    }
}

fn store_status(error: &StoreError) -> u16 {
    match error {
        StoreError::UnknownTenant(_) => 404,
        StoreError::LeaseLost { .. } | StoreError::Stale { .. } => 409,
        _ => 503,
    }
}
