//! From the click to the key.

use super::harness::{CLIENT_SECRET, KEYS, TOKEN, VALIDATE, World, changed, client, id, rule, status};
use dogsled::fakeintake::{CloseWhen, Effect};
use dogsled::oauth::{self, FinishError, KeyUse};
use dogsled::store::{Connection, TenantRecord};
use dogsled::tenancy::TenantState;
use dogsled::types::UnixMillis;
use std::time::Duration;

fn text(record: &TenantRecord) -> oauth::Status {
    oauth::status(record, UnixMillis::now())
}

#[tokio::test]
async fn a_customers_click_yields_a_key_in_use() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    let connected = world.connect(&host, &acme, "beta").await.unwrap();
    assert_eq!((connected.key, connected.verified, connected.site.as_str()), (KeyUse::Created, true, "datadoghq.eu"));
    let organisation = connected.organisation.unwrap();
    assert_eq!((organisation.id.len(), organisation.name.as_deref()), (36, Some("The beta & Co")));
    assert_eq!(connected.held_for, None);

    let key = world.keys("beta").pop().unwrap();
    assert_eq!(host.key(&acme), Some(key.clone()));
    let tenant = host.registry.get("acme").unwrap();
    assert_eq!((tenant.state(), tenant.site.name.as_str()), (TenantState::Active, "datadoghq.eu"));
    // Another host, or this one after a restart, has it all from the store.
    let other = world.host().await;
    other.oauth.load().await.unwrap();
    assert_eq!(other.key(&acme), Some(key));
    let record = other.record(&acme).await;
    assert_eq!(record.organisation.unwrap().id, organisation.id);
    assert!(record.key.unwrap().datadog_id.is_some() && record.key_creation_begun.is_none());
    assert_eq!(record.tokens.unwrap().scopes, "api_keys_write");
    let status = text(&other.record(&acme).await);
    assert!(status.text.contains("connected to The beta & Co") && status.to_do.is_none(), "{status:?}");
}

#[tokio::test]
async fn a_state_is_valid_once_for_ten_minutes() {
    let world = World::new();
    let host = world.host().await;
    let (acme, other) = (host.add("acme").await, host.add("other").await);
    let query = world.approve(&host, &acme, "alpha").await;
    drop(host);
    let host = world.host().await;
    host.oauth.finish(&query, None, None).await.unwrap();
    let again = host.oauth.finish(&query, None, None).await.unwrap_err();
    assert_eq!((again.code(), again.status()), ("used_state", 410));

    let query = world.approve(&host, &acme, "alpha").await;
    world.pass(Duration::from_secs(601));
    let late = host.oauth.finish(&query, None, None).await.unwrap_err();
    assert_eq!(late.code(), "expired_state");

    let query = world.approve(&host, &acme, "alpha").await;
    let theirs = host.oauth.finish(&query, Some(&other), None).await.unwrap_err();
    assert_eq!(theirs.code(), "other_tenant");
    assert_eq!(host.oauth.finish(&query, Some(&acme), None).await.unwrap_err().code(), "used_state");

    let made_up = changed(&query, &[("state", Some(&"x".repeat(43)))]);
    assert_eq!(host.oauth.finish(&made_up, None, None).await.unwrap_err().code(), "unknown_state");
    assert_eq!(world.fakeintake.oauth_counts().exchanges, 1);
    let begun = host.oauth.begin(&id("nobody"), None, None, None).await.unwrap_err();
    assert_eq!((begun.code(), begun.status()), ("unknown_tenant", 404));
}

#[tokio::test]
async fn a_customer_who_denies_changes_nothing() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    let begun = host.oauth.begin(&acme, None, None, None).await.unwrap();
    let query = world.decide(&begun.authorize_url, "alpha", "deny").await;
    let denied = host.oauth.finish(&query, None, None).await.unwrap_err();
    assert_eq!((denied.code(), denied.status()), ("denied", 403));
    assert!(denied.to_string().contains("access_denied: The user refused"), "{denied}");
    assert_eq!(host.record(&acme).await.connection, Connection::Pending);
    assert_eq!(host.oauth.finish(&query, None, None).await.unwrap_err().code(), "used_state");
}

