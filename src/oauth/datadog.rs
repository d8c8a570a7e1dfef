//! Requests to Datadog's OAuth server and for API keys. Each goes to the API host of a known site, and only those for
//! tokens carry the client's secret.

use super::answers::{self, Creation, Grant, NoGrant, Received, Validation};
use super::words::without;
use crate::outbound::{self, SetupError};
use crate::settings::{self, Settings, Site};
use crate::types::{Current, HostRole, Secret};
use reqwest::header::{self, HeaderValue};
use reqwest::{Method, RequestBuilder};
use std::time::Duration;
use zeroize::Zeroizing;

/// The timeout of one request.
const PATIENCE: Duration = Duration::from_secs(20);

/// The most bytes read of an answer, which has a few hundred.
const LONGEST: usize = 64 * 1024;

/// Datadog, for one OAuth client.
#[derive(Debug)]
pub(super) struct Datadog {
    http: reqwest::Client,
    client: Current<Client>,
}

/// The OAuth client.
#[derive(Debug)]
struct Client {
    id: String,
    secret: Secret,
    redirect_uri: String,
}

impl Client {
    fn new(oauth: &settings::Oauth) -> Self {
        Self {
            id: oauth.client_id.clone(),
            secret: oauth.client_secret.clone().unwrap_or_else(|| Secret::new("")),
            redirect_uri: oauth.redirect_uri.clone(),
        }
    }
}

/// A request without an answer.
enum Failure {
    /// It was never sent.
    NotSent(String),
    /// It may have arrived.
    NoAnswer(String),
}

impl Failure {
    fn words(self) -> String {
        match self {
            Self::NotSent(words) | Self::NoAnswer(words) => words,
        }
    }
}

impl Datadog {
    pub fn new(settings: &Settings) -> Result<Self, SetupError> {
        let http = outbound::builder(settings.datadog.ca_file.as_deref())?
            .timeout(PATIENCE)
            .connect_timeout(outbound::connect_timeout(PATIENCE))
            // A connection for each request, and no silent retries: a failure to connect then proves that Datadog has
            // seen nothing, so that no key was created.
            .pool_max_idle_per_host(0)
            .retry(reqwest::retry::never())
            .build()
            .map_err(SetupError::Setup)?;
        Ok(Self { http, client: Current::new(Client::new(&settings.oauth)) })
    }

    /// Uses another OAuth client from the next request on.
    pub fn reload(&self, oauth: &settings::Oauth) {
        self.client.set(Client::new(oauth));
    }

    /// Exchanges an authorisation code for tokens.
    pub async fn exchange(&self, site: &Site, code: &Secret, verifier: &Secret) -> Result<Grant, NoGrant> {
        let client = self.client.get();
        let form = [
            ("grant_type", "authorization_code"),
            ("redirect_uri", &client.redirect_uri),
            ("code", code.expose()),
            ("code_verifier", verifier.expose()),
        ];
        self.tokens(site, &client, &form, &[code, verifier]).await
    }

    /// Exchanges a refresh token for new tokens.
    pub async fn refresh(&self, site: &Site, refresh: &Secret) -> Result<Grant, NoGrant> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.expose())];
        self.tokens(site, &self.client.get(), &form, &[refresh]).await
    }

    async fn tokens(
        &self,
        site: &Site,
        client: &Client,
        form: &[(&str, &str)],
        secrets: &[&Secret],
    ) -> Result<Grant, NoGrant> {
        let secrets = [secrets, &[&client.secret]].concat();
        match self.post_form(site, client, "/oauth2/v1/token", form).await {
            Ok(received) => answers::tokens(&received, &secrets),
            Err(failure) => Err(NoGrant::Later(without(&failure.words(), &secrets))),
        }
    }

    /// Revokes a token and the grant behind it. The answer is 200 for unknown tokens too (RFC 7009).
    pub async fn revoke(&self, site: &Site, refresh: &Secret) -> Result<(), NoGrant> {
        let form = [("token", refresh.expose()), ("token_type_hint", "refresh_token")];
        let client = self.client.get();
        let secrets = [refresh, &client.secret];
        match self.post_form(site, &client, "/oauth2/v1/revoke", &form).await {
            Ok(received) => answers::revocation(&received, &secrets),
            Err(failure) => Err(NoGrant::Later(without(&failure.words(), &secrets))),
        }
    }

    /// Creates the one API key that this client may have in the organisation of an access token.
    pub async fn create_key(&self, site: &Site, access: &Secret) -> Creation {
        let Some(bearer) = sensitive(&format!("Bearer {}", access.expose())) else {
            return Creation::NotSent("the access token contains characters that are not allowed in a header".into());
        };
        let request = self.request(Method::POST, site, "/api/v2/api_keys/marketplace");
        match send(request.header(header::AUTHORIZATION, bearer)).await {
            Ok(received) => answers::creation(&received, access),
            Err(Failure::NotSent(words)) => Creation::NotSent(words),
            Err(Failure::NoAnswer(words)) => Creation::Lost(words),
        }
    }

    /// Validates a key and asks for its organisation, which not every site can tell.
    pub async fn validate(&self, site: &Site, key: &Secret) -> Validation {
        match self.validate_at(site, "/api/v2/validate", key).await {
            Validation::NoSuchEndpoint => match self.validate_at(site, "/api/v1/validate", key).await {
                Validation::Valid(_) => Validation::Valid(None),
                Validation::NoSuchEndpoint => {
                    Validation::Unknown("the site has neither endpoint for validating a key".into())
                }
                other => other,
            },
            other => other,
        }
    }

    async fn validate_at(&self, site: &Site, path: &str, key: &Secret) -> Validation {
        let Some(header) = sensitive(key.expose()) else {
            return Validation::Invalid("the key contains characters that are not allowed in a header".into());
        };
        match send(self.request(Method::GET, site, path).header("dd-api-key", header)).await {
            Ok(received) => answers::validation(&received, key),
            Err(failure) => Validation::Unknown(failure.words()),
        }
    }

    async fn post_form(
        &self,
        site: &Site,
        client: &Client,
        path: &str,
        form: &[(&str, &str)],
    ) -> Result<Received, Failure> {
        let client = [("client_id", client.id.as_str()), ("client_secret", client.secret.expose())];
        let pairs = client.iter().chain(form);
        let body = Zeroizing::new(form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish());
        let request = self.request(Method::POST, site, path);
        let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        send(request.header(header::CONTENT_TYPE, content_type).body(body.as_bytes().to_vec())).await
    }

    /// Where a site's hosts are is decided by [`Sites`](crate::settings::Sites) alone.
    fn request(&self, method: Method, site: &Site, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", site.hosts.base(HostRole::Api));
        self.http.request(method, url).header(header::ACCEPT, "application/json")
    }
}

async fn send(request: RequestBuilder) -> Result<Received, Failure> {
    match request.send().await {
        Ok(mut response) => {
            let status = response.status().as_u16();
            Ok(Received { status, body: outbound::body(&mut response, LONGEST).await })
        }
        Err(error) if error.is_connect() || error.is_builder() => Err(Failure::NotSent(outbound::words(error))),
        Err(error) => Err(Failure::NoAnswer(outbound::words(error))),
    }
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
