//! Hosts that share a store.

use crate::operator::{Datadog, Operator};
use crate::postgres;
use crate::support::{Daemon, Home, Setup, until};
use reqwest::Method;
use serde_json::json;

/// The setup of hosts that share a database; nothing where no server is installed.
async fn sharing(datadog: &Datadog) -> Option<Setup> {
    let cluster = postgres::shared()?;
    let database = cluster.database().await;
    let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";
    Some(datadog.setup(&[]).set("store.url", cluster.url(&database)).set("store.master_key", key))
}

#[tokio::test]
async fn a_tenant_connected_here_delivers_there() {
    let datadog = Datadog::start(3600).await;
    let Some(setup) = sharing(&datadog).await else { return };
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
async fn a_drop_reaches_a_host_that_was_down() {
    let datadog = Datadog::start(3600).await;
    let Some(setup) = sharing(&datadog).await else { return };
    let (home, one, other) = (Home::new(), setup.start().await, setup.start().await);
    let late = setup.start_in(&home).await;
    let operator = Operator::of(&one);
    operator.create("acme").await;
    operator.connect(&datadog, "acme", "alpha").await;
    operator.order("acme", "disconnect").await;
    let hosts = [(&one, 1), (&other, 2), (&late, 3)];
    for (host, id) in hosts {
        host.wait_state("acme", "pending").await;
        host.logs("acme", [id]).await;
    }
    late.stop().await;
    operator.connect(&datadog, "acme", "beta").await;
    for (host, id) in [(&one, 11), (&other, 12)] {
        host.wait_state("acme", "paused").await;
        host.logs("acme", [id]).await;
    }
    let dropped = operator.post("tenants/acme/held", json!({ "action": "drop" })).await;
    assert_eq!((dropped.status, &dropped.body["dropped_items"]), (200, &json!(1)), "{}", dropped.body);
    datadog.wait_logs("beta", &[11, 12]).await;

    let late = setup.start_in(&home).await;
    late.logs("acme", [13]).await;
    datadog.wait_logs("beta", &[11, 12, 13]).await;
    let purged = async |host: &Daemon| {
        host.scrape().await.sum("dogsled_items_dropped_total", &[("tenant", "acme"), ("reason", "purged")])
    };
    for host in [&one, &other, &late] {
        assert_eq!(purged(host).await, 1.0);
        host.scrape().await.assert_balanced();
    }
    let again = operator.post("tenants/acme/held", json!({ "action": "drop" })).await;
    assert_eq!((again.status, &again.body["code"]), (409, &json!("nothing_held")), "{}", again.body);
}

#[tokio::test]
async fn limits_set_here_hold_there() {
    let datadog = Datadog::start(3600).await;
    let Some(setup) = sharing(&datadog).await else { return };
    let (one, other) = (setup.start().await, setup.start().await);
    let (operator, observer) = (Operator::of(&one), Operator::of(&other));
    operator.create("acme").await;
    let own = json!({ "limits": { "items_per_second": 1 }, "journal": { "max_age": "90m" } });
    let request = operator.request(Method::PATCH, "tenants/acme").header("Content-Type", "application/json");
    let changed = operator.expect(200, request.body(own.to_string())).await;
    assert_eq!(changed["in_effect"]["limits"]["items_per_second"], 1, "{changed}");
    let logs = json!(vec![json!({ "message": "m" }); 1000]).to_string().into_bytes();
    until("the other host to refuse what is too fast", async || {
        let status = other.try_post("acme", "/api/v2/logs", logs.clone()).await.unwrap().status;
        (status == 429).then_some(())
    })
    .await;
    let shown = observer.show("acme").await;
    assert_eq!(shown["in_effect"], changed["in_effect"], "{shown}");
}