#[tokio::test]
async fn a_refused_code_is_told_in_datadogs_words() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    let query = world.approve(&host, &acme, "alpha").await;
    let refused = host.oauth.finish(&changed(&query, &[("code", Some("made-up-code"))]), None, None).await.unwrap_err();
    assert_eq!((refused.code(), refused.status()), ("code_refused", 502));
    assert!(refused.to_string().contains("Invalid code or code verifier"), "{refused}");
    assert_eq!(host.record(&acme).await.connection, Connection::Pending);
}

#[tokio::test]
async fn a_wrong_client_secret_changes_no_tenant() {
    let mut wrong = client();
    wrong.client_secret = Some("another".into());
    let world = World::with(wrong);
    let host = world.host().await;
    let acme = host.add("acme").await;
    for _ in 0..2 {
        let query = world.approve(&host, &acme, "alpha").await;
        let before = host.record(&acme).await;
        let error = host.oauth.finish(&query, None, None).await.unwrap_err();
        assert_eq!(error.code(), "client_refused");
        assert!(error.to_string().contains("oauth.client_id") && !error.to_string().contains(CLIENT_SECRET), "{error}");
        assert_eq!(host.record(&acme).await, before);
    }
    let fault = host.oauth.partner_fault().unwrap();
    assert!(fault.words.contains("Invalid client_secret"), "{fault:?}");
    world.fakeintake.set_client(client());
    world.connect(&host, &acme, "alpha").await.unwrap();
    assert_eq!(host.oauth.partner_fault(), None);
}

#[tokio::test]
async fn an_unreachable_datadog_changes_nothing() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.fakeintake.add_fault(status(TOKEN, 3, 503, "<html>busy</html>"));
    let error = world.connect(&host, &acme, "alpha").await.unwrap_err();
    assert_eq!((error.code(), error.status()), ("datadog_unreachable", 503));
    assert_eq!(host.record(&acme).await.connection, Connection::Pending);
    world.fakeintake.add_fault(rule(TOKEN, 1, Effect::Close { when: CloseWhen::Headers }));
    world.connect(&host, &acme, "alpha").await.unwrap();
}

#[tokio::test]
async fn a_second_tenant_of_an_organisation_is_refused() {
    let world = World::new();
    let host = world.host().await;
    let (acme, twin) = (host.add("acme").await, host.add("twin").await);
    world.connect(&host, &acme, "alpha").await.unwrap();
    let key = host.key(&acme);
    let error = world.connect(&host, &twin, "alpha").await.unwrap_err();
    assert_eq!((error.code(), error.status()), ("organisation_held", 409));
    assert!(matches!(&error, FinishError::OrganisationHeld { by, .. } if *by == acme));
    assert!(!error.to_string().contains("acme"), "the application may show it to the customer: {error}");
    assert_eq!(host.record(&twin).await.connection, Connection::Pending);
    assert_eq!(world.fakeintake.oauth_counts().key_conflicts, 0, "nothing was asked for");

    // Without what the browser says of the organisation, Datadog's refusal is all there is.
    let query = changed(&world.approve(&host, &twin, "alpha").await, &[("dd_oid", None)]);
    assert_eq!(host.oauth.finish(&query, None, None).await.unwrap_err().code(), "no_key");
    // Nor does a new key help, which the customer could make possible: it is kept, and not used.
    world.revoke_keys("alpha");
    let query = changed(&world.approve(&host, &twin, "alpha").await, &[("dd_oid", None)]);
    let error = host.oauth.finish(&query, None, None).await.unwrap_err();
    assert_eq!(error.code(), "organisation_held");
    let record = host.record(&twin).await;
    assert!(matches!(&record.connection, Connection::Unauthorized { reason, .. } if reason.contains("acme")));
    assert!(record.key.is_some() && record.organisation.is_none() && record.key_creation_begun.is_none());
    assert_eq!((host.key(&twin), host.key(&acme)), (None, key));
    assert_eq!(host.registry.get("twin").unwrap().state(), TenantState::Unauthorized);
    // Once the first one lets go, the key that was kept is the one to use.
    host.oauth.disconnect(&acme).await.unwrap();
    let connected = world.connect(&host, &twin, "alpha").await.unwrap();
    assert_eq!((connected.key, host.key(&twin)), (KeyUse::Kept, world.keys("alpha").pop()));
}

