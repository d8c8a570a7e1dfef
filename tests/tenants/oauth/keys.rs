//! What happens when Datadog refuses a key.

use super::harness::{KEYS, TOKEN, World, rule, status};
use dogsled::fakeintake::{Effect, Rotation};
use dogsled::oauth::KeyTrouble;
use dogsled::store::{Change, Connection, NewKey, Origin};
use dogsled::tenancy::TenantState;
use dogsled::types::Secret;

fn reason(trouble: KeyTrouble) -> String {
    match trouble {
        KeyTrouble::Unauthorized(trouble) => format!("{} {}", trouble.reason, trouble.instructions),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn concurrent_replacements_create_one_key() {
    let world = World::new();
    let (host, other) = (world.host().await, world.host().await);
    let acme = host.add("acme").await;
    world.connect(&host, &acme, "alpha").await.unwrap();
    other.oauth.load().await.unwrap();
    let old = Secret::new(host.key(&acme).unwrap());
    world.revoke_keys("alpha");
    let (one, two) = tokio::join!(host.oauth.key_refused(&acme, &old), other.oauth.key_refused(&acme, &old));
    assert_eq!((one.unwrap(), two.unwrap()), (KeyTrouble::Replaced, KeyTrouble::Replaced));
    let new = world.keys("alpha");
    assert_eq!((new.len(), new[0] != old.expose()), (1, true));
    assert_eq!((host.key(&acme), other.key(&acme)), (new.first().cloned(), new.first().cloned()));
    let counts = world.fakeintake.oauth_counts();
    assert_eq!((counts.keys_created, counts.refreshes), (2, 1));
    assert_eq!(host.record(&acme).await.held_for, None);
}

#[tokio::test]
async fn a_doubly_revoked_tenant_waits_for_the_customer() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.connect(&host, &acme, "alpha").await.unwrap();
    let old = Secret::new(host.key(&acme).unwrap());
    world.revoke_keys("alpha");
    world.fakeintake.revoke_tokens(None, None);
    let told = reason(host.oauth.key_refused(&acme, &old).await.unwrap());
    assert!(told.contains("invalid_grant") && told.contains("connects again"), "{told}");
    assert_eq!(host.registry.get("acme").unwrap().state(), TenantState::Unauthorized);
    assert_eq!(reason(host.oauth.key_refused(&acme, &old).await.unwrap()), told, "and nothing more is asked");
    assert_eq!(world.fakeintake.oauth_counts().refused, 1);
    world.connect(&host, &acme, "alpha").await.unwrap();
    assert_eq!(host.key(&acme), world.keys("alpha").pop());
}

#[tokio::test]
async fn an_existing_refused_key_is_the_customers() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.connect(&host, &acme, "alpha").await.unwrap();
    let old = Secret::new(host.key(&acme).unwrap());
    let told = reason(host.oauth.key_refused(&acme, &old).await.unwrap());
    assert!(told.contains("already exists") && told.contains("Organization Settings"), "{told}");
    assert_eq!(host.key(&acme), None);
    assert!(matches!(host.record(&acme).await.connection, Connection::Unauthorized { .. }));
}

#[tokio::test]
async fn a_transient_failure_changes_nothing() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.connect(&host, &acme, "alpha").await.unwrap();
    let old = Secret::new(host.key(&acme).unwrap());
    world.revoke_keys("alpha");
    world.fakeintake.add_fault(status(TOKEN, 1, 500, "oops"));
    let later = host.oauth.key_refused(&acme, &old).await.unwrap();
    assert_eq!(later, KeyTrouble::Later("500 oops".into()));
    assert_eq!(host.record(&acme).await.connection, Connection::Connected);
    assert_eq!(host.oauth.key_refused(&acme, &old).await.unwrap(), KeyTrouble::Replaced);
}

#[tokio::test]
async fn a_lost_answer_is_told_and_not_repeated() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.connect(&host, &acme, "alpha").await.unwrap();
    let old = Secret::new(host.key(&acme).unwrap());
    world.revoke_keys("alpha");
    world.fakeintake.add_fault(rule(KEYS, 1, Effect::AnswerLost {}));
    let told = reason(host.oauth.key_refused(&acme, &old).await.unwrap());
    assert!(told.contains("may exist that is not stored here"), "{told}");
    assert_eq!(reason(host.oauth.key_refused(&acme, &old).await.unwrap()), told);
    assert_eq!(world.fakeintake.oauth_counts().keys_created, 2);
}

#[tokio::test]
async fn a_refused_static_key_is_the_operators() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    let key = Secret::new("0123456789abcdef0123456789abcdef");
    let given = NewKey { key: key.clone(), datadog_id: None, origin: Origin::Static };
    host.apply(&acme, &[Change::Key(Some(given)), Change::Connection(Connection::Connected)]).await;
    host.oauth.load().await.unwrap();
    assert_eq!(host.key(&acme).as_deref(), Some(key.expose()));
    let told = reason(host.oauth.key_refused(&acme, &key).await.unwrap());
    assert!(told.contains("configured for this tenant"), "{told}");
    assert_eq!(host.key(&acme), None);
    // Connecting takes its place.
    world.connect(&host, &acme, "alpha").await.unwrap();
    assert_eq!(host.key(&acme), world.keys("alpha").pop());
}

#[tokio::test]
async fn without_an_authorisation_there_is_nothing_to_try() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.connect(&host, &acme, "alpha").await.unwrap();
    host.apply(&acme, &[Change::Tokens(None)]).await;
    let old = Secret::new(host.key(&acme).unwrap());
    let told = reason(host.oauth.key_refused(&acme, &old).await.unwrap());
    assert!(told.contains("no authorisation"), "{told}");
}

#[tokio::test]
async fn an_unrotated_refresh_token_stays_in_use() {
    let mut client = super::harness::client();
    client.rotation = Rotation::Kept;
    let world = World::with(client);
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.connect(&host, &acme, "alpha").await.unwrap();
    let before = host.store.tokens(&acme).await.unwrap().unwrap();
    for _ in 0..2 {
        let old = Secret::new(host.key(&acme).unwrap());
        world.revoke_keys("alpha");
        assert_eq!(host.oauth.key_refused(&acme, &old).await.unwrap(), KeyTrouble::Replaced);
    }
    let after = host.store.tokens(&acme).await.unwrap().unwrap();
    assert!(after.refresh == before.refresh && after.access != before.access);
}
