//! The typed configuration: its loading from TOML and environment, its checking, and its printing without secrets.

mod allowance;
mod check;
mod form;
mod journal;
mod key;
mod load;
mod model;
mod oauth;
mod overrides;
mod print;
mod problems;
mod reader;
mod reload;
mod secrets;
mod sites;
mod source;
mod store_url;
mod units;

#[cfg(test)]
mod tests;

pub use allowance::{Allowance, Limits};
pub use journal::{Fsync, Journal, Quota, WhenFull};
pub use load::DEFAULT_PATH;
use model::path_or_empty;
pub use model::{
    Admin, Batch, Compression, Datadog, Delivery, Ingest, Log, LogFormat, Memory, Oauth, Settings, Shutdown, State,
    StaticTenant, Store, Tenancy,
};
pub(crate) use overrides::OwnTable;
pub use overrides::{Overrides, OverridesPatch, OwnLimits, OwnQuota, TablePatch};
pub use problems::{Place, Problem, SettingsError};
pub use reload::{Difference, Plan};
pub use sites::{Site, SiteHosts, Sites};
pub use store_url::StoreUrl;
pub use units::{format_duration, format_size, parse_duration, parse_size};
