//! What the operator sends. These types are the schema of the admin API.

use crate::control::{ControlError, Fate, NewTenantSpec, OverrideChanges, TenantChanges, WhenFullView};
use crate::settings::{WhenFull, parse_duration};
use crate::types::{Secret, TenantId};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
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
    #[serde(default, deserialize_with = "given_object")]
    limits: Option<Option<OwnLimits>>,
    /// A quota of its own; null: none.
    #[schema(value_type = Option<OwnQuota>)]
    #[serde(default, deserialize_with = "given_object")]
    journal: Option<Option<OwnQuota>>,
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
    #[serde(default, deserialize_with = "given_object")]
    limits: Option<Option<OwnLimits>>,
    /// A quota of its own; null: none.
    #[schema(value_type = Option<OwnQuota>)]
    #[serde(default, deserialize_with = "given_object")]
    journal: Option<Option<OwnQuota>>,
}

/// How fast a tenant may send, where that is not as for all. What is not given stays; null makes it as for all.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnLimits {
    /// Items a second; 0: as many as come.
    #[schema(value_type = Option<u64>, minimum = 0, maximum = 1_000_000_000_u64)]
    #[serde(default, deserialize_with = "given")]
    items_per_second: Option<Option<u64>>,
    /// Bytes of items a second, uncompressed; 0: as many as come.
    #[schema(value_type = Option<u64>, minimum = 0, maximum = 1_099_511_627_776_u64)]
    #[serde(default, deserialize_with = "given")]
    bytes_per_second: Option<Option<usize>>,
}

/// What a tenant may have waiting, where that is not as for all. What is not given stays; null makes it as for all.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnQuota {
    /// Bytes on disk.
    #[schema(value_type = Option<u64>, minimum = 1_048_576, maximum = 1_125_899_906_842_624_u64)]
    #[serde(default, deserialize_with = "given")]
    max_bytes: Option<Option<usize>>,
    /// Older items are dropped as `expired`. From `1s` to `365d`.
    #[schema(value_type = Option<String>, example = "48h")]
    #[serde(default, deserialize_with = "given")]
    max_age: Option<Option<String>>,
    /// What becomes of what comes when `max_bytes` are waiting.
    #[schema(value_type = Option<WhenFullView>)]
    #[serde(default, deserialize_with = "given")]
    when_full: Option<Option<WhenFullView>>,
}

/// Reads a field that is there, be it null.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The same with an object: an array would be taken for its fields in their order.
fn given_object<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    let fields = Option::<Map<String, Value>>::deserialize(deserializer)?;
    let object = fields.map(|fields| serde_json::from_value(fields.into()).map_err(D::Error::custom));
    object.transpose().map(Some)
}

impl OwnLimits {
    /// None of its own.
    const NONE: Self = Self { items_per_second: Some(None), bytes_per_second: Some(None) };
}

impl OwnQuota {
    /// None of its own.
    const NONE: Self = Self { max_bytes: Some(None), max_age: Some(None), when_full: Some(None) };
}

fn overrides(
    limits: Option<Option<OwnLimits>>,
    journal: Option<Option<OwnQuota>>,
) -> Result<OverrideChanges, ControlError> {
    let limits = limits.map(|limits| limits.unwrap_or(OwnLimits::NONE)).unwrap_or_default();
    let journal = journal.map(|journal| journal.unwrap_or(OwnQuota::NONE)).unwrap_or_default();
    let OwnLimits { items_per_second, bytes_per_second } = limits;
    let OwnQuota { max_bytes, max_age, when_full } = journal;
    let age = |text: String| {
        parse_duration(&text).map_err(|why| {
            let shown: String = text.chars().take(40).collect();
            ControlError::Invalid(format!("max_age: {shown:?} {why}"))
        })
    };
    Ok(OverrideChanges {
        items_per_second,
        bytes_per_second,
        max_bytes,
        max_age: max_age.map(|given| given.map(age).transpose()).transpose()?,
        when_full: when_full.map(|given| given.map(WhenFull::from)),
    })
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
        let own = overrides(limits, journal)?;
        Ok(NewTenantSpec { id: TenantId::new(&id)?, display_name, site, api_key, own })
    }
}

impl TenantPatch {
    pub(super) fn changes(self) -> Result<TenantChanges, ControlError> {
        let Self { display_name, site, api_key, limits, journal } = self;
        Ok(TenantChanges { display_name, site, api_key, own: overrides(limits, journal)? })
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
