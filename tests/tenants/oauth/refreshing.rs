//! Tokens are refreshed before they expire, once, whichever host does it.

use super::harness::{TOKEN, World, client, rule, status};
use dogsled::fakeintake::Effect;
use dogsled::store::Connection;
use dogsled::tenancy::TenantState;
use dogsled::types::Secret;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn one_host_refreshes_tokens_in_time() {
    refreshed_by_one_host(World::new()).await;
}

#[tokio::test]
async fn one_postgresql_host_refreshes_tokens() {
    if let Some(world) = World::on_postgres().await {
        refreshed_by_one_host(world).await;
    }
}

async fn refreshed_by_one_host(world: World) {
    let hosts = [world.host().await, world.host().await, world.host().await];
    let tenants = [hosts[0].add("acme").await, hosts[0].add("other").await];
    world.connect(&hosts[0], &tenants[0], "alpha").await.unwrap();
    world.connect(&hosts[0], &tenants[1], "beta").await.unwrap();
    let first = hosts[0].store.tokens(&tenants[0]).await.unwrap().unwrap();
    world.pass(44 * MINUTE);
    let [one, two, three] = &hosts;
    let all = async || {
        let _ = tokio::join!(one.oauth.run_once(), two.oauth.run_once(), three.oauth.run_once());
    };
    all().await;
    assert_eq!(world.fakeintake.oauth_counts().refreshes, 0, "not in the first three quarters");
    world.pass(11 * MINUTE);
    for _ in 0..3 {
        all().await;
    }
    assert_eq!((world.fakeintake.oauth_counts().refreshes, world.fakeintake.oauth_counts().refused), (2, 0));
    let second = two.store.tokens(&tenants[0]).await.unwrap().unwrap();
    assert!(second.refresh != first.refresh && second.access != first.access);
    assert!(second.info.generation > first.info.generation && second.info.expires > first.info.expires);
    assert_eq!(second.info.scopes, "api_keys_write");
    // And for ever.
    for _ in 0..3 {
        world.pass(55 * MINUTE);
        all().await;
    }
    assert_eq!((world.fakeintake.oauth_counts().refreshes, world.fakeintake.oauth_counts().refused), (8, 0));
}

#[tokio::test]
async fn a_revoked_authorisation_holds_until_reconnected() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.connect(&host, &acme, "alpha").await.unwrap();
    let key = host.key(&acme);
    world.fakeintake.revoke_tokens(None, None);
    world.pass(55 * MINUTE);
    host.oauth.run_once().await.unwrap();
    let record = host.record(&acme).await;
    let Connection::Unauthorized { reason, instructions } = &record.connection else { panic!("{record:?}") };
    assert!(reason.contains("invalid_grant") && instructions.contains("connects again"));
    assert!(record.tokens.is_none() && record.key.is_some(), "the key is kept for the reconnection");
    assert_eq!((host.key(&acme), host.registry.get("acme").unwrap().state()), (None, TenantState::Unauthorized));
    world.pass(600 * MINUTE);
    host.oauth.run_once().await.unwrap();
    assert_eq!(world.fakeintake.oauth_counts().refused, 1, "what is final is not tried again");
    world.connect(&host, &acme, "alpha").await.unwrap();
    assert_eq!(host.key(&acme), key);
    assert_eq!(world.fakeintake.oauth_counts().keys_created, 1);
}

#[tokio::test]
async fn failed_refreshes_are_retried_with_backoff() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.connect(&host, &acme, "alpha").await.unwrap();
    let key = host.key(&acme);
    let busy = world.fakeintake.add_fault(status(TOKEN, 4, 502, "bad gateway"));
    world.pass(55 * MINUTE);
    let asked = || world.fakeintake.faults().iter().find(|fault| fault.id == busy).unwrap().matched;
    for _ in 0..5 {
        host.oauth.run_once().await.unwrap();
    }
    assert_eq!(asked(), 1, "a pause comes first");
    for times in 2..=4 {
        world.pass(10 * MINUTE);
        host.oauth.run_once().await.unwrap();
        assert_eq!(asked(), times);
        assert_eq!((host.record(&acme).await.connection, host.key(&acme)), (Connection::Connected, key.clone()));
    }
    world.pass(10 * MINUTE);
    host.oauth.run_once().await.unwrap();
    assert_eq!(world.fakeintake.oauth_counts().refreshes, 1);
}

