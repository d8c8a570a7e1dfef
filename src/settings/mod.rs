//! The typed configuration: loaded from TOML and environment, checked, printed without secrets, and reloaded.
//!
//! A file a section, and in it one declaration a key (see `key`), from which everything else about the key follows.

#![allow(rustdoc::invalid_html_tags, reason = "the documentation of a key is its help on a terminal, too")]

mod address;
mod admin;
mod annotate;
mod batch;
mod check;
mod datadog;
mod delivery;
mod difference;
mod dogstatsd;
mod form;
mod hosts;
mod ingest;
mod journal;
mod key;
mod limits;
mod load;
mod log;
mod memory;
mod metrics;
mod oauth;
mod otlp;
mod overrides;
mod print;
mod problems;
mod reader;
mod reload;
mod reread;
mod schema;
mod secrets;
mod section;
mod shutdown;
mod sites;
mod source;
mod state;
mod store;
mod store_url;
mod tenancy;
mod tenant;
mod units;
mod volume;

#[cfg(test)]
mod tests;

use crate::types::TenantId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use admin::Admin;
pub use batch::{Batch, Compression};
pub use datadog::Datadog;
pub use delivery::Delivery;
pub use difference::Difference;
pub use dogstatsd::Dogstatsd;
pub use ingest::Ingest;
pub use journal::{Fsync, Journal, Quota, WhenFull};
pub(crate) use key::one_line;
pub use limits::{Allowance, Limits};
pub use load::DEFAULT_PATH;
pub use log::{Log, LogFormat};
pub use memory::Memory;
pub use metrics::Metrics;
pub use oauth::Oauth;
pub use otlp::{Histograms, Otlp, Summaries, Sums};
pub(crate) use overrides::OwnTable;
pub use overrides::{Overrides, OverridesPatch, OwnLimits, OwnQuota, TablePatch};
pub use problems::{Origin, Problem, SettingsError};
pub use reload::Plan;
pub use shutdown::Shutdown;
pub use sites::{Site, SiteHosts, Sites};
pub use state::State;
pub use store::Store;
pub use store_url::StoreUrl;
pub use tenancy::Tenancy;
pub use tenant::StaticTenant;
pub use units::{format_duration, format_size, parse_duration, parse_size};

/// Everything that can be configured.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `[state]`
    pub state: State,
    /// `[ingest]`
    pub ingest: Ingest,
    /// `[dogstatsd]`
    pub dogstatsd: Dogstatsd,
    /// `[otlp]`
    pub otlp: Otlp,
    /// `[tenancy]`
    pub tenancy: Tenancy,
    /// `[tenants.<id>]`
    pub tenants: BTreeMap<TenantId, StaticTenant>,
    /// `[oauth]`
    pub oauth: Oauth,
    /// `[store]`
    pub store: Store,
    /// `[batch]`
    pub batch: Batch,
    /// `[delivery]`
    pub delivery: Delivery,
    /// `[limits]`
    pub limits: Limits,
    /// `[journal]`
    pub journal: Journal,
    /// `[memory]`
    pub memory: Memory,
    /// `[admin]`
    pub admin: Admin,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[log]`
    pub log: Log,
    /// `[shutdown]`
    pub shutdown: Shutdown,
    /// `[datadog]`
    pub datadog: Datadog,
    /// What is allowed but probably not meant, one line each, found while loading.
    pub warnings: Vec<String>,
    /// The files that secrets were read from, by key: such as `tenants.acme.api_key`, which `tenants.acme.api_key_file` names.
    pub secret_files: BTreeMap<String, PathBuf>,
}

impl Settings {
    /// The directory of the journal.
    pub fn journal_dir(&self) -> PathBuf {
        self.journal.dir.clone().unwrap_or_else(|| self.state.dir.join("journal"))
    }

    /// The path of the admin API's Unix socket.
    pub fn admin_socket(&self) -> PathBuf {
        match self.admin.socket.as_str() {
            "" => self.state.dir.join("admin.sock"),
            path => path.into(),
        }
    }

    /// What tenants may do unless something else is said of them.
    pub fn allowance(&self) -> Allowance {
        Allowance { limits: self.limits, quota: self.journal.quota() }
    }

    /// The file with the API key of a tenant, if it is in a file.
    pub fn api_key_file(&self, tenant: &TenantId) -> Option<&Path> {
        let key = problems::join(&problems::join("tenants", tenant.as_str()), "api_key");
        self.secret_files.get(&key).map(PathBuf::as_path)
    }

    /// The key under which a value was written: itself, or the one that names a file.
    fn written_as(&self, key: String) -> String {
        if self.secret_files.contains_key(&key) { format!("{key}_file") } else { key }
    }
}
