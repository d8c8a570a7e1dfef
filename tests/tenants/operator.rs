//! A daemon with an OAuth client, the operator's requests to it, and a customer's browser.

use crate::support::{Daemon, FakeIntake, Setup, client, until};
use reqwest::Method;
use serde_json::{Value, json};

const CLIENT_ID: &str = "partner-client";
pub const CLIENT_SECRET: &str = "Sup3r/Secret+Of=The&Partner";
const REDIRECT: &str = "https://connect.example.com/oauth/callback";

/// Datadog's stand-in, with one OAuth client.
pub struct Datadog {
    pub fakeintake: FakeIntake,
    http: reqwest::Client,
}

/// The operator of one daemon.
pub struct Operator {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// An answer of the admin API.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Datadog {
    /// With access tokens that live for so many seconds.
    pub async fn start(expires_in: u64) -> Self {
        let this = Self { fakeintake: FakeIntake::start(), http: client() };
        let org = |id: &str| json!({ "id": id, "name": format!("The {id} & Co"), "domain": "datadoghq.com" });
        let client = json!({
            "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "name": "Partner", "redirect_uris": [REDIRECT],
            "orgs": [org("alpha"), org("beta")], "expires_in": expires_in,
        });
        this.control(Method::POST, "clients", client).await;
        this
    }

    /// A daemon with this client, that knows these static tenants.
    pub fn setup(&self, tenants: &[&str]) -> Setup {
        Setup::new(&self.fakeintake, tenants)
            .set("datadog.sites.\"datadoghq.com\".app", self.fakeintake.url.as_str())
            .set("oauth.client_id", CLIENT_ID)
            .set("oauth.client_secret", CLIENT_SECRET)
            .set("oauth.redirect_uri", REDIRECT)
    }

    pub async fn control(&self, method: Method, path: &str, body: Value) -> Value {
        let request =
            self.http.request(method, format!("{}/_fakeintake/{path}", self.fakeintake.url)).body(body.to_string());
        serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap()
    }

    /// The good keys that the client has created for an organisation.
    pub async fn keys(&self, org: &str) -> Vec<String> {
        let keys = self.control(Method::GET, "keys", Value::Null).await;
        let good = |key: &&Value| key["valid"] == true && key["org"] == org && key["client_id"] == CLIENT_ID;
        keys.as_array().unwrap().iter().filter(good).map(|key| key["key"].as_str().unwrap().to_owned()).collect()
    }

    /// The customer revokes the integration's key in Datadog.
    pub async fn revoke_keys(&self, org: &str) {
        for key in self.keys(org).await {
            let revoked = json!({ "key": key, "org": org, "valid": false, "client_id": CLIENT_ID });
            self.control(Method::POST, "keys", revoked).await;
        }
    }

    /// The customer revokes the authorisation in Datadog.
    pub async fn revoke_tokens(&self, org: &str) {
        let revoked = self.control(Method::POST, "tokens/revoke", json!({ "org": org })).await;
        assert_ne!(revoked["revoked"], 0, "there was an authorisation");
    }

    /// The ids of all logs that arrived with a key, in order.
    pub async fn logs(&self, key: &str) -> Vec<u64> {
        let answer = self.control(Method::GET, &format!("received?items=true&kind=logs&key={key}"), Value::Null).await;
        let items = answer["items"].as_array().unwrap().iter();
        items.map(|row| row["item"]["id"].as_u64().unwrap()).collect()
    }

    /// Waits until exactly these logs have arrived with the present key of an organisation.
    pub async fn wait_logs(&self, org: &str, ids: &[u64]) {
        self.wait_logs_with(&self.keys(org).await[0], ids).await;
    }

    /// Waits until exactly these logs have arrived with a key.
    pub async fn wait_logs_with(&self, key: &str, ids: &[u64]) {
        until(&format!("logs {ids:?} with {key}"), async || (self.logs(key).await.len() >= ids.len()).then_some(()))
            .await;
        let mut arrived = self.logs(key).await;
        arrived.sort_unstable();
        assert_eq!(arrived, ids);
    }

