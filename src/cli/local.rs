//! HTTP to the daemon's local port, as senders do it.

use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// A client for requests to this host: without proxies, whatever the environment says.
///
/// # Errors
/// When TLS cannot be set up.
pub(super) fn client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    builder(timeout).build()
}

/// A builder for such a client.
pub(super) fn builder(timeout: Duration) -> reqwest::ClientBuilder {
    // Addresses are plain HTTP, but without a provider there is no client at all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("dogsled/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(timeout)
}

/// The innermost cause of an error: reqwest's own text is only the outermost part.
pub(super) fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_timeout() { "it does not answer in time".into() } else { cause.to_string() }
}

/// How to reach a listener from this host.
pub(super) fn url_of(listen: &str) -> Option<String> {
    if listen.is_empty() {
        return None;
    }
    let Ok(mut address) = listen.parse::<SocketAddr>() else { return Some(format!("http://{listen}")) };
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Some(format!("http://{address}"))
}

/// The errors of an answer in any of Datadog's forms, else its text.
pub(super) fn errors_of(text: &str) -> String {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Refusal {
        Errors { errors: Vec<Told> },
        Message { message: String },
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Told {
        Text(String),
        Object { detail: String },
    }
    let told = |told| match told {
        Told::Text(text) | Told::Object { detail: text } => text,
    };
    match serde_json::from_str(text) {
        Ok(Refusal::Errors { errors }) => errors.into_iter().map(told).collect::<Vec<_>>().join("; "),
        Ok(Refusal::Message { message }) => message,
        Err(_) => text.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_listener_is_reached_over_loopback() {
        assert_eq!(url_of("0.0.0.0:8282").as_deref(), Some("http://127.0.0.1:8282"));
        assert_eq!(url_of("[::]:8282").as_deref(), Some("http://[::1]:8282"));
        assert_eq!(url_of("10.1.2.3:80").as_deref(), Some("http://10.1.2.3:80"));
        assert_eq!(url_of("localhost:8282").as_deref(), Some("http://localhost:8282"));
        assert_eq!(url_of(""), None);
    }

    #[test]
    fn errors_are_read_in_each_form() {
        for text in [
            r#"{"errors":["a","b"]}"#,
            r#"{"errors":[{"status":"400","title":"Bad Request","detail":"a"},{"detail":"b"}]}"#,
            r#"{"code":400,"message":"a; b"}"#,
            " a; b\n",
        ] {
            assert_eq!(errors_of(text), "a; b");
        }
    }
}