#[tokio::test]
async fn reconnecting_keeps_the_present_key() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.connect(&host, &acme, "alpha").await.unwrap();
    let (key, tokens) = (host.key(&acme), host.store.tokens(&acme).await.unwrap().unwrap());
    for dd_oid in [true, false] {
        let mut query = world.approve(&host, &acme, "alpha").await;
        if !dd_oid {
            query = changed(&query, &[("dd_oid", None)]);
        }
        let connected = host.oauth.finish(&query, None, None).await.unwrap();
        assert_eq!((connected.key, connected.verified, connected.held_for), (KeyUse::Kept, true, None));
        assert_eq!(host.key(&acme), key);
        assert_ne!(host.store.tokens(&acme).await.unwrap().unwrap().refresh, tokens.refresh, "tokens are fresh");
        assert_eq!(host.record(&acme).await.key_creation_begun, None);
    }
    let counts = world.fakeintake.oauth_counts();
    assert_eq!((counts.keys_created, counts.key_conflicts), (1, 1));
}

#[tokio::test]
async fn held_telemetry_waits_for_the_operator() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    let first = world.connect(&host, &acme, "alpha").await.unwrap().organisation;
    let second = world.connect(&host, &acme, "beta").await.unwrap();
    assert_eq!((second.held_for.clone(), second.site.as_str()), (first.clone(), "datadoghq.eu"));
    assert_ne!(second.organisation, first);
    let record = host.record(&acme).await;
    assert_eq!(record.held_for, first);
    assert!(text(&record).to_do.unwrap().contains("decide whether to release or to drop it"));
    let released = host.oauth.release_held(&acme).await.unwrap();
    assert_eq!((released.held_for, released.organisation), (None, second.organisation));

    // The same after a disconnection, and not when the organisation comes back.
    host.oauth.disconnect(&acme).await.unwrap();
    assert!(text(&host.record(&acme).await).text.contains("not connected"));
    world.revoke_keys("beta");
    assert_eq!(world.connect(&host, &acme, "beta").await.unwrap().held_for, None);
}

#[tokio::test]
async fn an_existing_key_is_told_with_instructions() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.connect(&host, &acme, "alpha").await.unwrap();
    host.oauth.disconnect(&acme).await.unwrap();
    let error = world.connect(&host, &acme, "alpha").await.unwrap_err();
    assert_eq!((error.code(), error.status()), ("no_key", 409));
    let record = host.record(&acme).await;
    let Connection::Unauthorized { reason, instructions } = &record.connection else { panic!("{record:?}") };
    assert!(reason.contains("An API key with this name already exists"), "{reason}");
    for part in ["Organization Settings", "API Keys", "OAuth Client API Key", "connects again"] {
        assert!(instructions.contains(part), "{instructions}");
    }
    assert_eq!((record.key, record.key_creation_begun), (None, None));
    world.revoke_keys("alpha");
    assert_eq!(world.connect(&host, &acme, "alpha").await.unwrap().key, KeyUse::Created);
}

#[tokio::test]
async fn a_failed_attempt_leaves_a_working_key() {
    let world = World::new();
    let host = world.host().await;
    let (acme, other) = (host.add("acme").await, host.add("other").await);
    world.connect(&host, &other, "beta").await.unwrap();
    host.oauth.disconnect(&other).await.unwrap();
    world.connect(&host, &acme, "alpha").await.unwrap();
    let key = host.key(&acme);
    // The key of that organisation is lost, and this one is on another site.
    let error = world.connect(&host, &acme, "beta").await.unwrap_err();
    assert_eq!(error.code(), "no_key");
    assert_eq!(host.record(&acme).await.connection, Connection::Connected, "{:?}", host.record(&acme).await);
    assert_eq!(host.key(&acme), key);
}

