//! Validation of the site that a browser names. Anybody may write the query string, so only hosts on the list are ever
//! asked. No I/O in here.

use crate::settings::{Site, Sites};
use crate::types::HostRole;
use std::fmt;
use std::net::Ipv4Addr;

/// The longest text examined. A host name has at most 253 characters.
const LONGEST: usize = 300;

/// The parameter that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `domain`: the site whose API is asked.
    Domain,
    /// `site`: the web host that the customer is signed in at.
    Site,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Domain => "domain",
            Self::Site => "site",
        })
    }
}

/// Why a host is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {shown:?} {why}")]
pub struct SiteError {
    /// The parameter that is wrong.
    pub field: Field,
    /// The beginning of its value.
    pub shown: String,
    /// Why it is refused.
    pub why: Why,
}

/// The reason for refusing a host. Only the exact names on the list are accepted; this tells a person how another one
/// differs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It is empty.
    #[error("is empty: Datadog sends it; name a site such as datadoghq.com")]
    Empty,
    /// Longer than any name.
    #[error("is longer than any host name")]
    TooLong,
    /// Control characters, such as a line break.
    #[error("contains a control character, such as a line break")]
    Control,
    /// It contains white space.
    #[error("contains white space")]
    Space,
    /// Letters of other scripts, which may look like ours.
    #[error("contains non-ASCII characters, which may look like others")]
    NotAscii,
    /// Percent-encoding where none belongs.
    #[error("contains a percent sign, which no host name has")]
    Percent,
    /// A backslash, which some readers take for a slash.
    #[error("contains a backslash, which no host name has")]
    Backslash,
    /// A user name.
    #[error("contains an @: a user name does not belong there")]
    User,
    /// Another scheme than https.
    #[error("begins with another scheme than https://")]
    Scheme,
    /// A scheme where a bare name is wanted.
    #[error("has a scheme, but must be the bare name of a site such as datadoghq.com")]
    NotBare,
    /// More than a host.
    #[error("contains more than a host: a path, a query or a fragment")]
    Path,
    /// It contains a port.
    #[error("contains a port")]
    Port,
    /// An address instead of a name.
    #[error("is an IP address, not a name")]
    Ip,
    /// It contains capital letters.
    #[error("contains capital letters: Datadog's names are lower-case")]
    UpperCase,
    /// A final dot.
    #[error("ends with a dot")]
    TrailingDot,
    /// An encoded name of another script.
    #[error("contains an internationalised name (xn--…)")]
    Punycode,
    /// Not a host name at all.
    #[error("is not a host name")]
    NotAName,
    /// A known name within another one.
    #[error("looks like {0}, but is another host")]
    LookAlike(String),
    /// A name below another one than the domain's.
    #[error("is not a web host of Datadog: it must be one of the known ones or a single label before .{0}")]
    NotBelow(String),
    /// Any other name.
    #[error("is not a known Datadog site; add a new one as a table [datadog.sites.\"…\"] of the configuration")]
    Unknown,
}

/// The site of that exact name.
///
/// # Errors
/// When it is not on the list, with how it differs.
pub fn check_domain(sites: &Sites, text: &str) -> Result<Site, SiteError> {
    sites.get(text).ok_or_else(|| {
        let why = match common(text) {
            Err(why) => why,
            Ok(()) if text.contains("://") => Why::NotBare,
            Ok(()) => host_problem(sites, text).unwrap_or(Why::Unknown),
        };
        refused(Field::Domain, text, why)
    })
}

/// The base address of the web host where a customer of `domain` is signed in, used only as a redirect: a known
/// one, or an organisation's own subdomain. With or without `https://` and a final slash, as both have been seen.
///
/// # Errors
/// When it is neither.
pub fn check_site(sites: &Sites, domain: &Site, text: &str) -> Result<String, SiteError> {
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    let bare = trimmed.strip_prefix("https://").unwrap_or(trimmed);
    let standard = Sites::default();
    for name in sites.names() {
        let Some(site) = sites.get(name) else { continue };
        let app = site.hosts.base(HostRole::App);
        let usual = standard.get(name).map(|site| site.hosts.app);
        let is_usual = usual.is_some_and(|usual| usual.strip_prefix("https://") == Some(bare));
        if trimmed == app || app.strip_prefix("https://") == Some(bare) || is_usual {
            return Ok(app.to_owned());
        }
    }
    let suffix = format!(".{}", domain.name);
    if bare.strip_suffix(&suffix).is_some_and(is_label) {
        return Ok(format!("https://{bare}"));
    }
    let why = match common(text) {
        Err(why) => why,
        Ok(()) if bare.contains("://") => Why::Scheme,
        Ok(()) => host_problem(sites, bare).unwrap_or(Why::NotBelow(domain.name.clone())),
    };
    Err(refused(Field::Site, text, why))
}

/// Like [`check_site`], for whichever domain.
///
/// # Errors
/// When it is no web host of any.
pub fn check_any_site(sites: &Sites, text: &str) -> Result<String, SiteError> {
    let mut checked = Err(refused(Field::Site, text, Why::Unknown));
    for domain in sites.names().filter_map(|name| sites.get(name)) {
        checked = check_site(sites, &domain, text);
        if checked.is_ok() {
            break;
        }
    }
    checked
}

fn refused(field: Field, text: &str, why: Why) -> SiteError {
    SiteError { field, shown: text.chars().take(80).collect(), why }
}

