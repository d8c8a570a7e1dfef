//! The HTTP client toward Datadog: submissions and the validation of keys.

use super::judge::{self, Answer};
use crate::outbound::{self, SetupError};
use crate::payload::Payload;
use crate::settings::{Delivery, Site};
use crate::types::{Endpoint, HostRole, Secret, printable};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

/// Submits payloads to Datadog; a simulation has another implementation.
pub trait Transport: fmt::Debug + Send + Sync {
    /// Submits a payload. An error is a network's or a time-out's, in message that name no key.
    fn submit<'a>(&'a self, to: &'a Destination, payload: &'a Payload) -> Soon<'a, Result<Answer, String>>;

    /// Asks Datadog whether a key is good (docs.datadoghq.com/api/latest/authentication).
    fn validate<'a>(&'a self, to: &'a Destination) -> Soon<'a, Validity>;
}

/// A boxed future.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A client for all tenants. Connections are HTTP/1.1, as the Agent's are: a request that hangs or a connection that is
/// reset touches no other request.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
}

/// The addresses and the key of one tenant.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Indexed by endpoint.
    urls: Vec<reqwest::Url>,
    validate: reqwest::Url,
    key: HeaderValue,
}

/// Why a client or a destination could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Certificates or TLS cannot be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// An address of the site is invalid.
    #[error("the address {url} of a Datadog site is not valid: {reason}")]
    Url {
        /// The address.
        url: String,
        /// The parser's reason.
        reason: String,
    },
    /// The API key cannot be a header.
    #[error("the API key holds characters that no header can carry; Datadog's keys are 32 hexadecimal digits")]
    Key,
}

/// The result of validating a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Validity {
    /// Datadog knows the key.
    Valid,
    /// Datadog refuses the key, with this message.
    Invalid(String),
    /// Unknown: the request failed or was answered otherwise.
    Unknown(String),
}

const DD_API_KEY: HeaderName = HeaderName::from_static("dd-api-key");
const ORIGIN: HeaderName = HeaderName::from_static("dd-evp-origin");
const ORIGIN_VERSION: HeaderName = HeaderName::from_static("dd-evp-origin-version");

/// Bytes of an answer's body that are kept.
const MESSAGE_BYTES: usize = 2048;

impl Client {
    /// A client with the configured time-outs that trusts the system's certificates and those of `ca_file`.
    ///
    /// # Errors
    /// When the certificates cannot be read or TLS cannot be set up.
    pub fn new(delivery: &Delivery, ca_file: Option<&Path>) -> Result<Self, ClientError> {
        let http = outbound::builder(ca_file)?
            .timeout(delivery.timeout)
            .connect_timeout(outbound::connect_timeout(delivery.timeout))
            .pool_max_idle_per_host(delivery.concurrency)
            // Below the idle time-out of common load balancers, so that they do not close first.
            .pool_idle_timeout(Duration::from_secs(50))
            .build();
        Ok(Self { http: http.map_err(SetupError::Setup)? })
    }

    async fn post(&self, to: &Destination, payload: &Payload) -> Result<Answer, String> {
        let endpoint = payload.kind.endpoint();
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(DD_API_KEY, to.key.clone());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(payload.kind.content_type()));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(encoding) = payload.encoding.header() {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        if endpoint == Endpoint::Logs {
            headers.insert(ORIGIN, HeaderValue::from_static("dogsled"));
            headers.insert(ORIGIN_VERSION, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
        }
        let request = self.http.post(to.urls[endpoint as usize].clone()).headers(headers).body(payload.body.clone());
        let response = request.send().await.map_err(outbound::words)?;
        read(response, to.key()).await
    }

    async fn ask(&self, to: &Destination) -> Validity {
        let request = self.http.get(to.validate.clone()).header(DD_API_KEY, to.key.clone());
        let answer = match request.send().await {
            Ok(response) => read(response, to.key()).await,
            Err(error) => Err(outbound::words(error)),
        };
        match answer {
            Ok(answer) if (200..300).contains(&answer.status) => Validity::Valid,
            Ok(answer) if matches!(answer.status, 401 | 403) => {
                Validity::Invalid(format!("{} {}", answer.status, answer.message))
            }
            Ok(answer) => Validity::Unknown(format!("{} {}", answer.status, answer.message)),
            Err(error) => Validity::Unknown(error),
        }
    }
}

impl Transport for Client {
    fn submit<'a>(&'a self, to: &'a Destination, payload: &'a Payload) -> Soon<'a, Result<Answer, String>> {
        Box::pin(self.post(to, payload))
    }

    fn validate<'a>(&'a self, to: &'a Destination) -> Soon<'a, Validity> {
        Box::pin(self.ask(to))
    }
}

impl Destination {
    /// The addresses of `site`, with a tenant's key.
    ///
    /// # Errors
    /// When an address or the key is not usable.
    pub fn new(site: &Site, key: &Secret) -> Result<Self, ClientError> {
        let url = |role: HostRole, path: &str| {
            let url = format!("{}{path}", site.hosts.base(role));
            reqwest::Url::parse(&url).map_err(|error| ClientError::Url { url, reason: error.to_string() })
        };
        let mut key = HeaderValue::from_str(key.expose()).map_err(|_| ClientError::Key)?;
        key.set_sensitive(true);
        Ok(Self {
            urls: Endpoint::ALL
                .into_iter()
                .map(|endpoint| url(endpoint.host_role(), endpoint.path()))
                .collect::<Result<_, _>>()?,
            validate: url(HostRole::Api, "/api/v1/validate")?,
            key,
        })
    }

    /// The API key.
    pub fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }
}

/// Reads an answer to a request with a key, which its message may quote, and which nobody is to see.
#[expect(clippy::disallowed_methods, reason = "on real connections, which no simulation has")]
async fn read(mut response: reqwest::Response, key: &[u8]) -> Result<Answer, String> {
    let status = response.status().as_u16();
    let limits = judge::read_limits(SystemTime::now(), |name| response.headers().get(name)?.to_str().ok());
    // A whole small answer is read even on success, so that the connection can be used again.
    let body = outbound::body(&mut response, MESSAGE_BYTES).await;
    let message = match (200..300).contains(&status) {
        true => String::new(),
        false => {
            let text = String::from_utf8_lossy(&body);
            printable(&text.trim().replace(&*String::from_utf8_lossy(key), "[redacted]")).into_owned()
        }
    };
    Ok(Answer { status, message, ..limits })
}
