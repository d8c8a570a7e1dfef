//! `POST /admin/v1/reload`.

use crate::operator::{Operator, Reply};
use crate::support::{Daemon, FakeIntake, Home, Setup};
use reqwest::Method;
use serde_json::{Value, json};

async fn reload(daemon: &Daemon) -> Reply {
    let operator = Operator::of(daemon);
    operator.send(operator.request(Method::POST, "reload")).await
}

fn keys(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_answer_says_what_changed_and_what_waits_for_a_restart_as_long_as_it_does() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let daemon = Setup::new(&fakeintake, &["a"]).start_in(&home).await;
    let same = reload(&daemon).await;
    assert_eq!((same.status, keys(&same.body["changed"]).len(), keys(&same.body["needs_restart"]).len()), (200, 0, 0));
    let setup = Setup::new(&fakeintake, &["a"]).set("ingest.listen", "127.0.0.1:1").set("shutdown.grace", "9s");
    setup.write_in(&home);
    let reloaded = reload(&daemon).await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.body);
    assert_eq!(reloaded.body["changed"], json!([{ "key": "shutdown.grace", "from": "10s", "to": "9s" }]));
    let waiting = json!([{ "key": "ingest.listen", "from": "127.0.0.1:0", "to": "127.0.0.1:1" }]);
    assert_eq!(reloaded.body["needs_restart"], waiting);
    // The former port goes on, and the new one still waits.
    daemon.logs("a", [1]).await;
    fakeintake.wait_items("a", "logs", 1).await;
    let again = reload(&daemon).await;
    assert_eq!((&again.body["changed"], &again.body["needs_restart"]), (&json!([]), &waiting));
    assert!(!daemon.log("with a restart only").is_empty());
}

#[tokio::test]
async fn a_bad_file_is_answered_with_all_that_is_wrong_and_the_one_before_stays() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let setup = Setup::new(&fakeintake, &["a"]);
    let daemon = setup.start_in(&home).await;
    setup.without("tenants.a").set("log.levle", "debug").set("limits.items_per_second", -1).write_in(&home);
    let refused = reload(&daemon).await;
    assert_eq!((refused.status, &refused.body["code"]), (422, &json!("configuration")), "{}", refused.body);
    let errors: Vec<&str> = refused.body["errors"].as_array().unwrap().iter().map(|e| e.as_str().unwrap()).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors.iter().all(|error| error.contains("dogsled.toml:")), "{errors:?}");
    daemon.logs("a", [1]).await;
    fakeintake.wait_items("a", "logs", 1).await;
    assert_eq!(Operator::of(&daemon).get("status").await["not_ready"], json!(null));
}

#[tokio::test]
async fn a_change_that_would_leave_the_open_port_without_tokens_before_the_restart_is_refused() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let setup = |listen: &str, token: bool| {
        Setup::new(&fakeintake, &["a"]).set("ingest.listen", listen).set("ingest.require_token", token)
    };
    let daemon = setup("0.0.0.0:0", true).start_in(&home).await;
    setup("127.0.0.1:0", false).write_in(&home);
    let refused = reload(&daemon).await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert!(
        refused.body["errors"][0].as_str().unwrap().contains("cannot change without a restart"),
        "{}",
        refused.body
    );
}

#[tokio::test]
async fn another_level_of_the_log_holds_at_once() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let setup = |level: &str| Setup::new(&fakeintake, &["a"]).set("log.level", level);
    let daemon = setup("info").start_in(&home).await;
    let told = || daemon.log("the configuration was reloaded").len();
    for (level, lines) in [("error", 0), ("error,dogsled::daemon=info", 1), ("off", 1), ("info", 2)] {
        setup(level).write_in(&home);
        assert_eq!(reload(&daemon).await.status, 200);
        // What is logged is read from a pipe: a line that is there for sure comes after those that might be.
        if lines > 0 {
            crate::support::until("the line", async || (told() >= lines).then_some(())).await;
        }
        assert_eq!(told(), lines, "{level}");
    }
}

#[tokio::test]
async fn limits_hold_at_once_and_so_does_their_end() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let setup = |limit: u64| Setup::new(&fakeintake, &["a", "b"]).set("limits.items_per_second", limit);
    let daemon = setup(0).start_in(&home).await;
    daemon.logs("a", 0..100).await;
    setup(1).set("tenants.b.items_per_second", 0).write_in(&home);
    assert_eq!(reload(&daemon).await.status, 200);
    daemon.logs("a", 100..110).await;
    let refused = daemon.try_post("a", "/api/v2/logs", br#"[{"message":"m"}]"#.to_vec()).await.unwrap();
    assert_eq!(refused.status, 429, "{}", refused.text);
    assert!(refused.text.contains("tenant a ") && refused.text.contains("items_per_second"), "{}", refused.text);
    let after: u64 = refused.retry_after.unwrap().parse().unwrap();
    assert!((1..=9).contains(&after), "{after}");
    for _ in 0..5 {
        daemon.logs("b", 0..100).await;
    }
    setup(0).write_in(&home);
    assert_eq!(reload(&daemon).await.status, 200);
    daemon.logs("a", 110..120).await;
    fakeintake.wait_items("a", "logs", 120).await;
    fakeintake.wait_items("b", "logs", 500).await;
    let scrape = daemon.scrape().await;
    assert_eq!(scrape.sum("dogsled_ingest_requests_total", &[("status", "429")]), 1.0);
}

#[tokio::test]
async fn who_comes_again_when_told_to_is_let_in() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let daemon = Setup::new(&fakeintake, &["a"]).set("tenants.a.items_per_second", 10).start_in(&home).await;
    daemon.logs("a", 0..30).await;
    let body = br#"[{"message":"m"}]"#.to_vec();
    let refused = daemon.try_post("a", "/api/v2/logs", body.clone()).await.unwrap();
    assert_eq!(refused.status, 429);
    let after = std::time::Duration::from_secs(refused.retry_after.unwrap().parse().unwrap());
    tokio::time::sleep(after).await;
    assert_eq!(daemon.try_post("a", "/api/v2/logs", body).await.unwrap().status, 202);
}

#[tokio::test]
async fn requests_go_by_the_new_rules_about_tenants() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let setup = Setup::new(&fakeintake, &["a"]);
    let daemon = setup.start_in(&home).await;
    let log = || br#"[{"message":"m"}]"#.to_vec();
    assert_eq!(daemon.post_tagged("/api/v2/logs", log()).await.status, 401);
    setup.set("tenancy.default", "a").set("tenancy.header", "X-Customer").write_in(&home);
    assert_eq!(reload(&daemon).await.status, 200);
    assert_eq!(daemon.post_tagged("/api/v2/logs", log()).await.status, 202);
    assert_eq!(
        daemon.try_post("nobody", "/api/v2/logs", log()).await.unwrap().status,
        202,
        "X-Tenant names nobody now"
    );
    Setup::new(&fakeintake, &["a"]).set("ingest.require_token", true).write_in(&home);
    assert_eq!(reload(&daemon).await.status, 200);
    assert_eq!(daemon.try_post("a", "/api/v2/logs", log()).await.unwrap().status, 401);
}
