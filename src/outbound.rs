//! What every request toward Datadog has in common: whom it trusts, what it calls itself, and how its failures are told.

use reqwest::{Certificate, ClientBuilder, redirect};
use std::error::Error;
use std::path::Path;
use std::time::Duration;

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The certificate file.
    #[error("datadog.ca_file {path}: {reason}")]
    Certificates {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS or the resolver could not be set up.
    #[error("the HTTP client could not be set up: {0}")]
    Setup(#[source] reqwest::Error),
}

/// A client to be finished by what it is for. It trusts the system's certificates and those of `ca_file`, goes through
/// the proxies of the environment, follows no redirect, and keeps to HTTP/1.1: a request that hangs or a connection that
/// is reset touches no other request.
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
        return Err(certificates("it holds no PEM certificate".into()));
    }
    Ok(builder.tls_certs_merge(found))
}

/// The longest wait for a connection, within the time of a whole request.
pub fn connect_timeout(whole: Duration) -> Duration {
    whole.min(Duration::from_secs(10))
}

/// At most `limit` bytes of an answer's body. One that breaks off gives what there was: the status has arrived, and it is
/// what counts.
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
