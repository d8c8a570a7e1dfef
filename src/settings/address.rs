//! Addresses: to listen on, of Datadog's hosts, and for browsers.

use std::net::{IpAddr, SocketAddr};
use url::{Host, Url};

/// Reads an address to listen on; nothing for none.
///
/// # Errors
/// When it is none.
pub(super) fn listen_address(text: &str) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let numeric = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    numeric.parse().map(Some).map_err(|_| {
        let port = text.trim_start_matches(':');
        let advice = match port.parse::<u16>() {
            Ok(port) => format!("write 127.0.0.1:{port}"),
            Err(_) => "write an IP address and a port, such as 127.0.0.1:8282 or [::1]:8282, or \"\" for none".into(),
        };
        format!("{text:?} is no address to listen on: {advice}")
    })
}

pub(super) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn leads_to_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => is_loopback(ip.into()),
        Some(Host::Ipv6(ip)) => is_loopback(ip.into()),
        None => false,
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
    if url.scheme() == "http" && !leads_to_loopback(&url) && !allow_plaintext {
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

/// An address that a browser may be sent to. What is wrong is said without the address, whose query may hold anything.
pub(super) fn web_address(text: &str) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|_| "is no address: write one such as https://connect.example.com/oauth/callback")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user name or password: remove it".into());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if leads_to_loopback(&url) => Ok(url),
        _ => {
            Err("must begin with https:// (http:// is for loopback): what passes there must not be read on the way"
                .into())
        }
    }
}
