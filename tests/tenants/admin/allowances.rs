//! Limits and quotas of one tenant's own.

use crate::operator::{Datadog, Operator};
use crate::support::{Daemon, Home, until};
use reqwest::Method;
use serde_json::{Value, json};

async fn patch(operator: &Operator, tenant: &str, body: Value) -> Value {
    let request = operator.request(Method::PATCH, &format!("tenants/{tenant}"));
    operator.expect(200, request.header("Content-Type", "application/json").body(body.to_string())).await
}

async fn status(daemon: &Daemon, tenant: &str, items: usize) -> u16 {
    let logs = vec![json!({ "message": "m" }); items];
    daemon.try_post(tenant, "/api/v2/logs", json!(logs).to_string().into_bytes()).await.unwrap().status
}

#[tokio::test]
async fn own_limits_hold_across_restarts_until_taken_back() {
    let (datadog, home) = (Datadog::start(3600).await, Home::new());
    let setup = datadog.setup(&["fixed"]).set("limits.bytes_per_second", "1GiB");
    let daemon = setup.start_in(&home).await;
    let operator = Operator::of(&daemon);
    let added = operator.post("tenants", json!({ "id": "acme", "limits": { "items_per_second": 1 } })).await;
    assert_eq!((added.status, &added.body["limits"]["items_per_second"]), (201, &json!(1)), "{}", added.body);
    operator.create("other").await;
    assert_eq!((status(&daemon, "acme", 500).await, status(&daemon, "acme", 1).await), (202, 429));
    assert_eq!((status(&daemon, "other", 500).await, status(&daemon, "other", 1).await), (202, 202));
    daemon.stop().await;

    let daemon = setup.start_in(&home).await;
    let operator = Operator::of(&daemon);
    assert_eq!((status(&daemon, "acme", 500).await, status(&daemon, "acme", 1).await), (202, 429));
    let own =
        json!({ "limits": { "bytes_per_second": 0 }, "journal": { "max_age": "90m", "when_full": "drop_oldest" } });
    let changed = patch(&operator, "acme", own).await;
    assert_eq!(changed["limits"], json!({ "items_per_second": 1, "bytes_per_second": 0 }));
    assert_eq!(changed["journal"], json!({ "max_bytes": null, "max_age": "1h30m", "when_full": "drop_oldest" }));
    let quota = json!({ "max_bytes": 1 << 30, "max_age": "1h30m", "when_full": "drop_oldest" });
    assert_eq!(changed["in_effect"], json!({ "limits": changed["limits"], "journal": quota }));
    let lifted = patch(&operator, "acme", json!({ "limits": { "items_per_second": null } })).await;
    assert_eq!(lifted["limits"], json!({ "items_per_second": null, "bytes_per_second": 0 }));
    assert_eq!(lifted["in_effect"]["limits"]["items_per_second"], 0);
    assert_eq!(status(&daemon, "acme", 1).await, 202);
    let none = patch(&operator, "acme", json!({ "limits": null, "journal": null, "display_name": "Acme" })).await;
    assert_eq!(none["journal"], json!({ "max_bytes": null, "max_age": null, "when_full": null }));
    assert_eq!(none["in_effect"]["limits"]["bytes_per_second"], 1 << 30);
    assert_eq!(operator.show("fixed").await["in_effect"], none["in_effect"]);
}

#[tokio::test]
async fn an_own_quota_holds_at_once() {
    let datadog = Datadog::start(3600).await;
    let daemon = datadog.setup(&[]).set("batch.max_age", "10m").start().await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    let big = || json!([{ "message": "x".repeat(700_000) }]).to_string().into_bytes();
    let post = async || daemon.try_post("acme", "/api/v2/logs", big()).await.unwrap().status;
    assert_eq!(post().await, 202);
    patch(&operator, "acme", json!({ "journal": { "max_bytes": 1 << 20 } })).await;
    assert_eq!(post().await, 429);
    patch(&operator, "acme", json!({ "journal": { "when_full": "drop_oldest" } })).await;
    assert_eq!(post().await, 202);
    assert_eq!(operator.show("acme").await["queue"]["items"], 1);
    patch(&operator, "acme", json!({ "journal": { "max_bytes": null, "when_full": null } })).await;
    assert_eq!(post().await, 202);
    assert_eq!(operator.show("acme").await["queue"]["items"], 2);
}

#[tokio::test]
async fn own_limits_hold_on_another_host() {
    let datadog = Datadog::start(3600).await;
    let (home, other) = (Home::new(), Home::new());
    let daemon = datadog.setup(&[]).start_in(&home).await;
    let state = home.state_dir();
    let second = datadog
        .setup(&[])
        .set("store.url", format!("sqlite:{}", state.join("tenants.db").display()))
        .set("store.master_key_file", state.join("master.key").to_str().unwrap());
    let second = second.start_in(&other).await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    until("the other host to know it", async || (status(&second, "acme", 1).await == 202).then_some(())).await;
    patch(&operator, "acme", json!({ "limits": { "items_per_second": 1 } })).await;
    until("it to be limited there", async || (status(&second, "acme", 1000).await == 429).then_some(())).await;
}

#[tokio::test]
async fn a_wrong_limit_is_refused_by_name() {
    let datadog = Datadog::start(3600).await;
    let daemon = datadog.setup(&[]).start().await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    for (body, words) in [
        (json!({ "limits": { "items_per_second": -1 } }), "-1"),
        (json!({ "limits": { "items_per_second": 1_000_000_001 } }), "items_per_second: 1000000001 is out of range"),
        (json!({ "limits": { "items": 1 } }), "items_per_second"),
        (json!({ "limits": [1, 1] }), "expected a map"),
        (json!({ "journal": { "max_bytes": 1 } }), "max_bytes: 1 is out of range: 1MiB"),
        (json!({ "journal": { "max_age": "soon" } }), "max_age: \"soon\" is not a duration"),
        (json!({ "journal": { "max_age": "0s" } }), "max_age: \"0s\" is out of range"),
        (json!({ "journal": { "when_full": "burn" } }), "drop_oldest"),
    ] {
        let request = operator.request(Method::PATCH, "tenants/acme");
        let request = request.header("Content-Type", "application/json").body(body.to_string());
        let refused = operator.expect(400, request).await;
        assert!(refused["errors"][0].as_str().unwrap().contains(words), "{body}: {refused}");
    }
    assert_eq!(operator.show("acme").await["limits"], json!({ "items_per_second": null, "bytes_per_second": null }));
}
