//! What is cut off in the middle is told, and goes on with the next start or click.

use super::harness::{KEYS, VALIDATE, World, rule, status};
use dogsled::fakeintake::Effect;
use dogsled::oauth::{self, KeyTrouble, KeyUse};
use dogsled::store::{Change, Connection, NewKey, Origin};
use dogsled::types::{Secret, UnixMillis};
use std::time::Duration;

#[tokio::test]
async fn a_lost_key_creation_is_never_repeated() {
    for effect in [Effect::AnswerLost {}, Effect::Status { code: 504, headers: Default::default(), body: None }] {
        let made = u64::from(effect == Effect::AnswerLost {});
        let world = World::new();
        let host = world.host().await;
        let acme = host.add("acme").await;
        let fault = world.fakeintake.add_fault(rule(KEYS, 1, effect));
        let error = world.connect(&host, &acme, "alpha").await.unwrap_err();
        assert_eq!(error.code(), "no_key");
        assert!(error.to_string().contains("may exist that is not stored here"), "{error}");
        let record = host.record(&acme).await;
        assert!(record.key_creation_begun.is_some() && record.key.is_none());
        let Connection::Unauthorized { instructions, .. } = &record.connection else { panic!("{record:?}") };
        assert!(instructions.contains("OAuth Client API Key") && instructions.contains("if there is one"));
        // Neither the background, nor a restart, nor a refused key makes it ask again.
        let other = world.host().await;
        for _ in 0..3 {
            world.pass(Duration::from_secs(3_600));
            host.oauth.run_once().await.unwrap();
            other.oauth.run_once().await.unwrap();
            let trouble = other.oauth.key_refused(&acme, &Secret::new("x")).await.unwrap();
            assert!(matches!(trouble, KeyTrouble::Unauthorized(_)), "{trouble:?}");
        }
        assert_eq!(world.fakeintake.oauth_counts().keys_created, made);
        let faults = world.fakeintake.faults();
        assert_eq!(faults.iter().find(|found| found.id == fault).unwrap().matched, 1, "one request");
        // The customer does what the status says: clicks, revokes what there is, clicks.
        let connected = match world.connect(&other, &acme, "alpha").await {
            Ok(connected) => connected,
            Err(error) => {
                assert!(error.to_string().contains("already has an API key of this integration"), "{error}");
                world.revoke_keys("alpha");
                world.connect(&other, &acme, "alpha").await.unwrap()
            }
        };
        assert_eq!((connected.key, other.record(&acme).await.key_creation_begun), (KeyUse::Created, None));
    }
}

#[tokio::test]
async fn an_interrupted_key_creation_is_told_at_start() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    // What is kept before the request is sent.
    host.apply(&acme, &[Change::KeyCreation(true)]).await;
    drop(host);
    let host = world.host().await;
    host.oauth.run_once().await.unwrap();
    let status = oauth::status(&host.record(&acme).await, UnixMillis::now());
    assert!(status.text.contains("stopped in between") && status.to_do.unwrap().contains("revokes the key"));
    assert_eq!(world.connect(&host, &acme, "alpha").await.unwrap().key, KeyUse::Created);
}

#[tokio::test]
async fn another_hosts_key_creation_is_not_a_crash() {
    let world = World::new();
    let (host, other) = (world.host().await, world.host().await);
    let acme = host.add("acme").await;
    let query = world.approve(&host, &acme, "alpha").await;
    let fault = world.fakeintake.add_fault(rule(KEYS, 1, Effect::Hang { seconds: None }));
    let oauth = host.oauth.clone();
    let finishing = tokio::spawn(async move { oauth.finish(&query, None, None).await });
    super::harness::until("the creation", || async { host.record(&acme).await.key_creation_begun }).await;
    other.oauth.run_once().await.unwrap();
    assert_eq!(other.record(&acme).await.connection, Connection::Pending);
    world.fakeintake.remove_fault(Some(fault));
    assert!(finishing.await.unwrap().unwrap().verified);
}

