//! `[datadog]`

use super::address::{base_address, is_host_name};
use super::form::{Switch, optional_path, text};
use super::key::section;
use super::problems::{Problems, join};
use super::reader::Reader;
use super::{Settings, SiteHosts, Sites};
use config::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

section! {
    /// Datadog's side.
    pub struct Datadog in Settings.datadog {
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
pub(super) fn read_sites(settings: &mut Settings, tables: BTreeMap<String, Value>, problems: &mut Problems) {
    let allow_plaintext = settings.datadog.allow_plaintext;
    let sites = &mut settings.datadog.sites;
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
                Some(text) => match base_address(&text, allow_plaintext) {
                    Ok(address) => *host = address,
                    Err(why) => reader.error(key, why),
                },
            }
        }
        reader.finish();
        sites.insert(&name, hosts);
    }
}

pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    check_site("datadog.default_site", &settings.datadog.default_site, settings, problems);
    for (id, tenant) in &settings.tenants {
        // A tenant without a site of its own has the default one, which was checked above.
        if tenant.site != settings.datadog.default_site {
            check_site(&join(&join("tenants", id.as_str()), "site"), &tenant.site, settings, problems);
        }
    }
    let Some(path) = &settings.datadog.ca_file else { return };
    match std::fs::read(path) {
        Ok(pem) if memchr::memmem::find(&pem, b"-----BEGIN CERTIFICATE-----").is_some() => {}
        Ok(_) => problems.error("datadog.ca_file", format!("{path:?} holds no certificate in PEM form")),
        Err(error) => problems.error("datadog.ca_file", format!("{path:?} cannot be read: {error}")),
    }
}

fn check_site(key: &str, name: &str, settings: &Settings, problems: &mut Problems) {
    let sites = &settings.datadog.sites;
    // A site whose own table is wrong has said so already.
    if sites.get(name).is_some() || problems.has_error(&join("datadog.sites", name)) {
        return;
    }
    let known: Vec<_> = sites.names().collect();
    let hint = sites.meant_by(name).map(|site| format!("did you mean {site:?}? ")).unwrap_or_default();
    let table = join("datadog.sites", name);
    problems.error(
        key,
        format!(
            "{name:?} is no known site; {hint}the known ones are {}; to add one, write [{table}]",
            known.join(", ")
        ),
    );
}