/// One label of a host name, as an organisation's subdomain is.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.starts_with("xn--")
}

/// Characters and forms that no host name has.
fn common(text: &str) -> Result<(), Why> {
    match text {
        "" => Err(Why::Empty),
        _ if text.len() > LONGEST => Err(Why::TooLong),
        _ if text.contains(|c: char| c.is_control()) => Err(Why::Control),
        _ if !text.is_ascii() => Err(Why::NotAscii),
        _ if text.contains(' ') => Err(Why::Space),
        _ if text.contains('\\') => Err(Why::Backslash),
        _ if text.contains('@') => Err(Why::User),
        _ if text.contains('%') => Err(Why::Percent),
        _ => Ok(()),
    }
}

fn host_problem(sites: &Sites, host: &str) -> Option<Why> {
    if host.contains(['/', '?', '#']) {
        return Some(Why::Path);
    }
    let numeric = |label: &str| label.starts_with("0x") || label.bytes().all(|byte| byte.is_ascii_digit());
    if host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok() || host.matches(':').count() > 1 {
        return Some(Why::Ip);
    }
    if host.contains(':') {
        return Some(Why::Port);
    }
    // 127.1, 2130706433 and 0x7f.1 are addresses to those who look them up.
    if host.rsplit('.').find(|label| !label.is_empty()).is_some_and(numeric) {
        return Some(Why::Ip);
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(Why::UpperCase);
    }
    if host.ends_with('.') {
        return Some(Why::TrailingDot);
    }
    if host.split('.').any(|label| label.starts_with("xn--")) {
        return Some(Why::Punycode);
    }
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(of_name);
    if !host.split('.').all(is_label) {
        return Some(Why::NotAName);
    }
    // The longest: us3.datadoghq.com holds datadoghq.com too.
    let within = sites.names().filter(|name| host.contains(name)).max_by_key(|name| name.len());
    within.filter(|name| !host.ends_with(&format!(".{name}"))).map(|name| Why::LookAlike(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SiteHosts;
    use proptest::prelude::*;

    fn sites() -> Sites {
        let mut sites = Sites::default();
        let hosts = SiteHosts { app: "http://127.0.0.1:9".into(), ..SiteHosts::standard("ap2.datadoghq.com", "x") };
        sites.insert("ap2.datadoghq.com", hosts);
        sites
    }

    #[test]
    fn known_sites_match_by_exact_name() {
        for name in Sites::default().names() {
            assert_eq!(check_domain(&sites(), name).unwrap().name, name);
        }
    }

    #[test]
    fn web_hosts_are_taken_in_all_forms() {
        let sites = sites();
        for (domain, text, base) in [
            ("datadoghq.com", "app.datadoghq.com", "https://app.datadoghq.com"),
            ("datadoghq.com", "https://app.datadoghq.com/", "https://app.datadoghq.com"),
            ("datadoghq.com", "https://customer.datadoghq.com", "https://customer.datadoghq.com"),
            ("us3.datadoghq.com", "us3.datadoghq.com", "https://us3.datadoghq.com"),
            ("us3.datadoghq.com", "https://big-corp.us3.datadoghq.com/", "https://big-corp.us3.datadoghq.com"),
            ("ddog-gov.com", "app.ddog-gov.com", "https://app.ddog-gov.com"),
            ("ap2.datadoghq.com", "https://ap2.datadoghq.com", "http://127.0.0.1:9"),
            ("ap2.datadoghq.com", "http://127.0.0.1:9/", "http://127.0.0.1:9"),
        ] {
            let domain = check_domain(&sites, domain).unwrap();
            assert_eq!(check_site(&sites, &domain, text).unwrap(), base, "{text}");
        }
    }

    proptest! {
        #[test]
        fn only_listed_hosts_pass(
            start in "(https?://|)?[a-z0-9.@:/\\\\%-]{0,12}",
            middle in "(\\.?(us3\\.)?datadoghq\\.(com|eu)){0,2}",
            end in "\\PC{0,6}",
            any in any::<String>(),
        ) {
            let sites = Sites::default();
            let domain = check_domain(&sites, "datadoghq.com").unwrap();
            for text in [format!("{start}{middle}{end}"), format!("{start}{middle}"), any] {
                if let Ok(site) = check_domain(&sites, &text) {
                    prop_assert!(sites.names().any(|name| name == site.name && name == text));
                }
                if let Ok(base) = check_site(&sites, &domain, &text) {
                    let url = url::Url::parse(&base).unwrap();
                    let host = url.host_str().unwrap();
                    let known = sites.names().any(|name| sites.get(name).unwrap().hosts.app == base);
                    let below = host.strip_suffix(".datadoghq.com").is_some_and(|label| !label.contains('.'));
                    prop_assert!(known || below, "{text:?} leads to {host}");
                    prop_assert_eq!(&base, &format!("https://{}", host));
                }
            }
        }
    }

    #[test]
    fn a_subdomain_is_a_single_label() {
        let sites = sites();
        let domain = check_domain(&sites, "datadoghq.eu").unwrap();
        for text in ["a.b.datadoghq.eu", "a.datadoghq.com", ".datadoghq.eu", "-a.datadoghq.eu", "xn--a.datadoghq.eu"] {
            assert!(check_site(&sites, &domain, text).is_err(), "{text}");
        }
    }
}
