//! Hosts that share a store.

use crate::harness::{Datadog, Operator};
use crate::postgres;
use crate::support::until;

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
