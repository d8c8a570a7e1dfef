//! Every refusal of the admin API, in its own words.

use crate::operator::{Datadog, Operator};
use crate::support::{FakeIntake, Setup};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn every_refusal_has_status_code_and_message() {
    let datadog = Datadog::start(3600).await;
    let daemon = datadog.setup(&["fixed"]).start().await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    let state = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let query = |rest: &str| json!({ "query": format!("state={state}{rest}"), "tenant": "acme" });
    let of_session = |mut request: Value| {
        request["session"] = "of acme".into();
        request
    };
    let ticket = || json!({ "ticket": "t", "session": "of acme" });
    let cases: Vec<(&str, &str, Value, u16, &str, &str)> = vec![
        ("POST", "tenants", json!({ "id": "a b" }), 400, "bad_request", "a b"),
        ("POST", "tenants", json!({ "id": "" }), 400, "bad_request", "tenant"),
        ("POST", "tenants", json!({}), 400, "bad_request", "id"),
        ("POST", "tenants", json!([1]), 400, "bad_request", "must be a JSON object"),
        ("POST", "tenants", json!({ "id": "b", "sight": "x" }), 400, "bad_request", "sight"),
        ("POST", "tenants", json!({ "id": "b", "site": "datadoghq.evil" }), 400, "bad_request", "datadoghq.eu"),
        ("POST", "tenants", json!({ "id": "b", "display_name": "x".repeat(201) }), 400, "bad_request", "200"),
        ("POST", "tenants", json!({ "id": "b", "display_name": "a\nb" }), 400, "bad_request", "control"),
        (
            "POST",
            "tenants",
            json!({ "id": "b", "display_name": "a\u{202e}b" }),
            400,
            "bad_request",
            "format characters",
        ),
        ("POST", "tenants", json!({ "id": "b", "api_key": "no key" }), 400, "bad_request", "api_key"),
        ("POST", "tenants", json!({ "id": "acme" }), 409, "tenant_exists", "acme"),
        ("POST", "tenants", json!({ "id": "fixed" }), 409, "static_tenant", "configuration file"),
        ("PATCH", "tenants/fixed", json!({}), 409, "static_tenant", "configuration file"),
        ("POST", "tenants/fixed/connect", json!({}), 409, "static_tenant", "configuration file"),
        ("POST", "tenants/fixed/pause", json!(null), 409, "static_tenant", "configuration file"),
        ("POST", "tenants/fixed/tokens", json!({}), 409, "static_tenant", "configuration file"),
        ("DELETE", "tenants/fixed", json!(null), 409, "static_tenant", "configuration file"),
        ("GET", "tenants/nobody", json!(null), 404, "unknown_tenant", "nobody"),
        ("PATCH", "tenants/nobody", json!({}), 404, "unknown_tenant", "nobody"),
        ("DELETE", "tenants/nobody", json!(null), 404, "unknown_tenant", "nobody"),
        ("POST", "tenants/nobody/connect", json!({}), 404, "unknown_tenant", "nobody"),
        ("POST", "tenants/nobody/disconnect", json!(null), 404, "unknown_tenant", "nobody"),
        ("POST", "tenants/nobody/pause", json!(null), 404, "unknown_tenant", "nobody"),
        ("POST", "tenants/nobody/held", json!({ "action": "drop" }), 404, "unknown_tenant", "nobody"),
        ("GET", "tenants/nobody/tokens", json!(null), 404, "unknown_tenant", "nobody"),
        ("POST", "tenants/nobody/tokens", json!({}), 404, "unknown_tenant", "nobody"),
        ("DELETE", "tenants/acme/tokens/0123", json!(null), 404, "unknown_token", "0123"),
        ("GET", "tenants/a%20b", json!(null), 400, "bad_request", "a b"),
        ("GET", "tenants/%zz", json!(null), 400, "bad_request", "%zz"),
        ("GET", "tenants/%ff", json!(null), 400, "bad_request", "UTF-8"),
        ("DELETE", "tenants/acme?telemetry=burn", json!(null), 400, "bad_request", "burn"),
        ("DELETE", "tenants/acme?force=true", json!(null), 400, "bad_request", "force"),
        ("POST", "tenants/acme/connect", json!({ "domain": "datadoghq.com.evil.example" }), 400, "bad_site", "evil"),
        ("POST", "tenants/acme/held", json!({ "action": "drop" }), 409, "nothing_held", "acme"),
        ("POST", "tenants/acme/held", json!({ "action": "burn" }), 400, "bad_request", "burn"),
        ("POST", "oauth/callback", json!({ "query": "code=x" }), 400, "missing_state", "state"),
        ("POST", "oauth/callback", query(""), 400, "missing_code", "code"),
        ("POST", "oauth/callback", query("&code=x"), 400, "missing_session", "begin again"),
        ("POST", "oauth/callback", of_session(query("&code=x")), 400, "unknown_state", "begin again"),
        ("POST", "tenants/acme/connect", json!({}), 400, "missing_session", "allow_unbound"),
        ("POST", "tenants/acme/connect", json!({ "session": "" }), 400, "bad_session", "4096"),
        ("POST", "tenants/acme/connect/confirm", json!({ "ticket": "t" }), 400, "bad_request", "session"),
        ("POST", "tenants/acme/connect/confirm", ticket(), 400, "unknown_ticket", "begin again"),
        ("POST", "tenants/nobody/connect/confirm", ticket(), 400, "unknown_ticket", "begin again"),
        ("POST", "tenants/fixed/connect/confirm", ticket(), 409, "static_tenant", "configuration file"),
        ("POST", "oauth/callback", json!({ "query": "", "tenant": "a b" }), 400, "bad_request", "a b"),
        ("GET", "nothing", json!(null), 404, "unknown_path", "openapi"),
        ("GET", "tenants/acme/nothing", json!(null), 404, "unknown_path", "openapi"),
        ("PUT", "tenants", json!(null), 405, "method", "POST"),
        ("GET", "tenants/acme/connect", json!(null), 405, "method", "POST"),
        ("POST", "tenants", json!({ "id": "b", "display_name": "x".repeat(70_000) }), 413, "too_large", "65536"),
    ];
    for (method, path, body, status, code, words) in cases {
        let mut request = operator.request(method.parse().unwrap(), path);
        if !body.is_null() {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        let reply = operator.send(request).await;
        let said = reply.body["errors"][0].as_str().unwrap_or_default();
        assert_eq!((reply.status, reply.body["code"].as_str()), (status, Some(code)), "{method} {path}: {said}");
        assert!(said.contains(words), "{method} {path}: {said}");
        assert_eq!(reply.headers.contains_key("allow"), status == 405, "{method} {path}");
    }
    let plain = operator.request(Method::POST, "tenants").header("Content-Type", "text/plain").body(r#"{"id":"b"}"#);
    assert_eq!(operator.expect(415, plain).await["code"], "media_type");
}

#[tokio::test]
async fn without_a_token_only_probes_answer() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["fixed"]).start().await;
    let operator = Operator::of(&daemon);
    for (path, authorization) in [
        ("tenants", None),
        ("nothing", None),
        ("openapi.json", None),
        ("tenants", Some("Bearer 0123456789abcdef")),
        ("tenants", Some("Basic YWRtaW46YWRtaW4=")),
        ("tenants", Some("Bearer")),
    ] {
        let mut request = operator.anonymous(Method::GET, path);
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        let reply = operator.send(request).await;
        assert_eq!((reply.status, &reply.body["code"]), (401, &json!("unauthorized")), "{path} {authorization:?}");
        assert!(reply.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"), "{:?}", reply.headers);
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(daemon.admin_status(path).await, 200, "{path}");
    }
    assert_eq!(operator.get("tenants").await["tenants"][0]["source"], "static");
}

#[tokio::test]
async fn no_answer_may_be_sniffed_or_cached() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &[]).start().await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    let token = operator.post("tenants/acme/tokens", json!({})).await.body["id"].as_str().unwrap().to_owned();
    for (method, path, status) in [
        ("GET", "status", 200),
        ("HEAD", "status", 200),
        ("GET", "openapi.json", 200),
        ("DELETE", &format!("tenants/acme/tokens/{token}"), 204),
        ("GET", "tenants/nobody", 404),
        ("PUT", "tenants", 405),
        ("GET", "../../metrics", 200),
        ("POST", "../../metrics", 405),
        ("GET", "../../readyz", 200),
        ("GET", "../../", 404),
    ] {
        let reply = operator.request(method.parse().unwrap(), path).send().await.unwrap();
        assert_eq!(reply.status(), status, "{method} {path}");
        let header = |name: &str| reply.headers().get(name).and_then(|value| value.to_str().ok());
        let told = (header("x-content-type-options"), header("cache-control"));
        assert_eq!(told, (Some("nosniff"), Some("no-store")), "{method} {path}");
    }
}

#[tokio::test]
async fn connecting_without_an_oauth_client_is_refused() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &[]).start().await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    let refused = operator.post("tenants/acme/connect", json!({ "domain": "datadoghq.com" })).await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("oauth_not_configured")));
    assert!(refused.body["errors"][0].as_str().unwrap().contains("oauth.client_id"));
    assert_eq!(operator.get("status").await["oauth"]["configured"], false);
}
