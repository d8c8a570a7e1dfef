//! What all requests to Datadog have in common: trusted certificates, user agent, and the wording of failures.

use reqwest::{Certificate, ClientBuilder, redirect};
use std::error::Error;
use std::path::Path;
use std::time::Duration;

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The certificate file cannot be used.
    #[error("datadog.ca_file {path}: {reason}")]
    Certificates {
        /// The path of the file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS or the resolver could not be set up.
    #[error("the HTTP client could not be set up: {0}")]
    Setup(#[source] reqwest::Error),
}

/// A builder for HTTP clients of any purpose. The client trusts the system's certificates and those of `ca_file`, uses
/// the proxies of the environment, follows no redirect, and speaks HTTP/1.1 only: a request that hangs or a connection
/// that is reset affects no other request.
///
/// # Errors
/// When the certificates cannot be read.
pub fn builder(ca_file: Option<&Path>) -> Result<ClientBuilder, SetupError> {
    // Another part of the process may have installed the same provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .user_agent(concat!("dogsled/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .http1_only();
    let Some(path) = ca_file else { return Ok(builder) };
    let certificates = |reason: String| SetupError::Certificates { path: path.display().to_string(), reason };
    let pem = std::fs::read(path).map_err(|error| certificates(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| certificates(error.to_string()))?;
    if found.is_empty() {
        return Err(certificates("it contains no PEM certificate".into()));
    }
    Ok(builder.tls_certs_merge(found))
}

/// The connect timeout for a request timeout.
pub fn connect_timeout(whole: Duration) -> Duration {
    whole.min(Duration::from_secs(10))
}

/// Reads at most `limit` bytes of an answer's body. One that breaks off yields the part received: the status matters,
/// and it has arrived.
pub async fn body(response: &mut reqwest::Response, limit: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < limit {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        body.extend_from_slice(&chunk[..chunk.len().min(limit - body.len())]);
    }
    body
}

/// An error with its causes, and without the address, whose query could hold secrets.
pub fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
