//! The OAuth flow as a partner's daemon and a customer's browser go through it.

use super::harness::{FakeIntake, JSON, Reply, logs};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const REDIRECT: &str = "http://127.0.0.1:9/callback?from=dogsled";

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn query(pairs: Pairs<'_>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

async fn start(client: Value) -> FakeIntake {
    let fakeintake = FakeIntake::start(&["--keys", "none"]);
    let mut full = json!({
        "client_id": "partner", "client_secret": "s3cret", "name": "Par<t>ner", "redirect_uris": [REDIRECT],
        "orgs": [{ "id": "1", "name": "One & Co", "domain": "datadoghq.eu" }, { "id": "2", "name": "Two" }],
    });
    full.as_object_mut().unwrap().extend(client.as_object().unwrap().clone());
    fakeintake.control("clients", full).await;
    fakeintake
}

/// The parameters of a good authorisation request, changed by `changes`.
fn authorization(changes: Pairs<'_>) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let mut parameters = BTreeMap::from([
        ("redirect_uri", REDIRECT),
        ("client_id", "partner"),
        ("response_type", "code"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("state", "st&te"),
    ]);
    parameters.extend(changes.iter().copied());
    query(&parameters.into_iter().collect::<Vec<_>>())
}

/// The parameters with which the browser is sent back.
fn sent_back(reply: &Reply) -> BTreeMap<String, String> {
    assert_eq!(reply.status, 302, "{reply:?}");
    let query = reply.header("location").strip_prefix(REDIRECT).and_then(|rest| rest.strip_prefix('&'));
    form_urlencoded::parse(query.expect("the redirect URI").as_bytes()).into_owned().collect()
}

impl FakeIntake {
    async fn authorize(&self, changes: Pairs<'_>) -> Reply {
        self.get(&format!("/oauth2/v1/authorize?{}", authorization(changes))).await
    }

    /// The customer's decision.
    async fn decide(&self, decision: &str, org: &str) -> Reply {
        let form = authorization(&[("decision", decision), ("org", org)]);
        let request = self.request(Method::POST, "/oauth2/v1/authorize").body(form);
        self.send(request.header("Content-Type", "application/x-www-form-urlencoded")).await
    }

    async fn code(&self, org: &str) -> String {
        sent_back(&self.decide("approve", org).await)["code"].clone()
    }

    async fn post_form(&self, path: &str, pairs: Pairs<'_>) -> Reply {
        let request = self.request(Method::POST, path).body(query(pairs));
        self.send(request.header("Content-Type", "application/x-www-form-urlencoded")).await
    }

    async fn exchange(&self, code: &str, verifier: &str) -> Reply {
        let pairs = [
            ("grant_type", "authorization_code"),
            ("client_id", "partner"),
            ("client_secret", "s3cret"),
            ("redirect_uri", REDIRECT),
            ("code", code),
            ("code_verifier", verifier),
        ];
        self.post_form("/oauth2/v1/token", &pairs).await
    }

    async fn tokens(&self, org: &str) -> (String, String) {
        let tokens = self.exchange(&self.code(org).await, VERIFIER).await.json();
        let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
        (text("access_token"), text("refresh_token"))
    }

    async fn refresh(&self, token: &str) -> Reply {
        let pairs = [
            ("grant_type", "refresh_token"),
            ("client_id", "partner"),
            ("client_secret", "s3cret"),
            ("refresh_token", token),
        ];
        self.post_form("/oauth2/v1/token", &pairs).await
    }

    async fn create_key(&self, access_token: &str) -> Reply {
        let request = self.request(Method::POST, "/api/v2/api_keys/marketplace");
        self.send(request.header("Authorization", format!("Bearer {access_token}"))).await
    }
}

fn invalid_code() -> Value {
    json!({ "error": "invalid_grant", "error_description": "Invalid code or code verifier" })
}

