//! What must hold between values, and what a value of some form must be.

use super::problems::{Problems, join, nearest};
use super::units::format_duration;
use super::{Compression, Settings, journal, oauth};
use std::net::{IpAddr, SocketAddr};
use tracing_subscriber::filter::Targets;
use url::{Host, Url};

/// The longest path of a Unix socket, in bytes (unix(7): `sun_path` has 108 with its final zero).
const MAX_SOCKET_PATH: usize = 107;

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Checks a configuration that was read.
pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    check_ports(settings, problems);
    oauth::check(settings, problems);
    check_tenancy(settings, problems);
    check_delivery(settings, problems);
    journal::check(settings, problems);
    check_sites(settings, problems);
    check_log_level(&settings.log.level, problems);
}

fn check_ports(settings: &Settings, problems: &mut Problems) {
    let ingest = &settings.ingest;
    let ingest_at = listen_address("ingest.listen", &ingest.listen, problems);
    let admin_at = listen_address("admin.listen", &settings.admin.listen, problems);
    if ingest_at.is_some_and(|at| at.port() != 0 && admin_at == Some(at)) {
        let message = format!("{:?} is the address of ingest.listen too: choose another port", settings.admin.listen);
        problems.error("admin.listen", message);
    }
    if ingest.listen.is_empty() && ingest.socket.is_empty() {
        problems.error("ingest.listen", "is empty, and ingest.socket too: nothing could be received; set one of them");
    }
    if ingest.socket.len() > MAX_SOCKET_PATH {
        let message = format!("{:?} is too long for a socket: at most {MAX_SOCKET_PATH} bytes", ingest.socket);
        problems.error("ingest.socket", message);
    }
    let fine = problems.are_fine(&["ingest.require_token", "ingest.allow_anonymous"]);
    if let Some(at) = ingest_at.filter(|at| !is_loopback(at.ip()) && fine && !ingest.require_token) {
        if ingest.allow_anonymous {
            let message =
                format!("{at} is reachable from other machines, and everyone there may send for every tenant");
            problems.warning("ingest.listen", message);
        } else {
            let message = format!(
                "{at} is reachable from other machines, and they would need no token: set ingest.require_token = true, \
                 listen on 127.0.0.1, or set ingest.allow_anonymous = true if all of that network may send for every tenant"
            );
            problems.error("ingest.listen", message);
        }
    }
    if ingest.require_token && settings.tenants.values().all(|tenant| tenant.ingest_tokens.is_empty()) {
        problems
            .warning("ingest.require_token", "is set, but no tenant has ingest_tokens: every request will be refused");
    }
}

/// Reads an address to listen on; nothing for none or for a bad one, which is noted.
pub(super) fn listen_address(key: &str, text: &str, problems: &mut Problems) -> Option<SocketAddr> {
    if text.is_empty() {
        return None;
    }
    let numeric = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    let address = numeric.parse().ok();
    if address.is_none() {
        let port = text.trim_start_matches(':');
        let advice = match port.parse::<u16>() {
            Ok(port) => format!("write 127.0.0.1:{port}"),
            Err(_) => "write an IP address and a port, such as 127.0.0.1:8282 or [::1]:8282, or \"\" for none".into(),
        };
        problems.error(key, format!("{text:?} is no address to listen on: {advice}"));
    }
    address
}

pub(super) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn check_tenancy(settings: &Settings, problems: &mut Problems) {
    let tenancy = &settings.tenancy;
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if tenancy.header.is_empty() || !tenancy.header.bytes().all(is_token) {
        problems.error(
            "tenancy.header",
            format!("{:?} is no name of an HTTP header: write one such as X-Tenant", tenancy.header),
        );
    }
    let is_tag = |c: char| c.is_alphanumeric() || "_-./".contains(c);
    if tenancy.tag.is_empty() || !tenancy.tag.chars().all(is_tag) {
        let message = format!("{:?} is no key of a tag: use letters, digits, _ - . /, such as tenant", tenancy.tag);
        problems.error("tenancy.tag", message);
    }
    if settings.tenants.is_empty() {
        if !problems.has_error("tenants") {
            problems.warning(
                "tenants",
                "none here: nothing is accepted before one is added through the admin API, or as [tenants.<id>]",
            );
        }
    } else if let Some(default) = tenancy.default.as_ref().filter(|id| !settings.tenants.contains_key(*id)) {
        let names = || settings.tenants.keys().map(|id| id.as_str());
        let advice = match nearest(default.as_str(), names()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("name one of the tenants or add [{}]", join("tenants", default.as_str())),
        };
        problems.error("tenancy.default", format!("{:?} is no tenant; {advice}", default.as_str()));
    }
    for (id, tenant) in settings.tenants.iter().filter(|(_, tenant)| tenant.api_key.is_none()) {
        let key = join("tenants", id.as_str());
        if !problems.has_error(&key) {
            let message = format!("has no api_key or api_key_file for {}: its telemetry will be held", tenant.site);
            problems.warning(&key, message);
        }
    }
}

