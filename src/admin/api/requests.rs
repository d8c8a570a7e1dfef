//! What the operator sends. These types are the schema of the admin API.

use crate::control::{ControlError, Fate, NewTenantSpec, TenantChanges};
use crate::settings::{OverridesPatch, OwnLimits, OwnQuota, TablePatch};
use crate::types::{Secret, TenantId};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

/// A tenant to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// Its id: what the application calls it.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,100}$", min_length = 1, max_length = 100)]
    id: String,
    /// Its name for people.
    #[schema(max_length = 200)]
    display_name: Option<String>,
    /// Its Datadog site, such as `datadoghq.eu`; `datadog.default_site` if none is given.
    site: Option<String>,
    /// An API key of its organisation, for those that are not to be connected through OAuth.
    #[schema(value_type = Option<String>, format = Password, min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
    api_key: Option<Secret>,
    /// Limits of its own; null: none.
    #[schema(value_type = Option<OwnLimits>)]
    #[serde(default)]
    limits: TablePatch<OwnLimits>,
    /// A quota of its own; null: none.
    #[schema(value_type = Option<OwnQuota>)]
    #[serde(default)]
    journal: TablePatch<OwnQuota>,
}

/// What is to be changed of a tenant; what is not given stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantPatch {
    /// Its name for people.
    #[schema(max_length = 200)]
    display_name: Option<String>,
    /// Its Datadog site. Not of a tenant that is connected through OAuth.
    site: Option<String>,
    /// An API key of its organisation. Not of a tenant that is connected through OAuth.
    #[schema(value_type = Option<String>, format = Password, min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
    api_key: Option<Secret>,
    /// Limits of its own; null: none.
    #[schema(value_type = Option<OwnLimits>)]
    #[serde(default)]
    limits: TablePatch<OwnLimits>,
    /// A quota of its own; null: none.
    #[schema(value_type = Option<OwnQuota>)]
    #[serde(default)]
    journal: TablePatch<OwnQuota>,
}

/// Where a customer comes from, as Datadog sent it to the application's onboarding URL.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectRequest {
    /// `domain`: the Datadog site. Without it and `site`, Datadog asks the customer for theirs.
    pub domain: Option<String>,
    /// `site`: the web address of the customer's organisation.
    pub site: Option<String>,
}

/// Datadog's answer to an authorisation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackRequest {
    /// The query of the redirect, as it came: what follows the `?`.
    pub query: String,
    /// The tenant that the application knows to be signed in; another one's answer is refused.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,100}$")]
    pub tenant: Option<String>,
}

/// What is to become of telemetry that was meant for another organisation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HeldRequest {
    /// Whether it is released or dropped.
    pub action: HeldAction,
}

/// What is to become of telemetry that was meant for another organisation.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HeldAction {
    /// It is delivered to the organisation that is connected now.
    Release,
    /// It is dropped, and counted as `purged`.
    Drop,
}

/// An ingest token to be made.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for.
    #[schema(max_length = 200)]
    #[serde(default)]
    pub label: String,
}

/// How a tenant is removed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RemoveQuery {
    /// What becomes of telemetry that waits on this host: it is kept (until `journal.max_age`, or until the tenant is added
    /// again), or it is dropped and counted as `purged`.
    #[serde(default)]
    #[param(inline)]
    pub telemetry: Telemetry,
}

/// What becomes of telemetry that waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Telemetry {
    /// It is kept.
    #[default]
    Keep,
    /// It is dropped.
    Purge,
}

impl NewTenant {
    pub(super) fn spec(self) -> Result<NewTenantSpec, ControlError> {
        let Self { id, display_name, site, api_key, limits, journal } = self;
        let own = OverridesPatch { limits, journal };
        Ok(NewTenantSpec { id: TenantId::new(&id)?, display_name, site, api_key, own })
    }
}

impl TenantPatch {
    pub(super) fn changes(self) -> TenantChanges {
        let Self { display_name, site, api_key, limits, journal } = self;
        TenantChanges { display_name, site, api_key, own: OverridesPatch { limits, journal } }
    }
}

impl From<HeldAction> for Fate {
    fn from(action: HeldAction) -> Self {
        match action {
            HeldAction::Release => Self::Keep,
            HeldAction::Drop => Self::Drop,
        }
    }
}

impl From<Telemetry> for Fate {
    fn from(telemetry: Telemetry) -> Self {
        match telemetry {
            Telemetry::Keep => Self::Keep,
            Telemetry::Purge => Self::Drop,
        }
    }
}
