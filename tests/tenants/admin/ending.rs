//! The end of the daemon while Datadog is creating a key, which it shows once.

use crate::operator::{Datadog, Operator, session_of};
use crate::support::{Daemon, Home, until};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const KEYS: &str = "/api/v2/api_keys/marketplace";

/// A daemon whose tenant `acme` is being connected: Datadog has been asked for a key and delays the answer so long. Gives what
/// the application, or the browser at that address, gets in the end.
async fn connecting(
    datadog: &Datadog,
    daemon: &Daemon,
    seconds: Value,
    browser: Option<String>,
) -> tokio::task::JoinHandle<(u16, String)> {
    let operator = Operator::of(daemon);
    operator.create("acme").await;
    let url = if browser.is_some() { operator.begin_unbound("acme").await } else { operator.begin("acme").await };
    let query = datadog.consent(&url, "alpha", "approve").await;
    let rule = json!({ "path": KEYS, "times": 1, "effect": { "hang": { "seconds": seconds } } });
    let fault = datadog.control(Method::POST, "faults", rule).await["id"].clone();
    let calling = tokio::spawn(async move {
        let request = match browser {
            Some(url) => crate::support::client().get(format!("{url}/oauth/callback?{query}")),
            None => {
                let request =
                    operator.request(Method::POST, "oauth/callback").header("Content-Type", "application/json");
                request.body(json!({ "query": query, "tenant": "acme", "session": session_of("acme") }).to_string())
            }
        };
        match request.send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap()),
            Err(_) => (0, String::new()),
        }
    });
    until("the request for a key", async || {
        let faults = datadog.control(Method::GET, "faults", Value::Null).await;
        let found = faults.as_array().unwrap().iter().find(|found| found["id"] == fault).unwrap();
        (found["hits"] == 1).then_some(())
    })
    .await;
    calling
}

#[tokio::test]
async fn shutdown_waits_for_a_key_being_created() {
    let datadog = Datadog::start(3600).await;
    let (setup, home) = (datadog.setup(&[]).set("shutdown.grace", "60s"), Home::new());
    let mut daemon = setup.start_in(&home).await;
    let calling = connecting(&datadog, &daemon, Value::Null, None).await;
    let operator = Operator::of(&daemon);
    daemon.terminate();
    let refused = until("others to be refused", async || {
        let refused = operator.callback("acme", "code=x&state=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM").await;
        (refused.body["code"] == "ending").then_some(refused)
    })
    .await;
    datadog.control(Method::DELETE, "faults", Value::Null).await;
    assert!(refused.status == 503 && refused.headers.contains_key("retry-after"), "{refused:?}");
    let (status, connected) = calling.await.unwrap();
    assert!(status == 200 && connected.contains(r#""state":"active""#), "{status} {connected}");
    assert!(daemon.wait_end().await.success());

    let daemon = setup.start_in(&home).await;
    assert_eq!(Operator::of(&daemon).show("acme").await["state"], "active");
    daemon.logs("acme", [1]).await;
    datadog.wait_logs("alpha", &[1]).await;
}

#[tokio::test]
async fn a_late_customer_still_gets_the_page() {
    let datadog = Datadog::start(3600).await;
    let mut daemon = datadog
        .setup(&[])
        .set("shutdown.grace", "60s")
        .set("oauth.listen", "127.0.0.1:0")
        .set("oauth.allow_unbound", true)
        .start()
        .await;
    let calling = connecting(&datadog, &daemon, json!(1), Some(daemon.url("connect"))).await;
    daemon.terminate();
    let (status, page) = calling.await.unwrap();
    assert!(status == 200 && page.contains("<h1>Connected</h1>"), "{status} {page}");
    assert!(daemon.wait_end().await.success());
}

#[tokio::test]
async fn a_key_cut_off_is_reported_after_restart() {
    let datadog = Datadog::start(3600).await;
    let (setup, home) = (datadog.setup(&[]).set("shutdown.grace", "300ms"), Home::new());
    let mut daemon = setup.start_in(&home).await;
    let calling = connecting(&datadog, &daemon, Value::Null, None).await;
    daemon.terminate();
    assert!(tokio::time::timeout(Duration::from_secs(20), daemon.wait_end()).await.unwrap().success());
    assert_eq!(daemon.log("are cut off").len(), 1, "{}", daemon.log_text());
    assert_eq!(calling.await.unwrap().0, 0, "nobody was told anything wrong");

    // The daemon that was cut off has not given back its lease.
    let database = rusqlite::Connection::open(home.state_dir().join("tenants.db")).unwrap();
    database.execute_batch("UPDATE dogsled_leases SET expires = 0").unwrap();
    let daemon = setup.start_in(&home).await;
    let shown = Operator::of(&daemon).wait_state("acme", "unauthorized").await;
    assert!(shown["status"].as_str().unwrap().contains("may exist that is not stored here"), "{shown}");
    assert!(shown["to_do"].as_str().unwrap().contains("revokes the key"), "{shown}");
}