#[tokio::test]
async fn a_lost_refresh_ends_in_a_clear_state() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.connect(&host, &acme, "alpha").await.unwrap();
    world.fakeintake.add_fault(rule(TOKEN, 1, Effect::AnswerLost {}));
    world.pass(55 * MINUTE);
    host.oauth.run_once().await.unwrap();
    assert_eq!(host.record(&acme).await.connection, Connection::Connected, "nothing is known yet");
    world.pass(10 * MINUTE);
    host.oauth.run_once().await.unwrap();
    // The stand-in has rotated the token: the old one is dead, and only the customer can help.
    assert!(matches!(host.record(&acme).await.connection, Connection::Unauthorized { .. }));
    world.connect(&host, &acme, "alpha").await.unwrap();
    assert_eq!(world.fakeintake.oauth_counts().keys_created, 1);
}

#[tokio::test]
async fn a_wrong_secret_stops_refreshing_and_no_tenant() {
    let world = World::new();
    let host = world.host().await;
    let tenants = [host.add("acme").await, host.add("other").await];
    world.connect(&host, &tenants[0], "alpha").await.unwrap();
    world.connect(&host, &tenants[1], "beta").await.unwrap();
    let mut changed = client();
    changed.client_secret = Some("rotated by the partner".into());
    world.fakeintake.set_client(changed);
    world.pass(55 * MINUTE);
    for _ in 0..3 {
        host.oauth.run_once().await.unwrap();
    }
    assert!(host.oauth.partner_fault().is_some());
    assert!(world.fakeintake.oauth_counts().refused <= 2, "tenants do not queue up to fail");
    for tenant in &tenants {
        assert_eq!(host.record(tenant).await.connection, Connection::Connected);
        assert!(host.key(tenant).is_some());
    }
    world.fakeintake.set_client(client());
    world.pass(20 * MINUTE);
    host.oauth.run_once().await.unwrap();
    assert_eq!((host.oauth.partner_fault(), world.fakeintake.oauth_counts().refreshes), (None, 2));
}

#[tokio::test]
async fn an_expired_access_token_is_refreshed_first() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.connect(&host, &acme, "alpha").await.unwrap();
    world.fakeintake.expire_tokens(None, None);
    let old = Secret::new(host.key(&acme).unwrap());
    world.revoke_keys("alpha");
    host.oauth.key_refused(&acme, &old).await.unwrap();
    assert_eq!(host.key(&acme), world.keys("alpha").pop());
}

#[tokio::test]
async fn a_frozen_host_stores_the_token_it_rotated() {
    let world = World::new();
    let (host, other) = (world.host().await, world.host().await);
    let acme = host.add("acme").await;
    world.connect(&host, &acme, "alpha").await.unwrap();
    let before = host.store.tokens(&acme).await.unwrap().unwrap();
    let fault = world.fakeintake.add_fault(rule(TOKEN, 1, Effect::Hang { seconds: None }));
    world.pass(55 * MINUTE);
    let oauth = host.oauth.clone();
    let refreshing = tokio::spawn(async move { oauth.run_once().await });
    super::harness::until("the refresh", || async {
        world.fakeintake.faults().iter().find(|found| found.id == fault)?.hits.eq(&1).then_some(())
    })
    .await;
    let database = rusqlite::Connection::open(world.dir.path().join("tenants.db")).unwrap();
    database.execute_batch("UPDATE dogsled_leases SET expires = 0").unwrap();
    let taken = other.store.lock(&acme, "oauth", Duration::from_secs(60)).await.unwrap().unwrap();
    world.fakeintake.remove_fault(Some(fault));
    refreshing.await.unwrap().unwrap();
    let after = host.store.tokens(&acme).await.unwrap().unwrap();
    assert_ne!(after.refresh, before.refresh);
    taken.release().await.unwrap();
    world.pass(55 * MINUTE);
    other.oauth.run_once().await.unwrap();
    assert_eq!((world.fakeintake.oauth_counts().refreshes, world.fakeintake.oauth_counts().refused), (2, 0));
}
