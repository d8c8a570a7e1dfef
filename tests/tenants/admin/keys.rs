//! Tokens that expire, keys and authorisations that are revoked.

use crate::operator::{Datadog, Operator};
use crate::support::{key_of, until};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn a_token_refresh_keeps_the_key() {
    let datadog = Datadog::start(8).await;
    let daemon = datadog.setup(&[]).start().await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    operator.connect(&datadog, "acme", "alpha").await;
    let before = operator.show("acme").await;
    until("a refresh", async || {
        (operator.show("acme").await["tokens"]["granted_at"] != before["tokens"]["granted_at"]).then_some(())
    })
    .await;
    assert_eq!(datadog.control(Method::GET, "oauth", json!(null)).await["refused"], 0, "no token was used twice");
    assert_eq!(operator.show("acme").await["key"]["created_at"], before["key"]["created_at"]);
    daemon.logs("acme", [1]).await;
    datadog.wait_logs("alpha", &[1]).await;
}

#[tokio::test]
async fn a_revoked_key_is_replaced_automatically() {
    let datadog = Datadog::start(3600).await;
    let daemon = datadog.setup(&["fixed"]).start().await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    operator.connect(&datadog, "acme", "alpha").await;
    let first = datadog.keys("alpha").await;
    datadog.revoke_keys("alpha").await;
    daemon.logs("acme", [1, 2]).await;
    daemon.logs("fixed", [9]).await;
    datadog.fakeintake.wait_items("fixed", "logs", 1).await;
    until("another key", async || (!datadog.keys("alpha").await.is_empty()).then_some(())).await;
    datadog.wait_logs("alpha", &[1, 2]).await;
    assert_ne!(datadog.keys("alpha").await, first);
    let shown = operator.wait_state("acme", "active").await;
    assert!(shown["last_error"]["message"].as_str().unwrap().contains("403"), "{shown}");
}

#[tokio::test]
async fn telemetry_is_held_until_the_customer_reconnects() {
    let datadog = Datadog::start(3600).await;
    let daemon = datadog.setup(&[]).start().await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    operator.connect(&datadog, "acme", "alpha").await;
    daemon.logs("acme", [1]).await;
    datadog.wait_logs("alpha", &[1]).await;

    datadog.revoke_keys("alpha").await;
    datadog.revoke_tokens("alpha").await;
    daemon.logs("acme", [2, 3]).await;
    let shown = operator.wait_state("acme", "unauthorized").await;
    let shown = if shown["to_do"].is_null() {
        until("instructions", async || Some(operator.show("acme").await).filter(|shown| !shown["to_do"].is_null()))
            .await
    } else {
        shown
    };
    assert!(shown["to_do"].as_str().unwrap().contains("connects again"), "{shown}");
    assert_eq!(shown["queue"]["items"], 2);

    operator.connect(&datadog, "acme", "alpha").await;
    datadog.wait_logs("alpha", &[2, 3]).await;
    assert!(operator.wait_state("acme", "active").await["held_for"].is_null());
}

#[tokio::test]
async fn an_operators_key_works_and_can_be_replaced() {
    let datadog = Datadog::start(3600).await;
    let daemon = datadog.setup(&[]).start().await;
    let operator = Operator::of(&daemon);
    datadog.fakeintake.set_key("bad", false).await;
    let added = operator.post("tenants", json!({ "id": "acme", "api_key": key_of("bad") })).await;
    assert_eq!((added.status, &added.body["state"]), (201, &json!("active")), "{}", added.body);
    assert!(!added.body.to_string().contains(&key_of("bad")));
    daemon.logs("acme", [1]).await;
    operator.wait_state("acme", "unauthorized").await;
    let patch = operator.request(Method::PATCH, "tenants/acme").header("Content-Type", "application/json");
    let changes = json!({ "api_key": key_of("good"), "display_name": "Acme, Inc." });
    let changed = operator.expect(200, patch.body(changes.to_string())).await;
    assert_eq!((&changed["display_name"], &changed["key"]["origin"]), (&json!("Acme, Inc."), &json!("static")));
    datadog.fakeintake.wait_items("good", "logs", 1).await;
    operator.wait_state("acme", "active").await;
}
