//! Customers who connect another organisation than before.

use crate::operator::{Datadog, Operator};
use crate::support::Daemon;
use serde_json::json;

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
    assert!(
        datadog.logs(&datadog.keys("beta").await[0]).await.is_empty(),
        "nothing was sent to the wrong organisation"
    );
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
    let (datadog, daemon, operator) = moved().await;
    let dropped = operator.post("tenants/acme/held", json!({ "action": "drop" })).await;
    assert_eq!((dropped.status, &dropped.body["dropped_items"]), (200, &json!(2)), "{}", dropped.body);
    datadog.wait_logs("beta", &[3]).await;
    assert_eq!(
        daemon.scrape().await.sum("dogsled_items_dropped_total", &[("tenant", "acme"), ("reason", "purged")]),
        2.0
    );
    operator.wait_state("acme", "active").await;
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
    assert!(refused.body["errors"][0].as_str().unwrap().contains("first"));
    daemon.logs("first", [1]).await;
    datadog.wait_logs("alpha", &[1]).await;
}
