//! Hosts that share a store, and a store that is out of reach.

use crate::harness::{Datadog, Operator};
use crate::postgres;
use crate::support::until;
use serde_json::json;

#[tokio::test]
async fn what_one_host_connects_the_other_delivers_within_seconds() {
    let Some(cluster) = postgres::shared() else { return };
    let database = cluster.database().await;
    let datadog = Datadog::start(3600).await;
    let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";
    let setup = datadog.setup(&[]).set("store.url", cluster.url(&database)).set("store.master_key", key);
    let (one, other) = (setup.start().await, setup.start().await);
    let (operator, observer) = (Operator::of(&one), Operator::of(&other));
    operator.create("acme").await;
    until("the other host to know it", async || {
        let answer = other.try_post("acme", "/api/v2/logs", br#"[{"message":"m","id":1}]"#.into()).await.unwrap();
        (answer.status == 202).then_some(())
    })
    .await;
    operator.connect(&datadog, "acme", "alpha").await;
    one.logs("acme", [2]).await;
    datadog.wait_logs("alpha", &[1, 2]).await;

    datadog.revoke_keys("alpha").await;
    one.logs("acme", [3]).await;
    other.logs("acme", [4]).await;
    until("one new key", async || (datadog.keys("alpha").await.len() == 1).then_some(())).await;
    datadog.wait_logs("alpha", &[3, 4]).await;
    assert_eq!(datadog.keys("alpha").await.len(), 1, "two hosts made one key");
    observer.wait_state("acme", "active").await;
}

#[tokio::test]
async fn with_a_store_out_of_reach_static_tenants_flow_and_others_are_told_to_come_again() {
    let datadog = Datadog::start(3600).await;
    let nowhere = "postgres://nobody@127.0.0.1:1/none";
    let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";
    let setup = datadog.setup(&["fixed"]).set("store.url", nowhere).set("store.master_key", key);
    let daemon = setup.start().await;
    let operator = Operator::of(&daemon);
    daemon.logs("fixed", [1]).await;
    datadog.intake.wait_items("fixed", "logs", 1).await;
    let answer = daemon.try_post("acme", "/api/v2/logs", b"[]".into()).await.unwrap();
    assert_eq!((answer.status, answer.retry_after.is_some()), (503, true), "{}", answer.text);
    let refused = operator.post("tenants", json!({ "id": "acme" })).await;
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("store")), "{}", refused.body);
    let status = operator.get("status").await;
    assert_eq!((&status["store"]["open"], &status["tenants"][0]["id"]), (&json!(false), &json!("fixed")), "{status}");
    assert!(!daemon.log("tenants of the store are not served yet").is_empty());
}