    /// What a customer's browser brings back from the consent page.
    pub async fn consent(&self, authorize_url: &str, org: &str, decision: &str) -> String {
        let page = self.http.get(authorize_url).send().await.unwrap();
        assert_eq!(page.status(), 200, "the consent page");
        let (_, query) = authorize_url.split_once('?').unwrap();
        let form = format!("{query}&org={org}&decision={decision}");
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let post = http.post(format!("{}/oauth2/v1/authorize", self.fakeintake.url)).body(form);
        let post = post.header("Content-Type", "application/x-www-form-urlencoded").send().await.unwrap();
        assert_eq!(post.status(), 302, "the way back");
        let location = post.headers()["location"].to_str().unwrap();
        location.strip_prefix(REDIRECT).and_then(|rest| rest.strip_prefix('?')).unwrap().to_owned()
    }
}

impl Operator {
    pub fn of(daemon: &Daemon) -> Self {
        let token = std::fs::read_to_string(daemon.state_dir().join("admin.token")).unwrap().trim().to_owned();
        Self { http: client(), url: format!("{}/admin/v1", daemon.url("admin")), token }
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}/{path}", self.url)).bearer_auth(&self.token)
    }

    /// A request with no token, to be completed.
    pub fn anonymous(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}/{path}", self.url))
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
        Reply { status, headers, body }
    }

    pub async fn get(&self, path: &str) -> Value {
        self.expect(200, self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(self.request(Method::POST, path).header("Content-Type", "application/json").body(body.to_string()))
            .await
    }

    pub async fn expect(&self, status: u16, request: reqwest::RequestBuilder) -> Value {
        let reply = self.send(request).await;
        assert_eq!(reply.status, status, "{}", reply.body);
        reply.body
    }

    /// Does something to a tenant that needs no more words, and gives what it is then.
    pub async fn order(&self, tenant: &str, order: &str) -> Value {
        self.expect(200, self.request(Method::POST, &format!("tenants/{tenant}/{order}"))).await
    }

    pub async fn create(&self, tenant: &str) -> Value {
        let reply = self.post("tenants", json!({ "id": tenant })).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        reply.body
    }

    /// Changes a tenant, and gives what it is then.
    pub async fn change(&self, tenant: &str, changes: Value) -> Value {
        let request = self.request(Method::PATCH, &format!("tenants/{tenant}"));
        self.expect(200, request.header("Content-Type", "application/json").body(changes.to_string())).await
    }

    pub async fn show(&self, tenant: &str) -> Value {
        self.get(&format!("tenants/{tenant}")).await
    }

    /// Begins an authorisation in the tenant's session; gives where the browser is to go.
    pub async fn begin(&self, tenant: &str) -> String {
        self.begin_from(tenant, json!({ "domain": "datadoghq.com", "session": session_of(tenant) })).await
    }

    /// The same without a session, which `oauth.allow_unbound` has to allow.
    pub async fn begin_unbound(&self, tenant: &str) -> String {
        self.begin_from(tenant, json!({ "domain": "datadoghq.com" })).await
    }

    async fn begin_from(&self, tenant: &str, from: Value) -> String {
        let reply = self.post(&format!("tenants/{tenant}/connect"), from).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.body["authorize_url"].as_str().unwrap().to_owned()
    }

    /// Hands on what a browser brought back.
    pub async fn callback(&self, tenant: &str, query: &str) -> Reply {
        self.post("oauth/callback", json!({ "query": query, "tenant": tenant, "session": session_of(tenant) })).await
    }

    /// Connects a tenant to an organisation.
    pub async fn connect(&self, datadog: &Datadog, tenant: &str, org: &str) -> Value {
        let query = datadog.consent(&self.begin(tenant).await, org, "approve").await;
        let reply = self.callback(tenant, &query).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.body
    }

    /// Waits until a tenant is shown in a state.
    pub async fn wait_state(&self, tenant: &str, state: &str) -> Value {
        until(&format!("{tenant} to be {state}"), async || {
            Some(self.show(tenant).await).filter(|shown| shown["state"] == state)
        })
        .await
    }
}

/// What the application calls the session of a tenant's customer.
pub fn session_of(tenant: &str) -> String {
    format!("session-of-{tenant}")
}
