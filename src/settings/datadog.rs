//! `[datadog]`

use super::address::{base_address, is_host_name};
use super::form::{Switch, optional_path, text};
use super::key::section;
use super::problems::{Problems, join};
use super::reader::Reader;
use super::{SiteHosts, Sites};
use config::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

section! {
    /// Datadog's side.
    pub struct Datadog {
        /// The site of tenants that name none.
        default_site: String = "datadoghq.com".into(), text("datadoghq.eu");
        /// Whether http:// is allowed beyond loopback. API keys would travel unencrypted.
        allow_plaintext: bool = false, Switch;
        /// A PEM file of certificates to trust besides the system's; "" for none.
        ca_file: Option<PathBuf> = None, optional_path("/etc/ssl/certs/ca-certificates.crt"), restart;
        also {
            /// The known sites.
            sites: Sites,
        }
    }
}

/// The tables `[datadog.sites.<name>]`.
pub(super) const ABOUT_SITES: &str = "Private endpoints, a proxy or a stand-in for a site; also makes a new site known. \
    An absent key is as Datadog has it.";

/// Reads the tables of sites.
pub(super) fn read_sites(datadog: &mut Datadog, tables: BTreeMap<String, Value>, problems: &mut Problems) {
    let Datadog { allow_plaintext, sites, .. } = datadog;
    for (name, values) in tables {
        let path = join("datadog.sites", &name);
        let known = sites.get(&name);
        if known.is_none() && !is_host_name(&name) {
            problems.error(&path, format!("{name:?} is no name of a site: use a host name such as datadoghq.com"));
            continue;
        }
        let mut hosts = known.map_or_else(|| SiteHosts::standard(&name, &format!("app.{name}")), |site| site.hosts);
        let mut reader = Reader::of(path, values, problems);
        for (key, host) in hosts.by_name_mut() {
            match reader.text(key) {
                None => {}
                Some(text) => match base_address(&text, *allow_plaintext) {
                    Ok(address) => *host = address,
                    Err(why) => reader.error(key, why),
                },
            }
        }
        reader.finish();
        sites.insert(&name, hosts);
    }
}
