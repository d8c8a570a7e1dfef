//! Customers who connect another organisation than before.

use crate::operator::{Datadog, Operator};
use crate::support::{Daemon, Home, client, key_of, until};
use reqwest::Method;
use serde_json::{Value, json};

/// A tenant that was connected to alpha, has two logs waiting from then, and is connected to beta now.
async fn moved() -> (Datadog, Daemon, Operator) {
    let datadog = Datadog::start(3600).await;
    let daemon = datadog.setup(&[]).start().await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    operator.connect(&datadog, "acme", "alpha").await;
    operator.order("acme", "disconnect").await;
    daemon.logs("acme", [1, 2]).await;
    operator.connect(&datadog, "acme", "beta").await;
    daemon.logs("acme", [3]).await;
    let shown = operator.wait_state("acme", "paused").await;
    let names = (&shown["held_for"]["name"], &shown["organisation"]["name"]);
    assert_eq!(names, (&json!("The alpha & Co"), &json!("The beta & Co")), "{shown}");
    assert!(shown["to_do"].as_str().unwrap().contains("alpha"), "{shown}");
    assert_eq!(shown["queue"]["held_items"], 2, "{shown}");
    // Later telemetry is for beta, and does not wait.
    datadog.wait_logs("beta", &[3]).await;
    (datadog, daemon, operator)
}

#[tokio::test]
async fn held_telemetry_is_released_on_request() {
    let (datadog, _daemon, operator) = moved().await;
    let released = operator.post("tenants/acme/held", json!({ "action": "release" })).await;
    assert_eq!((released.status, &released.body["tenant"]["held_for"]), (200, &json!(null)), "{}", released.body);
    datadog.wait_logs("beta", &[1, 2, 3]).await;
    let again = operator.post("tenants/acme/held", json!({ "action": "release" })).await;
    assert_eq!((again.status, &again.body["code"]), (409, &json!("nothing_held")));
}

#[tokio::test]
async fn held_telemetry_alone_is_dropped_on_request() {
    let (_datadog, daemon, operator) = moved().await;
    let dropped = operator.post("tenants/acme/held", json!({ "action": "drop" })).await;
    assert_eq!((dropped.status, &dropped.body["dropped_items"]), (200, &json!(2)), "{}", dropped.body);
    assert_eq!(
        daemon.scrape().await.sum("dogsled_items_dropped_total", &[("tenant", "acme"), ("reason", "purged")]),
        2.0
    );
    operator.wait_state("acme", "active").await;
}

#[tokio::test]
async fn a_new_tenant_of_an_old_id_gets_nothing_of_the_old_one() {
    let datadog = Datadog::start(3600).await;
    let (setup, home) = (datadog.setup(&[]), Home::new());
    let daemon = setup.start_in(&home).await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    operator.connect(&datadog, "acme", "alpha").await;
    operator.order("acme", "pause").await;
    daemon.logs("acme", [1, 2]).await;
    let removed = operator.send(operator.request(Method::DELETE, "tenants/acme")).await;
    assert_eq!((removed.status, &removed.body["kept_items"]), (200, &json!(2)), "{}", removed.body);

    operator.create("acme").await;
    operator.connect(&datadog, "acme", "beta").await;
    daemon.logs("acme", [3]).await;
    datadog.wait_logs("beta", &[3]).await;
    daemon.stop().await;
    let daemon = setup.start_in(&home).await;
    let operator = Operator::of(&daemon);
    daemon.logs("acme", [4]).await;
    datadog.wait_logs("beta", &[3, 4]).await;
    let shown = operator.show("acme").await;
    assert_eq!(shown["queue"]["held_items"], 2, "{shown}");
    assert!(shown["to_do"].as_str().unwrap().contains("an earlier tenant acme"), "{shown}");
    let dropped = operator.post("tenants/acme/held", json!({ "action": "drop" })).await;
    assert_eq!((dropped.status, &dropped.body["dropped_items"]), (200, &json!(2)), "{}", dropped.body);
    daemon.wait_empty("acme").await;
}

#[tokio::test]
async fn a_former_organisation_gets_its_own_telemetry_alone() {
    let (datadog, daemon, operator) = moved().await;
    operator.order("acme", "disconnect").await;
    daemon.logs("acme", [4]).await;
    datadog.revoke_keys("alpha").await;
    operator.connect(&datadog, "acme", "alpha").await;
    datadog.wait_logs("alpha", &[1, 2]).await;
    daemon.logs("acme", [5]).await;
    datadog.wait_logs("alpha", &[1, 2, 5]).await;
    let shown = operator.show("acme").await;
    assert_eq!(shown["queue"]["held_items"], 1, "{shown}");
    datadog.wait_logs("beta", &[3]).await;
}

