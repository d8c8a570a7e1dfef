//! What all requests to Datadog have in common: trusted certificates, user agent, and the wording of failures.

use reqwest::{Certificate, ClientBuilder, NoProxy, Proxy, redirect};
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
    /// A proxy of the environment.
    #[error("the environment variable {variable} names no proxy that can be used: {source}")]
    Proxy {
        /// The variable.
        variable: String,
        /// The reason.
        source: reqwest::Error,
    },
    /// TLS or the resolver could not be set up.
    #[error("the HTTP client could not be set up: {0}")]
    Setup(#[source] reqwest::Error),
}

/// A builder for HTTP clients of any purpose. The client trusts the system's certificates and those of `ca_file`, uses
/// the proxies of the environment except to loopback, follows no redirect, and speaks HTTP/1.1 only: a request that hangs or a connection
/// that is reset affects no other request.
///
/// # Errors
/// When the certificates cannot be read.
pub fn builder(ca_file: Option<&Path>) -> Result<ClientBuilder, SetupError> {
    // Another part of the process may have installed the same provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = proxied(|name| std::env::var(name).ok())?
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

/// Requests to loopback hold API keys in plain text and never leave the host.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// A client that goes through the proxies of an environment. Plain text goes through one only beyond loopback, where
/// `datadog.allow_plaintext` has allowed it.
fn proxied(variable: impl Fn(&str) -> Option<String>) -> Result<ClientBuilder, SetupError> {
    let first = |names: &[&str]| {
        let set = |name: &&str| Some(((*name).to_owned(), variable(name).filter(|value| !value.is_empty())?));
        names.iter().find_map(set)
    };
    let spared = first(&["NO_PROXY", "no_proxy"]).map(|(_, spared)| format!("{spared},")).unwrap_or_default();
    let spared = NoProxy::from_string(&format!("{spared}{LOOPBACK}"));
    // In a CGI script HTTP_PROXY is a header of the request.
    let is_cgi = variable("REQUEST_METHOD").is_some();
    let http: &[&str] = if is_cgi { &["http_proxy"] } else { &["http_proxy", "HTTP_PROXY"] };
    let all = || first(&["ALL_PROXY", "all_proxy"]);
    let mut builder = reqwest::Client::builder().no_proxy();
    for (found, proxy) in [
        (first(&["HTTPS_PROXY", "https_proxy"]).or_else(all), Proxy::https as fn(String) -> reqwest::Result<Proxy>),
        (first(http).or_else(all), Proxy::http),
    ] {
        let Some((variable, address)) = found else { continue };
        let proxy = proxy(address).map_err(|source| SetupError::Proxy { variable, source: source.without_url() })?;
        builder = builder.proxy(proxy.no_proxy(spared.clone()));
    }
    Ok(builder)
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A server that answers the first request it gets with `status`.
    async fn server(status: u16) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            let answer = format!("HTTP/1.1 {status} Fine\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (address, serving)
    }

    #[tokio::test]
    async fn loopback_is_never_proxied() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        for proxies in [&["HTTP_PROXY"][..], &["http_proxy"], &["ALL_PROXY"], &["HTTP_PROXY", "NO_PROXY"]] {
            let ((proxy, proxying), (site, serving)) = (server(502).await, server(202).await);
            let environment = |name: &str| {
                let value = if name == "NO_PROXY" { "example.com".to_owned() } else { format!("http://{proxy}") };
                proxies.contains(&name).then_some(value)
            };
            let client = proxied(environment).unwrap().build().unwrap();
            let port = site.split(':').nth(1).unwrap();
            assert_eq!(client.get(format!("http://localhost:{port}/")).send().await.unwrap().status(), 202);
            assert!(serving.await.unwrap().starts_with("GET / "));
            // Others go through the proxy, which resolves their names.
            assert_eq!(client.get("http://datadog.invalid/").send().await.unwrap().status(), 502);
            assert!(proxying.await.unwrap().starts_with("GET http://datadog.invalid/ "));
        }
    }

    #[test]
    fn a_bad_proxy_is_named_without_its_password() {
        let environment = |name: &str| (name == "HTTPS_PROXY").then(|| "http://user:hunter2@[".to_owned());
        let error = proxied(environment).unwrap_err().to_string();
        assert!(error.contains("HTTPS_PROXY") && !error.contains("hunter2"), "{error}");
    }
}
