//! The real daemon: from the click to the first log at Datadog.

use super::harness::{CLIENT_ID, CLIENT_SECRET, REDIRECT, World};
use crate::support::{Setup, until};
use dogsled::fakeintake::Filter;

#[tokio::test]
async fn held_telemetry_arrives_after_the_click() {
    let world = World::new();
    let daemon = Setup::at(&world.url, &[])
        .set("oauth.client_id", CLIENT_ID)
        .set("oauth.client_secret", CLIENT_SECRET)
        .set("oauth.redirect_uri", REDIRECT)
        .set("oauth.listen", "127.0.0.1:0")
        .set("oauth.allow_unbound", true)
        .set("datadog.sites.\"datadoghq.com\".app", world.url.as_str())
        .start()
        .await;
    // Another host on the daemon's store, which begins; the browser comes back to the daemon.
    let mut settings = world.settings();
    settings.state.dir = daemon.state_dir();
    let host = world.host_at(&settings, &daemon.state_dir()).await;
    let acme = host.add("acme").await;
    until("the daemon to know the tenant", async || {
        let logs = br#"[{"message":"m","id":"before"}]"#.to_vec();
        daemon.try_post("acme", "/api/v2/logs", logs).await.filter(|answer| answer.status == 202)
    })
    .await;
    let query = world.approve(&host, &acme, "alpha").await;
    let listener = daemon.log("listening").into_iter().find(|line| line["listener"] == "connect").unwrap();
    let address = listener["address"].as_str().unwrap();
    let callback = format!("http://{address}/oauth/callback?{query}");
    let page = crate::support::client().get(callback).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("<h1>Connected</h1>"));
    let key = world.keys("alpha").pop().unwrap();
    let of_key = Filter { key: Some(key.clone()), kind: None };
    until("the log that was held", async || (world.fakeintake.item_count(&of_key) >= 1).then_some(())).await;
    assert!(!daemon.log_text().contains(&key) && !daemon.log_text().contains(CLIENT_SECRET));
}
