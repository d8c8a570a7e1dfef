//! What a customer's browser gets from the connect listener.

use super::harness::{Host, World, changed};
use dogsled::oauth::Connect;
use dogsled::types::UnixMillis;
use reqwest::{Method, Response, StatusCode};
use std::net::SocketAddr;

async fn listen(host: &Host) -> SocketAddr {
    let connect = Connect::bind("127.0.0.1:0").await.unwrap();
    let address = connect.address().parse().unwrap();
    tokio::spawn(connect.serve(host.oauth.clone()));
    address
}

async fn get(at: SocketAddr, path: &str) -> Response {
    request(Method::GET, at, path).await
}

async fn request(method: Method, at: SocketAddr, path: &str) -> Response {
    let http = dogsled::outbound::builder(None).unwrap().no_proxy().build().unwrap();
    http.request(method, format!("http://{at}{path}")).send().await.unwrap()
}

#[tokio::test]
async fn a_connected_browser_and_its_reload_get_pages() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    let at = listen(&host).await;
    let query = world.approve(&host, &acme, "alpha").await;
    let page = get(at, &format!("/oauth/callback?{query}")).await;
    assert_eq!(page.status(), 200);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(page.headers()[name], value);
    }
    assert!(page.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    let text = page.text().await.unwrap();
    assert!(text.contains("<h1>Connected</h1>") && text.contains("The alpha &amp; Co"), "{text}");
    let reloaded = get(at, &format!("/oauth/callback?{query}")).await;
    assert_eq!(reloaded.status(), StatusCode::GONE);
    assert!(reloaded.text().await.unwrap().contains("reloading the page has no effect"));
}

#[tokio::test]
async fn only_a_persons_own_way_leads_to_the_callback() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    let at = listen(&host).await;
    let query = world.approve(&host, &acme, "alpha").await;
    let http = dogsled::outbound::builder(None).unwrap().no_proxy().build().unwrap();
    let callback = |headers: &[(&str, &str)]| {
        let request = http.get(format!("http://{at}/oauth/callback?{query}"));
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send()
    };
    let elsewhere = ("sec-fetch-site", "cross-site");
    for (headers, status) in [
        (&[("host", "evil.example")][..], 421),
        (&[("origin", "https://evil.example")], 403),
        (&[elsewhere, ("sec-fetch-mode", "no-cors")], 403),
        (&[elsewhere, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")], 403),
        // Nothing of that has spent the authorisation. By the name that Datadog sends browsers to:
        (&[("host", "connect.example.com"), elsewhere, ("sec-fetch-mode", "navigate")], 200),
    ] {
        assert_eq!(callback(headers).await.unwrap().status(), status, "{headers:?}");
    }
}

#[tokio::test]
async fn the_page_names_no_other_tenant() {
    let world = World::new();
    let host = world.host().await;
    let (acme, globex) = (host.add("acme-secret").await, host.add("globex").await);
    world.connect(&host, &acme, "alpha").await.unwrap();
    let at = listen(&host).await;
    for changes in [&[][..], &[("dd_oid", None)]] {
        world.revoke_keys("alpha");
        let query = changed(&world.approve(&host, &globex, "alpha").await, changes);
        let page = get(at, &format!("/oauth/callback?{query}")).await;
        assert_eq!(page.status(), StatusCode::CONFLICT);
        let text = page.text().await.unwrap();
        assert!(text.contains("another account") && !text.contains("acme-secret"), "{text}");
    }
}

#[tokio::test]
async fn a_name_of_the_browser_is_escaped_and_unverified() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    let at = listen(&host).await;
    let query = world.approve(&host, &acme, "alpha").await;
    let query = changed(&query, &[("dd_org_name", Some("Acme\u{202e}gpj\u{9b}\u{e0041}"))]);
    let page = get(at, &format!("/oauth/callback?{query}")).await.text().await.unwrap();
    assert!(page.contains("Acme\\u{202e}gpj \\u{e0041} (unverified name, "), "{page}");
    let status = dogsled::oauth::status(&host.record(&acme).await, UnixMillis(0)).text;
    assert!(status.contains("Acme\\u{202e}gpj \\u{e0041} (unverified name, "), "{status}");
}

#[tokio::test]
async fn a_success_url_receives_the_tenant() {
    let world = World::new();
    let mut settings = world.settings();
    settings.oauth.success_url = "https://app.example.com/done?step=2".into();
    let host = world.host_with(&settings).await;
    let acme = host.add("acme.1").await;
    let at = listen(&host).await;
    let query = world.approve(&host, &acme, "alpha").await;
    let page = get(at, &format!("/oauth/callback?{query}")).await;
    assert_eq!(page.status(), StatusCode::SEE_OTHER);
    assert_eq!(page.headers()["location"], "https://app.example.com/done?step=2&tenant=acme.1");
}

#[tokio::test]
async fn every_failure_page_escapes_the_query() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    let at = listen(&host).await;
    let fresh = async |changes: &[(&str, Option<&str>)]| {
        format!("/oauth/callback?{}", changed(&world.approve(&host, &acme, "alpha").await, changes))
    };
    let script = "<script>alert(1)</script>";
    for (path, status, text) in [
        ("/oauth/callback".to_owned(), 400, "state is missing"),
        (fresh(&[("code", None)]).await, 400, "code is missing"),
        (fresh(&[("code", Some("made-up"))]).await, 502, "refused the authorisation code"),
        (fresh(&[("domain", Some("evil.example"))]).await, 400, "This is not Datadog"),
        (fresh(&[("domain", Some(script))]).await, 400, "This is not Datadog"),
        (fresh(&[("site", Some("https://datadoghq.com.evil.example"))]).await, 400, "This is not Datadog"),
        (fresh(&[("client_id", Some("another"))]).await, 400, "That is not your fault"),
        (fresh(&[("error", Some(script)), ("error_description", Some(script))]).await, 403, "&lt;script&gt;"),
        ("/".to_owned(), 404, "Nothing here"),
        ("/oauth/callback/".to_owned(), 404, "Nothing here"),
    ] {
        let page = get(at, &path).await;
        assert_eq!(page.status(), status, "{path}");
        let html = page.text().await.unwrap();
        assert!(html.contains(text) && !html.contains("<script"), "{path}: {html}");
    }
    let posted = request(Method::POST, at, "/oauth/callback").await;
    assert_eq!((posted.status(), posted.headers()["allow"].to_str().unwrap()), (StatusCode::METHOD_NOT_ALLOWED, "GET"));
    let long = get(at, &format!("/oauth/callback?state={}", "x".repeat(20_000))).await;
    assert_eq!(long.status(), 400);
}
