//! Only a proven organisation takes another one's place: what a browser says of it proves nothing.

use super::harness::{Host, World, changed, client, org};
use dogsled::oauth::KeyTrouble;
use dogsled::types::{Secret, TenantId};

/// Two organisations on one site, so that only Datadog's word tells them apart.
fn world() -> World {
    let mut client = client();
    client.orgs = vec![org("alpha", "datadoghq.com"), org("beta", "datadoghq.com")];
    World::with(client)
}

/// The `dd_oid` that comes with an organisation's approval.
async fn dd_oid(world: &World, host: &Host, tenant: &TenantId, of: &str) -> String {
    let query = world.approve(host, tenant, of).await;
    form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "dd_oid").unwrap().1.into_owned()
}

#[tokio::test]
async fn another_organisations_tokens_replace_none() {
    let world = world();
    let host = world.host().await;
    let (acme, other) = (host.add("acme").await, host.add("other").await);
    let alpha = world.connect(&host, &acme, "alpha").await.unwrap().organisation;
    world.connect(&host, &other, "beta").await.unwrap();
    let oid = dd_oid(&world, &host, &acme, "alpha").await;
    for claimed in [None, Some(oid.as_str())] {
        let query = changed(&world.approve(&host, &acme, "beta").await, &[("dd_oid", claimed)]);
        let _ = host.oauth.finish(&query, None, None).await;
        assert_eq!(host.record(&acme).await.organisation, alpha);
    }
    // The tokens that are left make the next key where the tenant is.
    let old = Secret::new(host.key(&acme).unwrap());
    world.revoke_keys("alpha");
    world.revoke_keys("beta");
    assert_eq!(host.oauth.key_refused(&acme, &old).await.unwrap(), KeyTrouble::Replaced);
    assert_eq!((world.keys("alpha").len(), world.keys("beta").len()), (1, 0));
    assert_eq!((host.key(&acme), host.record(&acme).await.organisation), (world.keys("alpha").pop(), alpha));
}

#[tokio::test]
async fn a_refused_key_never_moves_a_tenant() {
    let world = world();
    let host = world.host().await;
    let acme = host.add("acme").await;
    let alpha = world.connect(&host, &acme, "alpha").await.unwrap().organisation;
    let key = host.key(&acme).unwrap();
    // The authorisation ends; whoever gives the next one does it for beta, and calls it alpha.
    world.fakeintake.revoke_tokens(None, None);
    let oid = dd_oid(&world, &host, &acme, "alpha").await;
    let query = changed(&world.approve(&host, &acme, "beta").await, &[("dd_oid", Some(&oid))]);
    host.oauth.finish(&query, None, None).await.unwrap();
    world.revoke_keys("alpha");
    let trouble = match host.oauth.key_refused(&acme, &Secret::new(key)).await.unwrap() {
        KeyTrouble::Unauthorized(trouble) => trouble,
        moved => panic!("{moved:?}"),
    };
    assert!(trouble.reason.contains("another organisation"), "{trouble:?}");
    let record = host.record(&acme).await;
    assert_eq!((host.key(&acme), record.organisation.clone(), record.tokens), (None, alpha.clone(), None));
    // Nor does any later look at it.
    host.oauth.run_once().await.unwrap();
    let again = world.host().await;
    again.oauth.run_once().await.unwrap();
    assert_eq!((again.key(&acme), again.record(&acme).await.organisation), (None, alpha.clone()));
    // The customer may: what was held stays for alpha until the operator decides.
    let moved = world.connect(&host, &acme, "beta").await.unwrap();
    assert_eq!((moved.verified, moved.held_for), (true, alpha));
}