#[tokio::test]
async fn a_created_key_submits_for_its_organisation() {
    let fakeintake = start(json!({})).await;
    let page = fakeintake.authorize(&[]).await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.text.contains("Par&lt;t&gt;ner") && page.text.contains("One &amp; Co"), "{}", page.text);
    assert!(page.text.contains(r#"name="state" value="st&amp;te""#), "{}", page.text);

    let back = sent_back(&fakeintake.decide("approve", "1").await);
    let (code, organisation) = (back["code"].clone(), back["dd_oid"].clone());
    let expected = [
        ("client_id", "partner"),
        ("code", &code),
        ("dd_oid", &organisation),
        ("dd_org_name", "One & Co"),
        ("domain", "datadoghq.eu"),
        ("site", "https://app.datadoghq.com"),
        ("state", "st&te"),
    ];
    assert_eq!(back, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());

    let reply = fakeintake.exchange(&code, VERIFIER).await;
    assert_eq!(reply.status, 200);
    let tokens = reply.json();
    assert_eq!((&tokens["expires_in"], &tokens["token_type"]), (&json!(3_600), &json!("Bearer")));

    let created = fakeintake.create_key(tokens["access_token"].as_str().unwrap()).await;
    assert_eq!(created.status, 201);
    let created = created.json();
    let key = created["data"]["attributes"]["key"].as_str().unwrap();
    assert_eq!((&created["data"]["type"], key.len()), (&json!("api_keys"), 32));
    assert!(key.ends_with(created["data"]["attributes"]["last4"].as_str().unwrap()));
    assert_eq!(fakeintake.get(&format!("/api/v1/validate?api_key={key}")).await.json(), json!({ "valid": true }));
    assert_eq!(fakeintake.get(&format!("/api/v2/validate?api_key={key}")).await.json()["data"]["id"], organisation);
    let request = fakeintake.request(Method::POST, "/api/v2/logs").header("DD-API-KEY", key);
    assert_eq!(fakeintake.send(request.header("Content-Type", JSON).body(logs(3))).await.status, 202);
    assert_eq!(fakeintake.counts(key, "logs").await["items"], 3);
}

#[tokio::test]
async fn an_organisation_has_one_key_per_client() {
    let fakeintake = start(json!({})).await;
    let (one, _) = fakeintake.tokens("1").await;
    let (two, _) = fakeintake.tokens("2").await;
    let first = fakeintake.create_key(&one).await;
    assert_eq!(first.status, 201);
    let second = fakeintake.create_key(&one).await;
    let conflict = json!({ "errors": ["An API key with this name already exists"] });
    assert_eq!((second.status.as_u16(), second.json()), (409, conflict));
    assert_eq!(fakeintake.create_key(&two).await.status, 201);
    let key = first.json()["data"]["attributes"]["key"].clone();
    fakeintake.control("keys", json!({ "key": key, "org": "1", "valid": false, "client_id": "partner" })).await;
    assert_eq!(fakeintake.create_key(&one).await.status, 201);
}

#[tokio::test]
async fn a_lost_answer_leaves_an_unknown_key() {
    let fakeintake = start(json!({})).await;
    let (access, _) = fakeintake.tokens("1").await;
    let path = "/api/v2/api_keys/marketplace";
    fakeintake.fault(json!({ "path": path, "times": 1, "effect": { "answer_lost": {} } })).await;
    let request = fakeintake.request(Method::POST, path).header("Authorization", format!("Bearer {access}"));
    assert!(request.send().await.is_err());
    assert_eq!(fakeintake.create_key(&access).await.status, 409);
}

#[tokio::test]
async fn a_wrong_verifier_or_reused_code_is_refused() {
    let fakeintake = start(json!({})).await;
    let code = fakeintake.code("1").await;
    let wrong = "w".repeat(43);
    let reply = fakeintake.exchange(&code, &wrong).await;
    assert_eq!((reply.status.as_u16(), reply.json()), (400, invalid_code()));
    // It is spent, even so.
    assert_eq!(fakeintake.exchange(&code, VERIFIER).await.json(), invalid_code());
    let code = fakeintake.code("1").await;
    assert_eq!(fakeintake.exchange(&code, VERIFIER).await.status, 200);
    assert_eq!(fakeintake.exchange(&code, VERIFIER).await.json(), invalid_code());
    let counts = fakeintake.get("/_fakeintake/oauth").await.json();
    assert_eq!((&counts["approvals"], &counts["exchanges"], &counts["refused"]), (&json!(2), &json!(1), &json!(3)));
}

#[tokio::test]
async fn a_bad_authorisation_request_is_shown_or_redirected() {
    let fakeintake = start(json!({})).await;
    for (change, text) in [
        (("client_id", "other"), "invalid_request - Invalid client_id parameter value"),
        (("redirect_uri", "http://127.0.0.1:9/elsewhere"), "invalid_request - Mismatching redirect URI"),
    ] {
        let reply = fakeintake.authorize(&[change]).await;
        assert_eq!(reply.status, 400);
        assert!(reply.text.contains(text), "{}", reply.text);
    }
    for (change, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("code_challenge", ""), "invalid_request"),
    ] {
        let back = sent_back(&fakeintake.authorize(&[change]).await);
        assert_eq!((back["error"].as_str(), back["state"].as_str()), (error, "st&te"));
        assert!(!back.contains_key("code"));
    }
    let back = sent_back(&fakeintake.decide("deny", "1").await);
    assert_eq!((back["error"].as_str(), back["state"].as_str()), ("access_denied", "st&te"));
    assert_eq!(fakeintake.decide("approve", "3").await.status, 400);
}