#[tokio::test]
async fn a_given_key_of_another_organisation_releases_nothing() {
    let datadog = Datadog::start(3600).await;
    let daemon = datadog.setup(&[]).start().await;
    let operator = Operator::of(&daemon);
    let [alpha, beta] = ["alpha", "beta"].map(|organisation| key_of(&format!("given-{organisation}")));
    for (key, organisation) in [(&alpha, "alpha"), (&beta, "beta")] {
        datadog.control(Method::POST, "keys", json!({ "key": key, "org": organisation, "valid": true })).await;
    }
    let added = operator.post("tenants", json!({ "id": "acme", "api_key": alpha })).await;
    assert_eq!(added.status, 201, "{}", added.body);
    daemon.logs("acme", [1]).await;
    datadog.wait_logs_with(&alpha, &[1]).await;
    operator.order("acme", "pause").await;
    daemon.logs("acme", [2]).await;
    operator.change("acme", json!({ "api_key": beta })).await;
    operator.order("acme", "resume").await;
    daemon.logs("acme", [3]).await;
    datadog.wait_logs_with(&beta, &[3]).await;
    assert_eq!(operator.show("acme").await["queue"]["held_items"], 1);

    operator.change("acme", json!({ "api_key": alpha })).await;
    datadog.wait_logs_with(&alpha, &[1, 2]).await;
    datadog.wait_logs_with(&beta, &[3]).await;
}

#[tokio::test]
async fn a_key_of_the_file_gets_telemetry_of_its_organisation_alone() {
    let datadog = Datadog::start(3600).await;
    let [first, beta, second] = ["file-1", "file-2", "file-3"].map(key_of);
    for (key, organisation) in [(&first, "alpha"), (&beta, "beta"), (&second, "alpha")] {
        datadog.control(Method::POST, "keys", json!({ "key": key, "org": organisation, "valid": true })).await;
    }
    let home = Home::new();
    let with = |key: &str| {
        let setup = datadog.setup(&["fixed"]).set("tenants.fixed.api_key", key);
        setup.set("delivery.validate_interval", "1s")
    };
    let daemon = with(&first).start_in(&home).await;
    daemon.logs("fixed", [1]).await;
    datadog.wait_logs_with(&first, &[1]).await;
    let known = daemon.state_dir().join("file-keys.json");
    until("the key's organisation", async || {
        std::fs::read_to_string(&known).ok().filter(|keys| keys.contains("\"organisation\":\""))
    })
    .await;
    datadog.control(Method::POST, "keys", json!({ "key": first, "org": "alpha", "valid": false })).await;
    daemon.logs("fixed", [2]).await;
    Operator::of(&daemon).wait_state("fixed", "unauthorized").await;
    daemon.stop().await;

    let daemon = with(&beta).start_in(&home).await;
    daemon.logs("fixed", [3]).await;
    datadog.wait_logs_with(&beta, &[3]).await;
    let shown = Operator::of(&daemon).show("fixed").await;
    assert_eq!(shown["queue"]["held_items"], 1, "{shown}");
    daemon.stop().await;

    let daemon = with(&second).start_in(&home).await;
    datadog.wait_logs_with(&second, &[2]).await;
    daemon.stop().await;
    datadog.wait_logs_with(&beta, &[3]).await;
}

#[tokio::test]
async fn dead_letters_of_another_recipient_are_replayed_on_request_alone() {
    let datadog = Datadog::start(3600).await;
    let daemon = datadog.setup(&[]).start().await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    operator.connect(&datadog, "acme", "alpha").await;
    // Set aside at once: no log is a number.
    daemon.try_post("acme", "/api/v2/logs", br#"[{"message":"m","id":1},7]"#.to_vec()).await.unwrap();
    datadog.wait_logs("alpha", &[1]).await;
    let letters = daemon.state_dir().join("dead-letters/acme.ndjson");
    let letter: Value = serde_json::from_str(&std::fs::read_to_string(&letters).unwrap()).unwrap();
    let generation = letter["generation"].as_u64().unwrap().to_string();
    let replay = async |daemon: &Daemon| {
        let request = client().post(format!("{}/tenants/acme/api/v2/logs", daemon.url("ingest")));
        let request = request.header("Dogsled-Generation", &generation).header("Content-Type", "application/json");
        request.body(r#"[{"message":"m","id":2}]"#).send().await.unwrap().status().as_u16()
    };
    assert_eq!(replay(&daemon).await, 202);
    operator.send(operator.request(Method::DELETE, "tenants/acme")).await;
    operator.create("acme").await;
    assert_eq!(replay(&daemon).await, 409);
    assert!(letters.exists());
    operator.send(operator.request(Method::DELETE, "tenants/acme?telemetry=purge")).await;
    assert!(!letters.exists(), "purged with its tenant");
}

#[tokio::test]
async fn an_organisation_taken_by_another_tenant_is_refused() {
    let datadog = Datadog::start(3600).await;
    let daemon = datadog.setup(&[]).start().await;
    let operator = Operator::of(&daemon);
    operator.create("first").await;
    operator.create("second").await;
    operator.connect(&datadog, "first", "alpha").await;
    let query = datadog.consent(&operator.begin("second").await, "alpha", "approve").await;
    let refused = operator.callback("second", &query).await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("organisation_held")), "{}", refused.body);
    let told = refused.body["errors"][0].as_str().unwrap();
    assert!(!told.contains("first"), "the application may show it to the customer: {told}");
    let logged = daemon.log("connected to another tenant").pop().unwrap();
    assert_eq!((&logged["tenant"], &logged["by"]), (&json!("second"), &json!("first")), "the operator is told");
    daemon.logs("first", [1]).await;
    datadog.wait_logs("alpha", &[1]).await;
}
