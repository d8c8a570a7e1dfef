//! Connecting a tenant as in life: the application asks the daemon to begin, the customer approves at Datadog, and is
//! sent back to the daemon. A plain HTTP client is the customer's browser.

use crate::cli::local;
use hyper::header::LOCATION;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// What could not be done to connect a tenant.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub(super) struct ConnectError {
    what: String,
    why: String,
}

/// The partner's application, which may use the daemon's admin API, and the browser of whoever is its customer.
pub(super) struct Application {
    /// The admin API.
    url: String,
    token: String,
    /// The session that its customers are signed in with.
    session: String,
    http: reqwest::Client,
}

/// What the daemon shows of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// Datadog's id of its API key.
    pub(super) key: Option<String>,
    /// When its tokens were granted.
    pub(super) tokens: Option<String>,
}

impl Application {
    /// One that uses the admin API there, with the operator's token.
    #[expect(clippy::disallowed_methods, reason = "nobody is to guess it, with a seed or without")]
    pub(super) fn new(url: String, token: String) -> Result<Self, reqwest::Error> {
        let session = format!("{:032x}", rand::random::<u128>());
        Ok(Self { url, token, session, http: local::client(Duration::from_secs(60))? })
    }

    /// Adds a tenant.
    pub(super) async fn add(&self, tenant: &str) -> Result<(), ConnectError> {
        self.ask(Method::POST, "tenants", Some(json!({ "id": tenant }))).await.map(drop)
    }

    /// Makes an ingest token for a tenant.
    pub(super) async fn ingest_token(&self, tenant: &str) -> Result<String, ConnectError> {
        let path = format!("tenants/{tenant}/tokens");
        let made = self.ask(Method::POST, &path, Some(json!({ "label": "demo" }))).await?;
        text(&made, "/token").ok_or_else(|| failed(path, "no token in the answer"))
    }

    /// What the daemon shows of a tenant.
    pub(super) async fn show(&self, tenant: &str) -> Result<Shown, ConnectError> {
        let view = self.ask(Method::GET, &format!("tenants/{tenant}"), None).await?;
        Ok(Shown { key: text(&view, "/key/datadog_id"), tokens: text(&view, "/tokens/granted_at") })
    }

    /// Begins an authorisation, as when Datadog has sent a customer to the application; gives where to send the browser.
    pub(super) async fn begin(&self, tenant: &str) -> Result<String, ConnectError> {
        let path = format!("tenants/{tenant}/connect");
        let from = json!({ "domain": "datadoghq.com", "site": "https://app.datadoghq.com", "session": self.session });
        let begun = self.ask(Method::POST, &path, Some(from)).await?;
        text(&begun, "/authorize_url").ok_or_else(|| failed(path, "no authorize_url in the answer"))
    }

    /// Opens Datadog's consent page and approves for an organisation; gives where the browser is sent back to.
    pub(super) async fn approve(&self, authorize_url: &str, organisation: &str) -> Result<String, ConnectError> {
        let what = "Datadog's consent page";
        let page = self.http.get(authorize_url).send().await.map_err(|error| failed(what, local::words(error)))?;
        if page.status() != StatusCode::OK {
            return Err(failed(what, page.status()));
        }
        // The page's form has the parameters of its address, and posts to the same path.
        let (path, query) = authorize_url.split_once('?').unwrap_or((authorize_url, ""));
        let form = format!("{query}&org={organisation}&decision=approve");
        let request = self.http.post(path).header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer = request.send().await.map_err(|error| failed(what, local::words(error)))?;
        let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        location.map(str::to_owned).ok_or_else(|| failed(what, answer.status()))
    }

    /// Goes where Datadog sends the browser back to, the daemon's connect listener, which sends it to the application with
    /// a ticket; the application confirms that it is the session which began.
    pub(super) async fn come_back(&self, tenant: &str, location: &str) -> Result<(), ConnectError> {
        let what = "dogsled's callback page";
        let page = self.http.get(location).send().await.map_err(|error| failed(what, local::words(error)))?;
        let onward = page.headers().get(LOCATION).and_then(|location| url::Url::parse(location.to_str().ok()?).ok());
        let ticket =
            onward.and_then(|url| url.query_pairs().find(|(name, _)| name == "ticket").map(|(_, it)| it.into_owned()));
        let ticket = ticket.ok_or_else(|| failed(what, page.status()))?;
        let path = format!("tenants/{tenant}/connect/confirm");
        self.ask(Method::POST, &path, Some(json!({ "ticket": ticket, "session": self.session }))).await.map(drop)
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, ConnectError> {
        let what = || format!("{method} {path} of the admin API");
        let mut request = self.http.request(method.clone(), format!("{}/{path}", self.url)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.map_err(|error| failed(what(), local::words(error)))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| failed(what(), local::words(error)))?;
        if !status.is_success() {
            return Err(failed(what(), format!("{status}: {}", local::errors_of(&text))));
        }
        serde_json::from_str(&text).map_err(|error| failed(what(), error))
    }
}

fn failed(what: impl Into<String>, why: impl std::fmt::Display) -> ConnectError {
    ConnectError { what: what.into(), why: why.to_string() }
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}
