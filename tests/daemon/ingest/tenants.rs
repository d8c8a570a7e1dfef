//! Whose a request is, by all the places that can say so.

use super::port::{ACME_TOKEN, LOG, Port, post};
use dogsled::types::TenantId;

const OTHER_KEY: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn every_place_that_names_a_tenant_is_read() {
    let port = Port::open(|settings| settings.tenancy.default = Some(TenantId::new("globex").unwrap())).await;
    let tagged = r#"{"message":"m","timestamp":1700000000000,"ddtags":"env:prod,tenant:acme"}"#;
    for (path, headers, body, tenant) in [
        ("/tenants/acme/api/v2/logs", String::new(), LOG, "acme"),
        ("/api/v2/logs", "x-tenant: acme\r\n".into(), LOG, "acme"),
        ("/api/v2/logs", format!("DD-API-KEY: {ACME_TOKEN}\r\n"), LOG, "acme"),
        ("/api/v2/logs", format!("DD-API-KEY: {}\r\n", ACME_TOKEN.to_uppercase()), LOG, "acme"),
        (&format!("/api/v2/logs?dd-api-key={ACME_TOKEN}"), String::new(), LOG, "acme"),
        (&format!("/api/v2/logs?api_key={ACME_TOKEN}"), format!("DD-API-KEY: {OTHER_KEY}\r\n"), LOG, "acme"),
        (&format!("/v1/input/{ACME_TOKEN}"), String::new(), LOG, "acme"),
        ("/api/v2/logs", String::new(), tagged, "acme"),
        ("/api/v2/logs", format!("DD-API-KEY: {OTHER_KEY}\r\n"), tagged, "acme"),
        ("/api/v2/logs", String::new(), LOG, "globex"),
    ] {
        let before = port.counts().len();
        let reply = port.send(post(path, &headers, body)).await;
        assert!(reply.status < 300, "{path} {headers} {reply:?}");
        assert_eq!(port.counts()[before..], [format!("{tenant} logs 1")], "{path} {headers}");
    }
}

#[tokio::test]
async fn one_request_may_carry_many_tenants_and_their_tag_goes_no_further() {
    let port = Port::open(|_| {}).await;
    let logs = r#"[{"message":"1","ddtags":"tenant:acme,a:b"},{"message":"2","ddtags":"tenant:globex"},
        {"message":"3","ddtags":"tenant:acme"}]"#;
    assert_eq!(port.send(post("/api/v2/logs", "", logs)).await.status, 202);
    let mut counts = port.counts();
    counts.sort();
    assert_eq!(counts, ["acme logs 2", "globex logs 1"]);
    for items in port.items() {
        assert!(!items.contains("tenant:"), "{items}");
    }
}

#[tokio::test]
async fn a_request_without_a_tenant_is_told_how_to_name_one() {
    let port = Port::open(|_| {}).await;
    port.send(post("/api/v2/logs", "", LOG)).await.refused(401, &["X-Tenant", "/tenants/", "tag tenant:"]);
    let key = format!("DD-API-KEY: {OTHER_KEY}\r\n");
    port.send(post("/api/v2/logs", &key, LOG)).await.refused(403, &["unknown token"]);
    port.send(post("/api/v2/logs", "X-Tenant: nobody\r\n", LOG)).await.refused(403, &["nobody", "header"]);
    port.send(post("/tenants/a%20b/api/v2/logs", "", LOG)).await.refused(400, &["a%20b", "characters"]);
    port.send(post("/api/v2/logs", "X-Tenant: \r\n", LOG)).await.refused(400, &["characters"]);
    let two = "X-Tenant: acme\r\nX-Tenant: globex\r\n";
    port.send(post("/api/v2/logs", two, LOG)).await.refused(400, &["several tenants"]);
    assert_eq!(port.counts(), [""; 0]);
}

#[tokio::test]
async fn a_required_token_is_required_of_every_request() {
    let port = Port::open(|settings| settings.ingest.require_token = true).await;
    port.send(post("/tenants/acme/api/v2/logs", "", LOG)).await.refused(401, &["DD-API-KEY"]);
    let other = format!("DD-API-KEY: {OTHER_KEY}\r\nX-Tenant: acme\r\n");
    port.send(post("/api/v2/logs", &other, LOG)).await.refused(403, &["unknown token"]);
    let token = format!("DD-API-KEY: {ACME_TOKEN}\r\n");
    port.send(post("/tenants/globex/api/v2/logs", &token, LOG)).await.refused(403, &["globex"]);
    let tagged = r#"{"message":"m","ddtags":"tenant:globex"}"#;
    port.send(post("/api/v2/logs", &token, tagged)).await.refused(403, &["globex", "tag"]);
    assert_eq!(port.send(post("/tenants/acme/api/v2/logs", &token, LOG)).await.status, 202);
    assert_eq!(port.counts(), ["acme logs 1"]);
}
