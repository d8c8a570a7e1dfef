//! Disconnecting.

use super::harness::{World, id, status};
use dogsled::store::Connection;
use dogsled::tenancy::TenantState;

#[tokio::test]
async fn disconnecting_revokes_at_datadog_and_deletes_here() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    let connected = world.connect(&host, &acme, "alpha").await.unwrap();
    let tokens = host.store.tokens(&acme).await.unwrap().unwrap();
    let open = world.approve(&host, &acme, "alpha").await;
    let left = host.oauth.disconnect(&acme).await.unwrap();
    assert_eq!((left.not_revoked, world.fakeintake.oauth_counts().revocations), (None, 1));
    assert!(left.instructions.contains("OAuth Client API Key"));
    let record = host.record(&acme).await;
    assert_eq!(record, left.tenant);
    assert_eq!((record.connection, record.organisation), (Connection::Pending, None));
    assert_eq!((record.key, record.tokens, record.held_for), (None, None, connected.organisation));
    assert_eq!((host.key(&acme), host.registry.get("acme").unwrap().state()), (None, TenantState::Pending));
    // What was begun before is void, and the tokens are dead at Datadog.
    assert_eq!(host.oauth.finish(&open, None, None).await.unwrap_err().code(), "unknown_state");
    let form = format!(
        "grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
        super::harness::CLIENT_ID,
        form_urlencoded::byte_serialize(super::harness::CLIENT_SECRET.as_bytes()).collect::<String>(),
        tokens.refresh.expose()
    );
    let http = dogsled::outbound::builder(None).unwrap().no_proxy().build().unwrap();
    let refresh = http
        .post(format!("{}/oauth2/v1/token", world.url))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .unwrap();
    assert_eq!(refresh.status(), 400);
    assert!(refresh.text().await.unwrap().contains("invalid_grant"));
    // Again is fine, and nobody is no tenant.
    assert_eq!(host.oauth.disconnect(&acme).await.unwrap().not_revoked, None);
    assert_eq!(host.oauth.disconnect(&id("nobody")).await.unwrap_err().code(), "unknown_tenant");
}

#[tokio::test]
async fn a_failed_revocation_still_disconnects() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.connect(&host, &acme, "alpha").await.unwrap();
    world.fakeintake.add_fault(status("/oauth2/v1/revoke", 9, 503, "later"));
    let left = host.oauth.disconnect(&acme).await.unwrap();
    assert_eq!(left.not_revoked.as_deref(), Some("503 later"));
    assert!(left.instructions.contains("the customer removes"));
    assert_eq!((left.tenant.key, left.tenant.tokens, host.key(&acme)), (None, None, None));
}
