//! The HTTP client toward Datadog: submissions and the validation of keys.

use super::judge::{self, Answer};
use crate::outbound::{self, SetupError};
use crate::payload::Payload;
use crate::settings::{Delivery, Site};
use crate::types::{Endpoint, HostRole, Secret, printable};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use tracing::warn;

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
///
/// The pool of connections is replaced every few minutes, so that changes of Datadog's addresses are followed: one that is
/// never idle would be kept for ever.
#[derive(Debug, Clone)]
pub struct Client(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    settings: Delivery,
    ca_file: Option<PathBuf>,
    life: Duration,
    current: Mutex<(reqwest::Client, Instant)>,
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

/// Connections are used for so long, as the Agent's may be (`forwarder_connection_reset_interval`).
const LIFE: Duration = Duration::from_secs(300);

/// Bytes of an answer's body that are kept.
const MESSAGE_BYTES: usize = 2048;

impl Client {
    /// A client with the configured time-outs that trusts the system's certificates and those of `ca_file`.
    ///
    /// # Errors
    /// When the certificates cannot be read or TLS cannot be set up.
    pub fn new(delivery: &Delivery, ca_file: Option<&Path>) -> Result<Self, ClientError> {
        Self::with_life(delivery, ca_file, LIFE)
    }

    fn with_life(delivery: &Delivery, ca_file: Option<&Path>, life: Duration) -> Result<Self, ClientError> {
        let http = connect(delivery, ca_file)?;
        let (settings, ca_file) = (delivery.clone(), ca_file.map(Path::to_owned));
        Ok(Self(Arc::new(Pool { settings, ca_file, life, current: Mutex::new((http, Instant::now())) })))
    }

    /// The present pool. When it has come to its end of life, the next one is made beside it: that reads certificates.
    fn http(&self) -> reqwest::Client {
        let mut current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.1.elapsed() >= self.0.life {
            // The next attempt is due after as long again.
            current.1 = Instant::now();
            let pool = self.0.clone();
            tokio::task::spawn_blocking(move || match connect(&pool.settings, pool.ca_file.as_deref()) {
                Ok(http) => pool.current.lock().unwrap_or_else(PoisonError::into_inner).0 = http,
                Err(error) => warn!("connections to Datadog are kept beyond their end of life: {error}"),
            });
        }
        current.0.clone()
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
        let request = self.http().post(to.urls[endpoint as usize].clone()).headers(headers).body(payload.body.clone());
        let response = request.send().await.map_err(outbound::words)?;
        read(response, to.key()).await
    }

    async fn ask(&self, to: &Destination) -> Validity {
        let request = self.http().get(to.validate.clone()).header(DD_API_KEY, to.key.clone());
        let answer = match request.send().await {
            Ok(response) => read(response, to.key()).await,
            Err(error) => Err(outbound::words(error)),
        };
        match answer {
            Ok(answer) if (200..300).contains(&answer.status) && !answer.is_page => Validity::Valid,
            // Datadog answers keys that are not of its form with a page; any other page is a proxy's.
            Ok(answer) if matches!(answer.status, 401 | 403) && !(answer.is_page && to.key_is_well_formed()) => {
                Validity::Invalid(format!("{} {}", answer.status, answer.message))
            }
            Ok(answer) => Validity::Unknown(format!("{} {}", answer.status, answer.message)),
            Err(error) => Validity::Unknown(error),
        }
    }
}

fn connect(delivery: &Delivery, ca_file: Option<&Path>) -> Result<reqwest::Client, SetupError> {
    outbound::builder(ca_file)?
        .timeout(delivery.timeout)
        .connect_timeout(outbound::connect_timeout(delivery.timeout))
        .pool_max_idle_per_host(delivery.concurrency)
        // Below the idle time-out of common load balancers, so that they do not close first.
        .pool_idle_timeout(Duration::from_secs(50))
        .build()
        .map_err(SetupError::Setup)
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

    /// Whether the key is 32 hexadecimal digits, as Datadog's are.
    fn key_is_well_formed(&self) -> bool {
        self.key().len() == 32 && self.key().iter().all(u8::is_ascii_hexdigit)
    }
}

/// Reads an answer to a request with a key, which its message may quote, and which nobody is to see.
#[expect(clippy::disallowed_methods, reason = "on real connections, which no simulation has")]
async fn read(mut response: reqwest::Response, key: &[u8]) -> Result<Answer, String> {
    let status = response.status().as_u16();
    let limits = judge::read_limits(SystemTime::now(), |name| response.headers().get(name)?.to_str().ok());
    // A whole small answer is read even on success, so that the connection can be used again.
    let body = outbound::body(&mut response, MESSAGE_BYTES).await;
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_page = judge::is_page(content_type, &body);
    let text = String::from_utf8_lossy(&body);
    let text = text.trim().replace(&*String::from_utf8_lossy(key), "[redacted]");
    let text = printable(&text).into_owned();
    let message = match (200..300).contains(&status) {
        false => text,
        true if is_page => format!("a web page instead of Datadog's answer; is there a proxy on the way? {text}"),
        true => String::new(),
    };
    Ok(Answer { status, message, is_page, ..limits })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use http_body_util::Empty;
    use hyper::body::{Bytes, Incoming};
    use hyper_util::rt::TokioIo;
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn connections_have_an_end_of_life() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        tokio::spawn({
            let connections = connections.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::Relaxed);
                    let answer = |_: hyper::Request<Incoming>| async {
                        Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
                    };
                    let service = hyper::service::service_fn(answer);
                    tokio::spawn(
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                    );
                }
            }
        });
        let mut site = Settings::default().datadog.sites.get("datadoghq.com").unwrap().clone();
        site.hosts.api = url;
        let to = Destination::new(&site, &Secret::new("k".repeat(32))).unwrap();
        let (short, long) = (Duration::from_millis(50), Duration::from_secs(3600));
        for (life, renewed) in [(long, false), (short, true)] {
            let client = Client::with_life(&Settings::default().delivery, None, life).unwrap();
            let before = connections.load(Ordering::Relaxed);
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(20) && connections.load(Ordering::Relaxed) < before + 3 {
                assert_eq!(client.validate(&to).await, Validity::Valid);
                if !renewed && begun.elapsed() > Duration::from_millis(200) {
                    break;
                }
            }
            let made = connections.load(Ordering::Relaxed) - before;
            assert_eq!(made, if renewed { 3 } else { 1 }, "{life:?}");
        }
    }
}