#[tokio::test]
async fn a_client_without_the_scope_is_told_so() {
    let mut without = client();
    without.may_create_keys = false;
    let world = World::with(without);
    let host = world.host().await;
    let acme = host.add("acme").await;
    let error = world.connect(&host, &acme, "alpha").await.unwrap_err().to_string();
    assert!(error.contains("403 Forbidden") && error.contains("api_keys_write"), "{error}");
}

#[tokio::test]
async fn an_unverified_new_key_is_not_used() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.fakeintake.add_fault(status(VALIDATE, 5, 403, r#"{"errors":["Forbidden"]}"#));
    let connected = world.connect(&host, &acme, "alpha").await.unwrap();
    assert_eq!((connected.verified, connected.organisation), (false, None));
    assert_eq!(host.key(&acme), None);
    assert!(text(&host.record(&acme).await).text.contains("organisation is being verified"));
    // Any host asks again, and after a restart too.
    let other = world.host().await;
    other.oauth.run_once().await.unwrap();
    assert_eq!(other.key(&acme), world.keys("alpha").pop());
    assert_eq!(other.record(&acme).await.connection, Connection::Connected);
}

#[tokio::test]
async fn a_site_without_validation_still_connects() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    world.fakeintake.add_fault(status(VALIDATE, 99, 404, "{}"));
    let connected = world.connect(&host, &acme, "alpha").await.unwrap();
    assert_eq!((connected.verified, connected.organisation), (true, None));
    assert_eq!(host.key(&acme), world.keys("alpha").pop());
}

#[tokio::test]
async fn a_browser_that_goes_away_cuts_nothing_off() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    let query = world.approve(&host, &acme, "alpha").await;
    let fault = world.fakeintake.add_fault(rule(KEYS, 1, Effect::Hang { seconds: None }));
    let oauth = host.oauth.clone();
    let browser = tokio::spawn(async move { oauth.finish(&query, None, None).await });
    super::harness::until("the creation to hang", || async {
        let faults = world.fakeintake.faults();
        faults.iter().find(|found| found.id == fault)?.hits.eq(&1).then_some(())
    })
    .await;
    browser.abort();
    assert!(browser.await.unwrap_err().is_cancelled());
    world.fakeintake.remove_fault(Some(fault));
    super::harness::until("the key to be used", || async { host.key(&acme) }).await;
    assert_eq!(host.key(&acme), world.keys("alpha").pop());
}

#[tokio::test]
async fn no_client_and_static_tenants_cannot_begin() {
    let world = World::new();
    let mut settings = world.settings();
    settings.oauth = Default::default();
    let host = world.host_with(&settings).await;
    let acme = host.add("acme").await;
    assert_eq!(host.oauth.begin(&acme, None, None, None).await.unwrap_err().code(), "not_configured");
    let mut settings = world.settings();
    settings.tenants.insert(acme.clone(), Default::default());
    let host = world.host_with(&settings).await;
    assert_eq!(host.oauth.begin(&acme, None, None, None).await.unwrap_err().code(), "static_tenant");
}

#[tokio::test]
async fn concurrent_tenants_cannot_share_an_organisation() {
    let world = World::new();
    let (host, other) = (world.host().await, world.host().await);
    let (acme, twin) = (host.add("acme").await, host.add("twin").await);
    let (one, two) = (world.approve(&host, &acme, "alpha").await, world.approve(&other, &twin, "alpha").await);
    let (one, two) = tokio::join!(host.oauth.finish(&one, None, None), other.oauth.finish(&two, None, None));
    assert_ne!(one.is_ok(), two.is_ok(), "{one:?} {two:?}");
    assert_eq!(world.keys("alpha").len(), 1);
    // Who lost, connects another.
    let loser = if one.is_ok() { &twin } else { &acme };
    world.connect(&host, loser, "beta").await.unwrap();
}
