//! An authorisation belongs to the application's session in which it was begun.

use super::harness::{Host, World};
use dogsled::oauth::{Connect, FinishError, Returned};
use dogsled::settings::Settings;
use dogsled::store::Connection;
use dogsled::types::{Secret, TenantId};
use reqwest::StatusCode;

fn session(of: &str) -> Secret {
    Secret::new(format!("the session of {of}"))
}

fn bound(world: &World) -> Settings {
    let mut settings = world.settings();
    settings.oauth.allow_unbound = false;
    settings.oauth.success_url = "https://app.example.com/done?step=2".into();
    settings
}

/// The callback's query of a browser that approves what was begun in a session.
async fn approved(world: &World, host: &Host, tenant: &TenantId, of: &str, org: &str) -> String {
    let begun = host.oauth.begin(tenant, Some("datadoghq.com"), None, Some(&session(of))).await.unwrap();
    world.decide(&begun.authorize_url, org, "approve").await
}

async fn ticket(host: &Host, query: &str) -> Secret {
    match host.oauth.returned(query).await.unwrap() {
        Returned::Unconfirmed { ticket } => ticket,
        connected => panic!("{connected:?}"),
    }
}

#[tokio::test]
async fn a_forwarded_callback_needs_its_tenant_and_session() {
    let world = World::new();
    let host = world.host_with(&bound(&world)).await;
    let (acme, globex) = (host.add("acme").await, host.add("globex").await);
    let query = approved(&world, &host, &acme, "ann", "alpha").await;
    for (tenant, of) in [(None, None), (Some(&acme), None), (None, Some("ann"))] {
        let error = host.oauth.finish(&query, tenant, of.map(session).as_ref()).await.unwrap_err();
        assert_eq!((error.code(), error.status()), ("missing_session", 400));
    }
    assert_eq!(host.oauth.finish(&query, Some(&acme), Some(&session("ann"))).await.unwrap().tenant, acme);

    let query = approved(&world, &host, &globex, "bob", "beta").await;
    let stolen = host.oauth.finish(&query, Some(&globex), Some(&session("eve"))).await.unwrap_err();
    assert_eq!((stolen.code(), stolen.status()), ("other_session", 403));
    let spent = host.oauth.finish(&query, Some(&globex), Some(&session("bob"))).await.unwrap_err();
    assert_eq!(spent.code(), "used_state", "sessions cannot be tried");
    let query = approved(&world, &host, &globex, "bob", "beta").await;
    let crossed = host.oauth.finish(&query, Some(&acme), Some(&session("bob"))).await.unwrap_err();
    assert_eq!(crossed.code(), "other_tenant");
    assert_eq!(world.keys("beta").len(), 0, "nothing was exchanged");
    assert_eq!(host.record(&globex).await.connection, Connection::Pending);
}

#[tokio::test]
async fn a_browser_at_the_listener_gets_a_ticket() {
    let world = World::new();
    let host = world.host_with(&bound(&world)).await;
    let acme = host.add("acme").await;
    let connect = Connect::bind("127.0.0.1:0").await.unwrap();
    let at = connect.address().to_owned();
    tokio::spawn(connect.serve(host.oauth.clone()));
    let query = approved(&world, &host, &acme, "ann", "alpha").await;
    let page = world.http.get(format!("http://{at}/oauth/callback?{query}")).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::SEE_OTHER);
    let location = page.headers()["location"].to_str().unwrap().to_owned();
    let ticket = location.strip_prefix("https://app.example.com/done?step=2&ticket=").expect(&location);
    assert_eq!(world.fakeintake.oauth_counts().exchanges, 0, "the code is kept, unexchanged");
    assert!(!page.text().await.unwrap().contains("acme"), "the browser may be anybody's");
    let again = world.http.get(format!("http://{at}/oauth/callback?{query}")).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::GONE);

    // On whichever host the application asks.
    let other = world.host_with(&bound(&world)).await;
    let connected = other.oauth.confirm(&acme, &Secret::new(ticket), &session("ann")).await.unwrap();
    assert!(connected.verified && world.keys("alpha").len() == 1);
    let used = host.oauth.confirm(&acme, &Secret::new(ticket), &session("ann")).await.unwrap_err();
    assert_eq!((used.code(), used.status()), ("used_state", 410));
}

#[tokio::test]
async fn a_lured_browser_connects_nobody() {
    let world = World::new();
    let host = world.host_with(&bound(&world)).await;
    let (eve, ann) = (host.add("eve").await, host.add("ann").await);
    // Eve begins for her own tenant, and has Ann's browser approve for Ann's organisation.
    let query = approved(&world, &host, &eve, "eve", "alpha").await;
    let stolen = ticket(&host, &query).await;
    // The application is asked by Ann's browser, so that it confirms for Ann.
    let error = host.oauth.confirm(&ann, &stolen, &session("ann")).await.unwrap_err();
    assert_eq!(error.code(), "other_tenant");
    let query = approved(&world, &host, &eve, "eve", "alpha").await;
    let stolen = ticket(&host, &query).await;
    let error = host.oauth.confirm(&eve, &stolen, &session("ann")).await.unwrap_err();
    assert!(matches!(error, FinishError::OtherSession), "{error}");
    let again = host.oauth.confirm(&eve, &stolen, &session("eve")).await.unwrap_err();
    assert_eq!(again.code(), "used_state", "a ticket is spent at the first try");
    for made_up in ["", "made-up", &"x".repeat(43)] {
        let error = host.oauth.confirm(&eve, &Secret::new(made_up), &session("eve")).await.unwrap_err();
        assert_eq!((error.code(), error.status()), ("unknown_ticket", 400), "{made_up:?}");
    }
    assert_eq!((world.fakeintake.oauth_counts().exchanges, world.keys("alpha").len()), (0, 0));
}

#[tokio::test]
async fn an_authorisation_needs_a_session() {
    let world = World::new();
    let host = world.host_with(&bound(&world)).await;
    let acme = host.add("acme").await;
    let error = host.oauth.begin(&acme, None, None, None).await.unwrap_err();
    assert_eq!((error.code(), error.status()), ("missing_session", 400));
    for wrong in [String::new(), "x".repeat(4097)] {
        let error = host.oauth.begin(&acme, None, None, Some(&Secret::new(wrong))).await.unwrap_err();
        assert_eq!(error.code(), "bad_session");
    }
    // One begun while it was allowed is worth nothing once it is not.
    let loose = world.host().await;
    let query = world.approve(&loose, &acme, "alpha").await;
    assert_eq!(host.oauth.returned(&query).await.unwrap_err().code(), "missing_session");
    let query = world.approve(&loose, &acme, "alpha").await;
    assert!(matches!(loose.oauth.returned(&query).await.unwrap(), Returned::Connected(_)));
    // A session that was named counts even then.
    let query = approved(&world, &loose, &acme, "ann", "alpha").await;
    let error = loose.oauth.finish(&query, Some(&acme), Some(&session("eve"))).await.unwrap_err();
    assert_eq!(error.code(), "other_session");
}
