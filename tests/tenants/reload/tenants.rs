//! Tenants of the file that come, go and change; the OAuth client.

use crate::operator::{CLIENT_SECRET, Datadog, Operator};
use crate::support::{Daemon, FakeIntake, Home, Setup, client, key_of, until};
use reqwest::Method;
use serde_json::{Value, json};

async fn reload(daemon: &Daemon) -> Value {
    let operator = Operator::of(daemon);
    operator.expect(200, operator.request(Method::POST, "reload")).await
}

/// Posts a log with an ingest token; gives the status.
async fn post_with(daemon: &Daemon, token: &str) -> u16 {
    let request = client().post(format!("{}/api/v2/logs", daemon.url("ingest"))).header("DD-API-KEY", token);
    let request = request.header("Content-Type", "application/json").body(r#"[{"message":"m"}]"#);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_key_that_is_exchanged_in_its_file_delivers_what_the_former_one_could_not() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let file = home.write("a.key", &key_of("old"));
    let setup = Setup::new(&fakeintake, &[]).set("tenants.a.api_key_file", file.to_str().unwrap());
    let daemon = setup.start_in(&home).await;
    fakeintake.set_key("old", false).await;
    daemon.logs("a", [1, 2]).await;
    daemon.wait_state("a", "unauthorized").await;
    home.write("a.key", &key_of("new"));
    let reloaded = reload(&daemon).await;
    let redacted = json!([{ "key": "tenants.a.api_key", "from": "[redacted]", "to": "[redacted]" }]);
    assert_eq!(reloaded["changed"], redacted);
    fakeintake.wait_items("new", "logs", 2).await;
    daemon.wait_state("a", "active").await;
    for key in ["old", "new"] {
        assert!(!daemon.log_text().contains(&key_of(key)));
    }
}

#[tokio::test]
async fn what_waits_of_a_tenant_that_is_removed_from_the_file_is_kept_and_delivered_when_it_is_back() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let both = Setup::new(&fakeintake, &["a", "b"]);
    let daemon = both.start_in(&home).await;
    fakeintake.set_key("a", false).await;
    daemon.logs("a", [1, 2, 3]).await;
    daemon.wait_state("a", "unauthorized").await;
    Setup::new(&fakeintake, &["b"]).write_in(&home);
    let reloaded = reload(&daemon).await;
    let note = reloaded["notes"][0].as_str().unwrap();
    assert!(note.contains("tenant a ") && note.contains("3 items") && note.contains("kept"), "{note}");
    assert_eq!(daemon.try_post("a", "/api/v2/logs", b"[]".to_vec()).await.unwrap().status, 403);
    fakeintake.set_key("a", true).await;
    daemon.logs("b", [1]).await;
    fakeintake.wait_items("b", "logs", 1).await;
    assert_eq!(daemon.scrape().await.sum("dogsled_queue_items", &[("tenant", "a")]), 3.0);
    both.write_in(&home);
    assert_eq!(reload(&daemon).await["notes"], json!([]));
    fakeintake.wait_items("a", "logs", 3).await;
    daemon.wait_empty("a").await;
    assert_eq!(daemon.scrape().await.sum("dogsled_items_dropped_total", &[("tenant", "a")]), 0.0);
}

#[tokio::test]
async fn what_waits_of_a_removed_tenant_outlives_a_restart_too() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let daemon = Setup::new(&fakeintake, &["a"]).start_in(&home).await;
    fakeintake.set_key("a", false).await;
    daemon.logs("a", [1, 2]).await;
    daemon.wait_state("a", "unauthorized").await;
    Setup::new(&fakeintake, &[]).write_in(&home);
    reload(&daemon).await;
    daemon.stop().await;
    fakeintake.set_key("a", true).await;
    let _daemon = Setup::new(&fakeintake, &["a"]).start_in(&home).await;
    fakeintake.wait_items("a", "logs", 2).await;
}

