//! The connect listener: where Datadog sends the customer's browser back to.

use super::callback::LONGEST;
use super::connect::Returned;
use super::context::Oauth;
use super::pages;
use crate::serve::{self, Bounds, Browsers, Connection, ListenError, Listener, Service};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// The most connections at once: few customers connect at the same moment.
const CONNECTIONS: usize = 256;

/// How long a request's header may take, and how long a connection may idle.
const IDLE: Duration = Duration::from_secs(15);

/// Bytes of a request's header: the longest query that is read, and what browsers add.
const HEADER: usize = LONGEST + 24 * 1024;

/// A bound connect listener.
#[derive(Debug)]
pub struct Connect(Listener);

impl Connect {
    /// Binds the address; port 0 chooses a free one.
    ///
    /// # Errors
    /// When the address is in use or does not belong to this host.
    pub async fn bind(address: &str) -> Result<Self, ListenError> {
        Listener::tcp(address, "oauth.listen").await.map(Self)
    }

    /// The address it listens on.
    pub fn address(&self) -> &str {
        self.0.name()
    }

    /// Serves until OAuth [has ended](Oauth::ended) and browsers have received their pages. If it is dropped earlier,
    /// authorisations in progress go on.
    pub async fn serve(self, oauth: Oauth) {
        serve::serve(vec![self.0], Arc::new(Pages(oauth.clone())), oauth.ended()).await;
    }
}

/// The pages that browsers get.
struct Pages(Oauth);

impl Service for Pages {
    type Body = Full<Bytes>;

    async fn call(self: Arc<Self>, request: Request<Incoming>, _: Connection) -> Page {
        answer(&self.0, &request).await
    }

    fn bounds(&self) -> Bounds {
        Bounds { name: "connect", connections: CONNECTIONS, idle: IDLE, write: IDLE, header: HEADER, half_close: true }
    }
}

type Page = Response<Full<Bytes>>;

async fn answer(oauth: &Oauth, request: &Request<Incoming>) -> Page {
    // Datadog's redirect is a person's own way here; nothing else that a browser sends is meant.
    let names = oauth.0.settings.get().oauth.hosts();
    let browsers = Browsers { names: &names, key: "oauth.allowed_hosts", navigation: true };
    if let Err(refused) = browsers.check(request) {
        return page(refused.status(), pages::refused(&refused));
    }
    if request.uri().path() != "/oauth/callback" {
        return page(StatusCode::NOT_FOUND, pages::nothing_here());
    }
    if request.method() != Method::GET {
        let mut page = page(StatusCode::METHOD_NOT_ALLOWED, pages::use_get());
        page.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return page;
    }
    match oauth.returned(request.uri().query().unwrap_or_default()).await {
        Ok(Returned::Connected(connected)) => {
            let location = oauth.success_location("tenant", connected.tenant.as_str());
            redirect(location, pages::connected(&connected))
        }
        Ok(Returned::Unconfirmed { ticket }) => {
            redirect(oauth.success_location("ticket", ticket.expose()), pages::unconfirmed(&ticket))
        }
        Err(error) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            page(status, pages::failed(&error))
        }
    }
}

/// Sends the browser on, where there is somewhere to send it.
fn redirect(location: Option<HeaderValue>, html: String) -> Page {
    let Some(location) = location else { return page(StatusCode::OK, html) };
    let mut page = page(StatusCode::SEE_OTHER, html);
    page.headers_mut().insert(header::LOCATION, location);
    page
}

/// The address of this page contains a code and a state: it must be neither cached nor passed on as a referrer.
fn page(status: StatusCode, html: String) -> Page {
    const POLICY: &str =
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    let mut page = Response::new(Full::new(Bytes::from(html)));
    *page.status_mut() = status;
    for (name, value) in HEADERS {
        page.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    page
}

impl Oauth {
    /// Where the browser of a customer who has approved is sent, if configured, with one more parameter.
    fn success_location(&self, name: &str, value: &str) -> Option<HeaderValue> {
        let mut url = url::Url::parse(&self.0.settings.get().oauth.success_url).ok()?;
        url.query_pairs_mut().append_pair(name, value);
        HeaderValue::from_str(url.as_str()).ok()
    }
}
