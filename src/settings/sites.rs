//! Datadog's sites and the hosts of each.

use crate::types::HostRole;
use std::collections::BTreeMap;

/// The sites that a tenant may be on. Nothing is ever sent to a host that this table does not give.
#[derive(Debug, Clone)]
pub struct Sites {
    known: BTreeMap<String, SiteHosts>,
}

/// A known site, with the base address of each of its hosts (scheme and authority, no slash at the end).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its name, such as `datadoghq.eu`.
    pub name: String,
    /// Its hosts.
    pub hosts: SiteHosts,
}

/// The base addresses of a site's hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteHosts {
    /// For [`HostRole::Api`].
    pub api: String,
    /// For [`HostRole::Logs`].
    pub logs: String,
    /// For [`HostRole::Events`].
    pub events: String,
    /// For [`HostRole::App`].
    pub app: String,
}

/// The sites of Datadog's own clients and each one's web host
/// (datadog-api-client-python `configuration.py`; docs.datadoghq.com/getting_started/site).
const BUILT_IN: [(&str, &str); 9] = [
    ("datadoghq.com", "app.datadoghq.com"),
    ("us3.datadoghq.com", "us3.datadoghq.com"),
    ("us5.datadoghq.com", "us5.datadoghq.com"),
    ("datadoghq.eu", "app.datadoghq.eu"),
    ("ap1.datadoghq.com", "ap1.datadoghq.com"),
    ("ap2.datadoghq.com", "ap2.datadoghq.com"),
    ("uk1.datadoghq.com", "uk1.datadoghq.com"),
    ("ddog-gov.com", "app.ddog-gov.com"),
    ("us2.ddog-gov.com", "us2.ddog-gov.com"),
];

impl SiteHosts {
    /// The hosts that a site of this name has at Datadog.
    pub fn standard(site: &str, app: &str) -> Self {
        Self {
            api: format!("https://api.{site}"),
            logs: format!("https://http-intake.logs.{site}"),
            events: format!("https://event-management-intake.{site}"),
            app: format!("https://{app}"),
        }
    }

    /// The base address for a role.
    pub fn base(&self, role: HostRole) -> &str {
        match role {
            HostRole::Api => &self.api,
            HostRole::Logs => &self.logs,
            HostRole::Events => &self.events,
            HostRole::App => &self.app,
        }
    }
}

impl Default for Sites {
    fn default() -> Self {
        let known = BUILT_IN.iter().map(|(name, app)| ((*name).to_owned(), SiteHosts::standard(name, app))).collect();
        Self { known }
    }
}

impl Sites {
    /// Looks a site up by its exact name.
    pub fn get(&self, name: &str) -> Option<Site> {
        self.known.get(name).map(|hosts| Site { name: name.to_owned(), hosts: hosts.clone() })
    }

    /// Makes a site known, or replaces its hosts.
    pub fn insert(&mut self, name: &str, hosts: SiteHosts) {
        self.known.insert(name.to_owned(), hosts);
    }

    /// The names of the known sites.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }
}