#[tokio::test]
async fn an_ingest_token_goes_from_one_tenant_to_another() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let [one, two] = ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"];
    let file = home.write("tokens", one);
    let setup = |of: &str| {
        let key = format!("tenants.{of}.ingest_tokens_file");
        Setup::new(&fakeintake, &["a", "b"]).set("ingest.require_token", true).set(&key, file.to_str().unwrap())
    };
    let daemon = setup("a").start_in(&home).await;
    assert_eq!((post_with(&daemon, one).await, post_with(&daemon, two).await), (202, 403));
    home.write("tokens", &format!("{one}\n{two}\n"));
    assert_eq!(reload(&daemon).await["changed"][0]["key"], "tenants.a.ingest_tokens");
    assert_eq!((post_with(&daemon, one).await, post_with(&daemon, two).await), (202, 202));
    fakeintake.wait_items("a", "logs", 3).await;
    home.write("tokens", two);
    setup("b").write_in(&home);
    reload(&daemon).await;
    assert_eq!((post_with(&daemon, one).await, post_with(&daemon, two).await), (403, 202));
    fakeintake.wait_items("b", "logs", 1).await;
}

#[tokio::test]
async fn another_site_is_where_a_tenant_delivers_from_then_on() {
    let (here, there, home) = (FakeIntake::start(), FakeIntake::start(), Home::new());
    let setup = Setup::new(&here, &["a"]);
    let daemon = setup.start_in(&home).await;
    daemon.logs("a", [1]).await;
    here.wait_items("a", "logs", 1).await;
    Setup::new(&there, &["a"]).write_in(&home);
    let reloaded = reload(&daemon).await;
    assert!(reloaded["changed"][0]["key"].as_str().unwrap().starts_with("datadog.sites"), "{reloaded}");
    daemon.logs("a", [2]).await;
    there.wait_items("a", "logs", 1).await;
    assert_eq!(here.count("a", "logs", "items").await, 1);
}

#[tokio::test]
async fn a_tenant_of_file_and_store_is_the_files_while_it_is_in_there_and_the_stores_again_after_it() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let daemon = Setup::new(&fakeintake, &["a"]).start_in(&home).await;
    let operator = Operator::of(&daemon);
    let added = operator.post("tenants", json!({ "id": "b", "api_key": key_of("stores") })).await;
    assert_eq!(added.status, 201);
    let token = operator.post("tenants/b/tokens", json!({})).await.body["token"].as_str().unwrap().to_owned();
    daemon.logs("b", [1]).await;
    fakeintake.wait_items("stores", "logs", 1).await;
    Setup::new(&fakeintake, &["a", "b"]).write_in(&home);
    let note = reload(&daemon).await["notes"][0].to_string();
    assert!(note.contains("tenant b is both"), "{note}");
    daemon.logs("b", [2]).await;
    fakeintake.wait_items("b", "logs", 1).await;
    assert_eq!(operator.show("b").await["source"], "static");
    assert_eq!(post_with(&daemon, &token).await, 403, "the store's token is not the file's");
    Setup::new(&fakeintake, &["a"]).write_in(&home);
    let note = reload(&daemon).await["notes"][0].to_string();
    assert!(note.contains("but in the store"), "{note}");
    assert_eq!(post_with(&daemon, &token).await, 202);
    fakeintake.wait_items("stores", "logs", 2).await;
    assert_eq!(operator.show("b").await["source"], "store");
}

#[tokio::test]
async fn a_client_secret_that_is_exchanged_in_its_file_is_used_from_then_on() {
    let (datadog, home) = (Datadog::start(3600).await, Home::new());
    let file = home.write("client.secret", "a wrong one");
    let setup = datadog.setup(&["fixed"]).without("oauth.client_secret");
    let daemon = setup.set("oauth.client_secret_file", file.to_str().unwrap()).start_in(&home).await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    let query = datadog.consent(&operator.begin("acme").await, "alpha", "approve").await;
    let refused = operator.callback("acme", &query).await;
    assert_eq!(refused.status, 502, "{}", refused.body);
    assert!(operator.get("status").await["oauth"]["refused"].is_string());
    home.write("client.secret", CLIENT_SECRET);
    assert_eq!(reload(&daemon).await["changed"][0]["key"], "oauth.client_secret");
    assert_eq!(operator.get("status").await["oauth"]["refused"], json!(null));
    operator.connect(&datadog, "acme", "alpha").await;
    daemon.logs("acme", [1]).await;
    datadog.wait_logs("alpha", &[1]).await;
    until("no secret in the log", async || (!daemon.log_text().contains(CLIENT_SECRET)).then_some(())).await;
}