fn check_delivery(settings: &Settings, problems: &mut Problems) {
    let (batch, delivery) = (&settings.batch, &settings.delivery);
    let highest = match batch.compression {
        Compression::Zstd => 19,
        Compression::Auto | Compression::Gzip | Compression::Deflate => 9,
        Compression::None => 0,
    };
    if problems.are_fine(&["batch.compression"]) && batch.level > highest {
        let message = match highest {
            0 => format!("{} means nothing without compression: remove it", batch.level),
            _ => format!("{} is too high for this compression: 1 to {highest}, or 0 for its default", batch.level),
        };
        problems.error("batch.level", message);
    }
    let fine = problems.are_fine(&["delivery.retry_initial", "delivery.retry_max"]);
    if fine && delivery.retry_initial > delivery.retry_max {
        let (initial, max) = (format_duration(delivery.retry_initial), format_duration(delivery.retry_max));
        problems.error("delivery.retry_initial", format!("{initial} is more than delivery.retry_max, which is {max}"));
    }
    if delivery.concurrency_per_tenant > delivery.concurrency {
        problems
            .warning("delivery.concurrency_per_tenant", "is more than delivery.concurrency, which is never exceeded");
    }
}

fn check_sites(settings: &Settings, problems: &mut Problems) {
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

fn check_log_level(level: &str, problems: &mut Problems) {
    if let Err(error) = level.parse::<Targets>() {
        return problems.error("log.level", format!("{level:?} is no level and no list of directives: {error}"));
    }
    // A lone word that is no level would be taken as the name of a module, and everything of it be logged.
    for word in level.split(',').map(str::trim) {
        let is_level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        if !is_level && !word.contains(['=', ':', '[']) {
            let advice = match nearest(word, LEVELS) {
                Some(near) => format!("did you mean {near:?}?"),
                None => {
                    format!("write one of {}, or directives such as info,dogsled::deliver=debug", LEVELS.join(", "))
                }
            };
            problems.error("log.level", format!("{word:?} is no level; {advice}"));
        }
    }
}

/// Whether a text is the name of a host: labels of letters, digits and hyphens between dots.
pub(super) fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    text.len() <= 200 && text.split('.').all(is_label)
}

/// Checks the base address of a host and gives it in normal form: scheme and authority.
///
/// # Errors
/// When it is no absolute `http` or `https` address, holds more than that, or would send keys in plain text over a
/// network. User names and passwords in it are not shown.
pub(super) fn base_address(text: &str, allow_plaintext: bool) -> Result<String, String> {
    const ADVICE: &str = "write one such as https://api.datadoghq.com";
    let shown = without_user(text);
    let has_scheme = ["http://", "https://"].iter().any(|scheme| text.to_ascii_lowercase().starts_with(scheme));
    if !has_scheme || text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(format!("{shown:?} is no http:// or https:// address: {ADVICE}"));
    }
    let url = Url::parse(text).map_err(|error| format!("{shown:?} is no address ({error}): {ADVICE}"))?;
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        return Err(format!("{shown:?} holds a user name or password: {ADVICE}"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{shown:?} holds more than scheme, host and port: {ADVICE}"));
    }
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => is_loopback(ip.into()),
        Some(Host::Ipv6(ip)) => is_loopback(ip.into()),
        None => false,
    };
    if url.scheme() == "http" && !loopback && !allow_plaintext {
        return Err(format!(
            "{shown:?} would send API keys unencrypted over a network: use https://, or set datadog.allow_plaintext = true"
        ));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// An address without what stands before its last `@`.
fn without_user(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}://[redacted]{}", &text[..scheme], &text[at..]),
        (None, Some(at)) => format!("[redacted]{}", &text[at..]),
        _ => text.to_owned(),
    }
}