#[tokio::test]
async fn a_crash_after_storing_the_key_loses_nothing() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.connect(&host, &acme, "alpha").await.unwrap();
    let before = host.record(&acme).await;
    let key = Secret::new(host.key(&acme).unwrap());
    // As it is between keeping the key and learning whose it is.
    let key = NewKey { key, datadog_id: None, origin: Origin::OAuth };
    host.apply(&acme, &[Change::Key(Some(key)), Change::Connection(Connection::Pending)]).await;
    drop(host);
    let host = world.host().await;
    host.oauth.load().await.unwrap();
    assert_eq!(host.key(&acme), None);
    host.oauth.run_once().await.unwrap();
    assert_eq!(host.key(&acme), world.keys("alpha").pop());
    let after = host.record(&acme).await;
    assert_eq!((after.organisation, after.held_for), (before.organisation, None));
}

#[tokio::test]
async fn a_persistently_refused_new_key_is_abandoned() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.fakeintake.add_fault(status(VALIDATE, 99, 403, r#"{"errors":["Forbidden"]}"#));
    assert!(!world.connect(&host, &acme, "alpha").await.unwrap().verified);
    host.oauth.run_once().await.unwrap();
    assert_eq!(host.record(&acme).await.connection, Connection::Pending, "it may take Datadog a while");
    world.pass(Duration::from_secs(700));
    host.oauth.run_once().await.unwrap();
    let record = host.record(&acme).await;
    assert!(matches!(&record.connection, Connection::Unauthorized { reason, .. } if reason.contains("403 Forbidden")));
}

#[tokio::test]
async fn hosts_learn_of_each_others_changes() {
    let world = World::new();
    let (host, other) = (world.host().await, world.host().await);
    let acme = host.add("acme").await;
    let loaded = other.oauth.load().await.unwrap();
    let running = tokio::spawn({
        let (oauth, mut watch) = (other.oauth.clone(), other.store.watch(loaded));
        async move {
            loop {
                for tenant in watch.next().await.unwrap().tenants {
                    oauth.follow(&tenant).await.unwrap();
                }
            }
        }
    });
    world.connect(&host, &acme, "alpha").await.unwrap();
    let key = super::harness::until("the key on the other host", || async { other.key(&acme) }).await;
    assert_eq!(Some(key), host.key(&acme));
    host.store.remove_tenant(&acme).await.unwrap();
    super::harness::until("the tenant to go", || async { other.registry.get("acme").is_none().then_some(()) }).await;
    running.abort();
}

#[tokio::test]
async fn a_frozen_host_stores_the_key_it_created() {
    let world = World::new();
    let (host, other) = (world.host().await, world.host().await);
    let acme = host.add("acme").await;
    let query = world.approve(&host, &acme, "alpha").await;
    let fault = world.fakeintake.add_fault(rule(KEYS, 1, Effect::Hang { seconds: None }));
    let oauth = host.oauth.clone();
    let finishing = tokio::spawn(async move { oauth.finish(&query, None, None).await });
    super::harness::until("the creation", || async { host.record(&acme).await.key_creation_begun }).await;
    // Its lease runs out, and another host takes over, which tells of a key that may be lost.
    let database = rusqlite::Connection::open(world.dir.path().join("tenants.db")).unwrap();
    database.execute_batch("UPDATE dogsled_leases SET expires = 0").unwrap();
    other.oauth.run_once().await.unwrap();
    assert!(matches!(other.record(&acme).await.connection, Connection::Unauthorized { .. }));
    let taken = other.store.lock(&acme, "oauth", Duration::from_secs(60)).await.unwrap().unwrap();
    world.fakeintake.remove_fault(Some(fault));
    finishing.await.unwrap().unwrap_err();
    assert!(other.record(&acme).await.key.is_some(), "the only copy of it");
    taken.release().await.unwrap();
    other.oauth.run_once().await.unwrap();
    assert_eq!(other.key(&acme), world.keys("alpha").pop());
}

#[tokio::test]
async fn a_lost_key_outlasts_failed_attempts() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.fakeintake.add_fault(rule(KEYS, 1, Effect::AnswerLost {}));
    world.connect(&host, &acme, "alpha").await.unwrap_err();
    world.fakeintake.add_fault(status(KEYS, 1, 403, r#"{"errors":["Forbidden"]}"#));
    world.connect(&host, &acme, "alpha").await.unwrap_err();
    let record = host.record(&acme).await;
    assert!(record.key_creation_begun.is_some());
    let told = oauth::status(&record, UnixMillis::now());
    assert!(told.text.contains("403 Forbidden") && told.to_do.unwrap().contains("revokes the key"));
}