#[tokio::test]
async fn an_unauthenticated_client_gets_the_documented_errors() {
    let fakeintake = start(json!({})).await;
    let grant = ("grant_type", "refresh_token");
    let cases: [(Pairs<'_>, u16, &str); 5] = [
        (&[grant, ("client_id", "partner")], 401, "invalid_client"),
        (&[grant, ("client_id", "partner"), ("client_secret", "wrong")], 400, "invalid_client"),
        (&[grant, ("client_id", "other"), ("client_secret", "s3cret")], 400, "invalid_client"),
        (&[grant, ("client_id", "partner"), ("client_secret", "s3cret")], 400, "invalid_request"),
        (
            &[("grant_type", "password"), ("client_id", "partner"), ("client_secret", "s3cret")],
            400,
            "unsupported_grant_type",
        ),
    ];
    for (pairs, status, error) in cases {
        let reply = fakeintake.post_form("/oauth2/v1/token", pairs).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["error"]), (status, &json!(error)), "{pairs:?}");
    }
    let request = fakeintake.request(Method::POST, "/oauth2/v1/token").header("Content-Type", "text/plain");
    assert_eq!(fakeintake.send(request.body("grant_type=refresh_token")).await.json(), invalid_code());
}

#[tokio::test]
async fn tokens_are_given_for_json_too() {
    let fakeintake = start(json!({})).await;
    let (_, refresh) = fakeintake.tokens("1").await;
    let body = json!({
        "grant_type": "refresh_token", "client_id": "partner", "client_secret": "s3cret", "refresh_token": refresh,
    });
    let request = fakeintake.request(Method::POST, "/oauth2/v1/token").header("Content-Type", JSON);
    assert_eq!(fakeintake.send(request.body(body.to_string())).await.status, 200);
}

#[tokio::test]
async fn a_refresh_rotates_as_configured() {
    for (rotation, rotates, old_works) in [("replaced", true, false), ("added", true, true), ("kept", false, true)] {
        let fakeintake = start(json!({ "rotation": rotation, "expires_in": 60 })).await;
        let (_, old) = fakeintake.tokens("1").await;
        let refreshed = fakeintake.refresh(&old).await.json();
        assert_eq!(refreshed["expires_in"], 60, "{rotation}");
        assert_eq!(refreshed.get("refresh_token").is_some_and(|new| *new != old), rotates, "{rotation}");
        let again = fakeintake.refresh(&old).await;
        assert_eq!(again.status.is_success(), old_works, "{rotation}");
        if !old_works {
            assert_eq!((again.status.as_u16(), &again.json()["error"]), (400, &json!("invalid_grant")));
        }
    }
}

#[tokio::test]
async fn expired_tokens_refresh_and_revoked_ones_do_not() {
    let fakeintake = start(json!({})).await;
    let (access, refresh) = fakeintake.tokens("1").await;
    let expired = fakeintake.control("tokens/expire", json!({ "org": "1" })).await;
    assert_eq!(expired, json!({ "expired": 1 }));
    let reply = fakeintake.create_key(&access).await;
    assert_eq!((reply.status.as_u16(), reply.json()), (401, json!({ "errors": ["Unauthorized"] })));
    let refreshed = fakeintake.refresh(&refresh).await.json();
    let refresh = refreshed["refresh_token"].as_str().unwrap();
    fakeintake.control("tokens/revoke", json!({ "org": "1", "client_id": "partner" })).await;
    assert_eq!(fakeintake.refresh(refresh).await.json()["error"], "invalid_grant");
    assert_eq!(fakeintake.create_key(refreshed["access_token"].as_str().unwrap()).await.status, 401);
}

#[tokio::test]
async fn revoking_succeeds_for_known_and_unknown_tokens() {
    let fakeintake = start(json!({})).await;
    let (access, refresh) = fakeintake.tokens("1").await;
    for token in ["unknown", &refresh] {
        let pairs = [("client_id", "partner"), ("client_secret", "s3cret"), ("token", token)];
        assert_eq!(fakeintake.post_form("/oauth2/v1/revoke", &pairs).await.status, 200);
    }
    assert_eq!(fakeintake.refresh(&refresh).await.status, 400);
    assert_eq!(fakeintake.create_key(&access).await.status, 401);
    let pairs = [("client_id", "partner"), ("token", "x")];
    assert_eq!(fakeintake.post_form("/oauth2/v1/revoke", &pairs).await.status, 401);
}

#[tokio::test]
async fn a_client_without_the_scope_gets_no_key() {
    let fakeintake = start(json!({ "may_create_keys": false })).await;
    let (access, _) = fakeintake.tokens("1").await;
    let reply = fakeintake.create_key(&access).await;
    assert_eq!((reply.status.as_u16(), reply.json()), (403, json!({ "errors": ["Forbidden"] })));
}
