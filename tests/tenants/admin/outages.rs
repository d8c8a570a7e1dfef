//! PostgreSQL that comes after the daemon, or goes away and returns.

use crate::operator::{Datadog, Operator};
use crate::postgres::Cluster;
use crate::support::{Daemon, Setup, until};
use serde_json::json;
use std::time::{Duration, Instant};

const MASTER_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

/// What another host changes is seen within seconds; the server itself takes some to be up.
const SECONDS: Duration = Duration::from_secs(15);

/// A server of its own, with the setup of a daemon that keeps its tenants there besides these of its file.
async fn server(datadog: &Datadog, tenants: &[&str]) -> Option<(Cluster, Setup)> {
    let cluster = Cluster::start("", 5432)?;
    let database = cluster.database().await;
    let setup = datadog.setup(tenants).set("store.url", cluster.url(&database)).set("store.master_key", MASTER_KEY);
    Some((cluster, setup))
}

/// How a log of a tenant is answered.
async fn post(daemon: &Daemon, tenant: &str, id: u64) -> (u16, bool) {
    let body = json!([{ "message": "m", "id": id }]).to_string().into_bytes();
    let answer = daemon.try_post(tenant, "/api/v2/logs", body).await.unwrap();
    (answer.status, answer.retry_after.is_some())
}

async fn ready(daemon: &Daemon, listener: &str) -> (u16, String) {
    let response = crate::support::client().get(format!("{}/readyz", daemon.url(listener))).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn a_database_started_later_is_found() {
    let datadog = Datadog::start(3600).await;
    let Some((cluster, setup)) = server(&datadog, &["fixed"]).await else { return };
    let before = setup.start().await;
    let operator = Operator::of(&before);
    operator.create("acme").await;
    operator.connect(&datadog, "acme", "alpha").await;
    before.stop().await;
    cluster.stop().await;

    let daemon = setup.start().await;
    let operator = Operator::of(&daemon);
    daemon.logs("fixed", [1]).await;
    datadog.fakeintake.wait_items("fixed", "logs", 1).await;
    assert_eq!(post(&daemon, "acme", 1).await, (503, true), "it may exist");
    let refused = operator.post("tenants", json!({ "id": "new" })).await;
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("store")), "{}", refused.body);
    assert!(refused.headers.contains_key("retry-after"));
    let status = operator.get("status").await;
    assert_eq!((&status["store"]["open"], &status["tenants"][0]["id"]), (&json!(false), &json!("fixed")), "{status}");
    assert!(!daemon.log("tenants of the store are not served yet").is_empty());
    let (code, text) = daemon.ready().await;
    assert!(code == 200 && text.contains("out of reach"), "{text}");

    cluster.resume();
    let from = Instant::now();
    until("the tenant to be known", async || (post(&daemon, "acme", 1).await.0 == 202).then_some(())).await;
    assert!(from.elapsed() < SECONDS, "{:?}", from.elapsed());
    datadog.wait_logs("alpha", &[1]).await;
    assert_eq!(daemon.ready().await, (200, r#"{"status":"ok"}"#.into()));
    until("strangers to be refused", async || (post(&daemon, "nobody", 1).await == (403, false)).then_some(())).await;
}

#[tokio::test]
async fn a_daemon_without_tenants_is_not_ready() {
    let datadog = Datadog::start(3600).await;
    let nowhere = "postgres://nobody@127.0.0.1:1/none";
    let daemon = datadog.setup(&[]).set("store.url", nowhere).set("store.master_key", MASTER_KEY).start().await;
    for listener in ["admin", "ingest"] {
        let (code, text) = ready(&daemon, listener).await;
        assert!(code == 503 && text.contains("no tenant is known"), "{listener}: {text}");
    }
}

#[tokio::test]
async fn delivery_survives_a_database_outage() {
    // Tokens are refreshed every five seconds or so.
    let datadog = Datadog::start(8).await;
    let Some((cluster, setup)) = server(&datadog, &[]).await else { return };
    let (daemon, other) = (setup.start().await, setup.start().await);
    let (operator, observer) = (Operator::of(&daemon), Operator::of(&other));
    operator.create("acme").await;
    operator.connect(&datadog, "acme", "alpha").await;
    observer.wait_state("acme", "active").await;

    cluster.stop().await;
    for (host, id) in [(&daemon, 1), (&other, 2)] {
        host.logs("acme", [id]).await;
    }
    datadog.wait_logs("alpha", &[1, 2]).await;
    let refused = operator.post("tenants/acme/pause", json!(null)).await;
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("store")), "{}", refused.body);
    assert!(refused.body["errors"][0].as_str().unwrap().contains("check that it runs"), "{}", refused.body);
    for host in [&daemon, &other] {
        until("it to be noticed", async || (post(host, "beta", 1).await == (503, true)).then_some(())).await;
        let (code, text) = host.ready().await;
        assert!(code == 200 && text.contains("out of reach"), "{text}");
        until("it to be said", async || host.log("the store is tried again").first().cloned()).await;
    }

    cluster.resume();
    until("the database to be back", async || {
        (operator.post("tenants", json!({ "id": "beta" })).await.status == 201).then_some(())
    })
    .await;
    let granted = operator.show("acme").await["tokens"]["granted_at"].clone();
    let from = Instant::now();
    until("the other host to know", async || (post(&other, "beta", 1).await.0 == 202).then_some(())).await;
    operator.order("acme", "pause").await;
    until("the other host to hold it", async || {
        (other.scrape().await.state("acme").as_deref() == Some("paused")).then_some(())
    })
    .await;
    assert!(from.elapsed() < SECONDS, "{:?}", from.elapsed());
    until("strangers to be refused again", async || (post(&daemon, "nobody", 1).await == (403, false)).then_some(()))
        .await;
    until("its tokens to be refreshed", async || {
        (operator.show("acme").await["tokens"]["granted_at"] != granted).then_some(())
    })
    .await;
    assert_eq!(daemon.log("the store is tried again").len(), 1, "it is said once");
}
