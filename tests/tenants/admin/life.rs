//! The life of a tenant.

use crate::operator::{Datadog, Operator, session_of};
use crate::support::{Home, until};
use reqwest::Method;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn a_connected_tenant_delivers_with_its_new_key() {
    let datadog = Datadog::start(3600).await;
    let daemon = datadog.setup(&[]).start().await;
    let operator = Operator::of(&daemon);
    let added = operator.create("acme").await;
    assert_eq!((&added["state"], &added["source"]), (&json!("pending"), &json!("store")));
    daemon.logs("acme", [1, 2]).await;
    until("two items to be held", async || (operator.show("acme").await["queue"]["items"] == 2).then_some(())).await;

    let connected = operator.connect(&datadog, "acme", "alpha").await;
    assert_eq!((&connected["key"], &connected["verified"]), (&json!("created"), &json!(true)));
    datadog.wait_logs("alpha", &[1, 2]).await;
    daemon.logs("acme", [3]).await;
    datadog.wait_logs("alpha", &[1, 2, 3]).await;
    daemon.wait_empty("acme").await;

    let shown = operator.show("acme").await;
    assert_eq!((&shown["state"], &shown["key"]["origin"]), (&json!("active"), &json!("oauth")));
    assert_eq!(shown["organisation"]["name"], "The alpha & Co");
    assert_eq!(shown["queue"], json!({ "items": 0, "bytes": 0, "oldest_seconds": null, "held_items": 0 }));
    assert!(shown["tokens"]["expires_at"].is_string() && shown["to_do"].is_null(), "{shown}");
    let state = daemon.state_dir();
    for file in ["admin.token", "master.key", "tenants.db"] {
        assert_eq!(std::fs::metadata(state.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn the_connect_listener_sends_the_browser_on_with_a_ticket() {
    let datadog = Datadog::start(3600).await;
    let done = "https://app.example.com/done";
    let setup = datadog.setup(&[]).set("oauth.listen", "127.0.0.1:0").set("oauth.success_url", done);
    let daemon = setup.start().await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    let query = datadog.consent(&operator.begin("acme").await, "alpha", "approve").await;
    let http = dogsled::outbound::builder(None).unwrap().no_proxy().build().unwrap();
    let page = http.get(format!("{}/oauth/callback?{query}", daemon.url("connect"))).send().await.unwrap();
    assert_eq!(page.status(), 303);
    let location = page.headers()["location"].to_str().unwrap().to_owned();
    let ticket = location.strip_prefix("https://app.example.com/done?ticket=").unwrap();
    let confirm = async |session: String| {
        operator.post("tenants/acme/connect/confirm", json!({ "ticket": ticket, "session": session })).await
    };
    assert_eq!(confirm(session_of("acme")).await.status, 200);
    let again = confirm(session_of("acme")).await;
    assert_eq!((again.status, again.body["code"].as_str()), (410, Some("used_state")));
    daemon.logs("acme", [1]).await;
    datadog.wait_logs("alpha", &[1]).await;
}

#[tokio::test]
async fn connecting_survives_a_restart() {
    let datadog = Datadog::start(3600).await;
    let (setup, home) = (datadog.setup(&[]), Home::new());
    let daemon = setup.start_in(&home).await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    daemon.logs("acme", [1]).await;
    let url = operator.begin("acme").await;
    daemon.kill();
    drop(daemon);

    let daemon = setup.start_in(&home).await;
    let operator = Operator::of(&daemon);
    let query = datadog.consent(&url, "alpha", "approve").await;
    assert_eq!(operator.callback("acme", &query).await.status, 200);
    datadog.wait_logs("alpha", &[1]).await;
    let again = operator.callback("acme", &query).await;
    assert_eq!((again.status, &again.body["code"]), (410, &json!("used_state")));
    daemon.stop().await;

    let daemon = setup.start_in(&home).await;
    daemon.logs("acme", [2]).await;
    datadog.wait_logs("alpha", &[1, 2]).await;
}

#[tokio::test]
async fn a_paused_tenant_is_held_across_restarts() {
    let datadog = Datadog::start(3600).await;
    let (setup, home) = (datadog.setup(&[]), Home::new());
    let daemon = setup.start_in(&home).await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    operator.connect(&datadog, "acme", "alpha").await;
    assert_eq!(operator.order("acme", "pause").await["state"], "paused");
    daemon.logs("acme", [1]).await;
    operator.create("other").await;
    operator.connect(&datadog, "other", "beta").await;
    daemon.logs("other", [7]).await;
    datadog.wait_logs("beta", &[7]).await;
    daemon.stop().await;

    let daemon = setup.start_in(&home).await;
    let operator = Operator::of(&daemon);
    assert_eq!(operator.wait_state("acme", "paused").await["queue"]["items"], 1);
    assert!(datadog.logs(&datadog.keys("alpha").await[0]).await.is_empty());
    assert_eq!(operator.order("acme", "resume").await["paused"], false);
    datadog.wait_logs("alpha", &[1]).await;
}

#[tokio::test]
async fn removal_drops_or_keeps_queued_telemetry() {
    let datadog = Datadog::start(3600).await;
    let daemon = datadog.setup(&[]).start().await;
    let operator = Operator::of(&daemon);
    let delete = |path: &'static str| operator.send(operator.request(Method::DELETE, path));
    operator.create("acme").await;
    daemon.logs("acme", [1, 2]).await;
    let removed = delete("tenants/acme?telemetry=keep").await;
    assert_eq!((removed.status, &removed.body["kept_items"]), (200, &json!(2)), "{}", removed.body);
    assert_eq!(daemon.try_post("acme", "/api/v2/logs", b"[]".into()).await.unwrap().status, 403);

    operator.create("acme").await;
    operator.connect(&datadog, "acme", "alpha").await;
    // They were accepted for an earlier tenant.
    let released = operator.post("tenants/acme/held", json!({ "action": "release" })).await;
    assert_eq!(released.status, 200, "{}", released.body);
    datadog.wait_logs("alpha", &[1, 2]).await;
    operator.order("acme", "pause").await;
    daemon.logs("acme", [3, 4, 5]).await;
    let removed = delete("tenants/acme?telemetry=purge").await;
    assert_eq!((removed.status, &removed.body["dropped_items"]), (200, &json!(3)), "{}", removed.body);
    assert_eq!(removed.body["not_revoked"], json!(null));
    daemon.wait_empty("acme").await;
    assert_eq!(
        daemon.scrape().await.sum("dogsled_items_dropped_total", &[("tenant", "acme"), ("reason", "purged")]),
        3.0
    );
    assert_eq!(delete("tenants/acme?telemetry=purge").await.status, 404);
    assert_eq!(datadog.control(Method::GET, "oauth", json!(null)).await["revocations"], 1);
}

#[tokio::test]
async fn an_ingest_token_works_until_revoked() {
    let datadog = Datadog::start(3600).await;
    let (setup, home) = (datadog.setup(&[]).set("ingest.require_token", true), Home::new());
    let daemon = setup.start_in(&home).await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    operator.connect(&datadog, "acme", "alpha").await;
    let made = operator.post("tenants/acme/tokens", json!({ "label": "web" })).await;
    assert_eq!(made.status, 201);
    let token = made.body["token"].as_str().unwrap();
    let post = async |daemon: &crate::support::Daemon, id: u64| {
        let request = crate::support::client().post(format!("{}/api/v2/logs", daemon.url("ingest")));
        let body = json!([{ "message": "m", "id": id }]).to_string();
        let request = request.header("DD-API-KEY", token).header("Content-Type", "application/json").body(body);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(post(&daemon, 1).await, 202);
    daemon.stop().await;

    let daemon = setup.start_in(&home).await;
    let operator = Operator::of(&daemon);
    assert_eq!(post(&daemon, 2).await, 202);
    datadog.wait_logs("alpha", &[1, 2]).await;
    let listed = operator.get("tenants/acme/tokens").await;
    assert_eq!((&listed["tokens"][0]["label"], &listed["tokens"][0]["last4"]), (&json!("web"), &json!(token[28..])));
    assert!(!listed.to_string().contains(token), "a token is shown once");
    let id = listed["tokens"][0]["id"].as_str().unwrap();
    let gone = operator.send(operator.request(Method::DELETE, &format!("tenants/acme/tokens/{id}"))).await;
    assert_eq!(gone.status, 204);
    assert_eq!(post(&daemon, 3).await, 403);
}
