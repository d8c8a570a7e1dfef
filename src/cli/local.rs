//! HTTP to the daemon's local port, as its emitters do it.

use std::time::Duration;

/// A client for requests to this host: without proxies, whatever the environment says.
///
/// # Errors
/// When it cannot be set up.
pub(super) fn client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    // Addresses are plain HTTP, but without a provider there is no client at all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("dogsled/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(timeout)
        .build()
}

/// What went wrong, down to its cause: reqwest's own text is only the outermost part.
pub(super) fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_timeout() { "it does not answer in time".into() } else { cause.to_string() }
}
