//! Datadog's sites and the hosts of each.

use crate::types::HostRole;
use std::collections::BTreeMap;

/// The sites that a tenant may be on. Nothing is ever sent to a host that this table does not give.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// The names of the sites as regions (docs.datadoghq.com/getting_started/site).
const REGIONS: [(&str, &str); 11] = [
    ("us", "datadoghq.com"),
    ("us1", "datadoghq.com"),
    ("us3", "us3.datadoghq.com"),
    ("us5", "us5.datadoghq.com"),
    ("eu", "datadoghq.eu"),
    ("eu1", "datadoghq.eu"),
    ("ap1", "ap1.datadoghq.com"),
    ("ap2", "ap2.datadoghq.com"),
    ("uk1", "uk1.datadoghq.com"),
    ("us1-fed", "ddog-gov.com"),
    ("us2-fed", "us2.ddog-gov.com"),
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

    /// Each base address, by the name of its key.
    pub(super) fn by_name_mut(&mut self) -> [(&'static str, &mut String); 4] {
        [("api", &mut self.api), ("logs", &mut self.logs), ("events", &mut self.events), ("app", &mut self.app)]
    }

    /// The same to be read.
    pub(super) fn by_name(&self) -> [(&'static str, &str); 4] {
        [("api", &self.api), ("logs", &self.logs), ("events", &self.events), ("app", &self.app)]
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

    /// The site that a person means by another name for it: a region as of Datadog's documentation, the address of its
    /// web application or API, or a misspelling.
    pub(super) fn meant_by(&self, text: &str) -> Option<&str> {
        let lower = text.to_ascii_lowercase();
        let region = REGIONS.iter().find(|(region, _)| *region == lower).map(|(_, site)| *site);
        let host = lower.trim_start_matches("https://").trim_start_matches("http://");
        let host = host.split(['/', ':', '?', '#']).next().unwrap_or_default();
        let within = |site: &&str| host == *site || host.ends_with(&format!(".{site}"));
        // The longest: us3.datadoghq.com lies within datadoghq.com too.
        let names = || self.known.keys().map(String::as_str);
        region
            .and_then(|site| names().find(|name| *name == site))
            .or_else(|| names().filter(within).max_by_key(|site| site.len()))
            .or_else(|| super::problems::nearest(host, names()))
    }

    /// The sites that are not as Datadog has them.
    pub(super) fn changed(&self) -> impl Iterator<Item = (&String, &SiteHosts)> {
        let standard = |name: &str| BUILT_IN.iter().find(|(site, _)| *site == name);
        self.known.iter().filter(move |(name, hosts)| {
            standard(name).is_none_or(|(site, app)| SiteHosts::standard(site, app) != **hosts)
        })
    }

    /// The names of the known sites.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_of_a_site_find_it() {
        for (text, site) in [
            ("US1", Some("datadoghq.com")),
            ("eu", Some("datadoghq.eu")),
            ("US1-FED", Some("ddog-gov.com")),
            ("https://app.datadoghq.eu/", Some("datadoghq.eu")),
            ("api.us3.datadoghq.com", Some("us3.datadoghq.com")),
            ("datadogq.com", Some("datadoghq.com")),
            ("zzz", None),
        ] {
            assert_eq!(Sites::default().meant_by(text), site, "{text}");
        }
    }

    #[test]
    fn the_default_site_is_known_and_has_its_four_hosts() {
        let site = Sites::default().get("datadoghq.eu").unwrap();
        assert_eq!(site.hosts.base(HostRole::Api), "https://api.datadoghq.eu");
        assert_eq!(site.hosts.base(HostRole::Logs), "https://http-intake.logs.datadoghq.eu");
        assert_eq!(site.hosts.base(HostRole::Events), "https://event-management-intake.datadoghq.eu");
        assert_eq!(site.hosts.base(HostRole::App), "https://app.datadoghq.eu");
    }
}