#[tokio::test]
async fn a_key_file_that_changes_is_read_without_a_reload() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let file = home.write("a.key", &key_of("old"));
    let setup = Setup::new(&fakeintake, &[]).set("tenants.a.api_key_file", file.to_str().unwrap());
    let daemon = setup.start_in(&home).await;
    fakeintake.set_key("old", false).await;
    daemon.logs("a", [1, 2]).await;
    daemon.wait_state("a", "unauthorized").await;
    // No key: the one before stays in force, and the log says why.
    home.write("a.key", "two words");
    until("the bad file to be reported", async || daemon.log("a file of secrets has changed").pop()).await;
    // As Kubernetes exchanges a secret: another file takes its place.
    home.write("a.key", &key_of("new"));
    fakeintake.wait_items("new", "logs", 2).await;
    daemon.wait_state("a", "active").await;
    assert_eq!(daemon.log("read again from its file")[0]["key"], "tenants.a.api_key");
    for key in ["old", "new"] {
        assert!(!daemon.log_text().contains(&key_of(key)));
    }
}

#[tokio::test]
async fn a_token_file_that_changes_is_read_without_a_reload() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let [one, two] = ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"];
    let file = home.write("tokens", one);
    let setup = Setup::new(&fakeintake, &["a"]).set("ingest.require_token", true);
    let daemon = setup.set("tenants.a.ingest_tokens_file", file.to_str().unwrap()).start_in(&home).await;
    assert_eq!(post_with(&daemon, two).await, 403);
    home.write("tokens", two);
    until("the new token to be known", async || (post_with(&daemon, two).await == 202).then_some(())).await;
    assert_eq!(post_with(&daemon, one).await, 403);
}

#[tokio::test]
async fn a_client_secret_file_that_changes_is_read_without_a_reload() {
    let (datadog, home) = (Datadog::start(3600).await, Home::new());
    let file = home.write("client.secret", "a wrong one");
    let setup = datadog.setup(&["fixed"]).without("oauth.client_secret");
    let daemon = setup.set("oauth.client_secret_file", file.to_str().unwrap()).start_in(&home).await;
    home.write("client.secret", CLIENT_SECRET);
    until("the secret to be read", async || daemon.log("read again from its file").pop()).await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    operator.connect(&datadog, "acme", "alpha").await;
    assert!(!daemon.log_text().contains(CLIENT_SECRET));
}

#[tokio::test]
async fn a_client_may_be_configured_while_the_daemon_runs() {
    let (datadog, home) = (Datadog::start(3600).await, Home::new());
    let with = datadog.setup(&[]);
    let daemon = datadog.setup(&[]).without("oauth").start_in(&home).await;
    let operator = Operator::of(&daemon);
    operator.create("acme").await;
    assert_eq!(operator.post("tenants/acme/connect", json!({})).await.status, 409);
    with.write_in(&home);
    reload(&daemon).await;
    operator.connect(&datadog, "acme", "alpha").await;
    daemon.logs("acme", [1]).await;
    datadog.wait_logs("alpha", &[1]).await;
}

#[tokio::test]
async fn the_quota_of_a_tenant_holds_at_once() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let setup = || Setup::new(&fakeintake, &["a"]).set("batch.max_age", "10m");
    let daemon = setup().start_in(&home).await;
    let big = json!([{ "message": "x".repeat(700_000) }]);
    daemon.post("a", "/api/v2/logs", &big).await;
    setup().set("tenants.a.max_bytes", "1MiB").write_in(&home);
    reload(&daemon).await;
    let refused = daemon.try_post("a", "/api/v2/logs", big.to_string().into_bytes()).await.unwrap();
    assert_eq!((refused.status, refused.retry_after.is_some()), (429, true), "{}", refused.text);
    setup().set("tenants.a.max_bytes", "1MiB").set("tenants.a.when_full", "drop_oldest").write_in(&home);
    reload(&daemon).await;
    daemon.post("a", "/api/v2/logs", &big).await;
    let scrape = daemon.scrape().await;
    assert_eq!(scrape.sum("dogsled_items_dropped_total", &[("tenant", "a"), ("reason", "evicted")]), 1.0);
}
