//! What a browser may be made to send. Each is refused in its own words, and nothing leaves the host: the inputs are
//! tried in a process of their own, all of whose requests would go through a proxy, and that proxy is listened to.

use super::harness::{World, changed};
use dogsled::oauth::{CallbackError, FinishError, Why};
use std::process::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Values of `domain` and why they are none.
fn domains() -> Vec<(String, Why)> {
    let look_alike = |name: &str| Why::LookAlike(name.into());
    let mut inputs = vec![
        ("", Why::Empty),
        ("datadoghq.com.evil.example", look_alike("datadoghq.com")),
        ("evil-datadoghq.com", look_alike("datadoghq.com")),
        ("datadoghq.community", look_alike("datadoghq.com")),
        ("us3.datadoghq.com.evil.example", look_alike("us3.datadoghq.com")),
        ("api.datadoghq.com", Why::Unknown),
        ("app.datadoghq.com", Why::Unknown),
        ("customer.datadoghq.com", Why::Unknown),
        ("us9.datadoghq.com", Why::Unknown),
        ("datadoghq.org", Why::Unknown),
        ("evil.example", Why::Unknown),
        ("localhost", Why::Unknown),
        ("evil.example/datadoghq.com", Why::Path),
        ("datadoghq.com/", Why::Path),
        ("datadoghq.com/../evil.example", Why::Path),
        ("evil.example?datadoghq.com", Why::Path),
        ("evil.example#.datadoghq.com", Why::Path),
        ("//evil.example", Why::Path),
        ("user@datadoghq.com", Why::User),
        ("datadoghq.com@evil.example", Why::User),
        ("https://datadoghq.com@evil.example/", Why::User),
        ("datadoghq.com:443", Why::Port),
        ("evil.example:80", Why::Port),
        ("Datadoghq.com", Why::UpperCase),
        ("DATADOGHQ.COM", Why::UpperCase),
        ("xn--dtadoghq-0za.com", Why::Punycode),
        ("datadoghq.com.", Why::TrailingDot),
        ("datadoghq..com", Why::NotAName),
        (".datadoghq.com", Why::NotAName),
        ("data_doghq.com", Why::NotAName),
        ("127.0.0.1", Why::Ip),
        ("169.254.169.254", Why::Ip),
        ("2130706433", Why::Ip),
        ("127.1", Why::Ip),
        ("0x7f000001", Why::Ip),
        ("[::1]", Why::Ip),
        ("::ffff:127.0.0.1", Why::Ip),
        ("https://datadoghq.com", Why::NotBare),
        ("http://evil.example", Why::NotBare),
        ("file://datadoghq.com", Why::NotBare),
        ("javascript:alert(1)", Why::Port),
        ("datad\u{f6}ghq.com", Why::NotAscii),
        ("datadoghq\u{3002}com", Why::NotAscii),
        ("datadoghq\u{ff0e}com", Why::NotAscii),
        ("datadoghq.c\u{43e}m", Why::NotAscii),
        ("datadoghq.com\0", Why::Control),
        ("datadoghq.com\0.evil.example", Why::Control),
        ("datadoghq.com\r\nHost: evil.example", Why::Control),
        ("datadoghq.com\n", Why::Control),
        ("\tdatadoghq.com", Why::Control),
        (" datadoghq.com", Why::Space),
        ("datadoghq.com evil.example", Why::Space),
        ("datadoghq%2ecom", Why::Percent),
        ("datadoghq.com%00.evil.example", Why::Percent),
        ("evil.example%2fdatadoghq.com", Why::Percent),
        ("evil.example\\.datadoghq.com", Why::Backslash),
    ];
    let long = "a.".repeat(200) + "datadoghq.com";
    inputs.push((&long, Why::TooLong));
    inputs.into_iter().map(|(text, why)| (text.to_owned(), why)).collect()
}

/// Values of `site`, for `datadoghq.com`, and why they are none.
fn sites() -> Vec<(&'static str, Why)> {
    let not_below = || Why::NotBelow("datadoghq.com".into());
    vec![
        ("", Why::Empty),
        ("https://", Why::Path),
        ("https://-.datadoghq.com", not_below()),
        ("http://app.datadoghq.com", Why::Scheme),
        ("http://127.0.0.1", Why::Scheme),
        ("javascript:alert(1)//.datadoghq.com", Why::Path),
        ("https://app.datadoghq.com.evil.example", Why::LookAlike("datadoghq.com".into())),
        ("https://evil.example/app.datadoghq.com", Why::Path),
        ("https://app.datadoghq.com/account", Why::Path),
        ("https://app.datadoghq.com//", Why::Path),
        ("https://app.datadoghq.com:8443", Why::Port),
        ("https://app.datadoghq.com@evil.example", Why::User),
        ("https://evil.example", not_below()),
        ("https://a.b.datadoghq.com", not_below()),
        ("https://customer.datadoghq.eu", not_below()),
        ("https://APP.datadoghq.com", Why::UpperCase),
        ("https://xn--pp-mia.datadoghq.com", Why::Punycode),
        ("https://app.datadoghq.com.", Why::TrailingDot),
        ("https://app.datadoghq.com\r\n", Why::Control),
        ("https://\u{430}pp.datadoghq.com", Why::NotAscii),
        ("https://app%2edatadoghq.com", Why::Percent),
        ("https://app.datadoghq.com\\@evil.example", Why::Backslash),
        ("https://https://app.datadoghq.com", Why::Scheme),
    ]
}

/// Runs in a process of its own, below.
#[tokio::test]
#[ignore = "run by foreign_hosts_are_refused_without_requests"]
async fn inputs_that_are_tried_behind_a_proxy() {
    let world = World::new();
    let host = world.host().await;
    let acme = host.add("acme").await;
    let domains = domains();
    assert!(domains.len() + sites().len() >= 40);
    let good = world.approve(&host, &acme, "alpha").await;
    for (domain, why) in &domains {
        let error = host.oauth.begin(&acme, Some(domain), Some("https://app.datadoghq.com"), None).await.unwrap_err();
        assert_eq!((error.code(), error.status()), ("bad_site", 400), "{domain:?}");
        assert!(error.to_string().starts_with("domain: ") && error.to_string().ends_with(&why.to_string()), "{error}");
        let query = changed(&good, &[("domain", Some(domain))]);
        let error = host.oauth.finish(&query, None, None).await.unwrap_err();
        let FinishError::Callback(CallbackError::Site(found)) = &error else { panic!("{domain:?}: {error}") };
        assert_eq!(found.why, *why, "{domain:?}");
    }
    for (site, why) in sites() {
        let error = host.oauth.begin(&acme, Some("datadoghq.com"), Some(site), None).await.unwrap_err();
        assert!(error.to_string().starts_with("site: ") && error.to_string().ends_with(&why.to_string()), "{error}");
        let query = changed(&good, &[("site", Some(site))]);
        assert_eq!(host.oauth.finish(&query, None, None).await.unwrap_err().code(), "bad_site", "{site:?}");
    }
    let error = host.oauth.begin(&acme, None, Some("https://app.datadoghq.com"), None).await.unwrap_err();
    assert_eq!(error.code(), "bad_site", "a web host tells nothing of whom to ask");
    for (changes, code) in [
        (vec![("state", None)], "missing_state"),
        (vec![("state", Some(""))], "missing_state"),
        (vec![("state", Some("' OR 1=1 --"))], "bad_callback"),
        (vec![("state", Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"))], "unknown_state"),
        (vec![("code", None)], "missing_code"),
        (vec![("code", Some(""))], "missing_code"),
        (vec![("client_id", Some("another"))], "other_client"),
    ] {
        let query = changed(&good, &changes);
        assert_eq!(host.oauth.finish(&query, None, None).await.unwrap_err().code(), code, "{changes:?}");
    }
    for query in [format!("{good}&state=x"), format!("{good}&code=x"), format!("{good}&domain=x"), "x".repeat(9_000)] {
        assert!(matches!(host.oauth.finish(&query, None, None).await, Err(FinishError::Callback(_))), "{query:.60}");
    }
    assert!(std::env::var_os("ALL_PROXY").is_some());
    if std::env::var_os("DOGSLED_TEST_CONTROL").is_some() {
        // None of it has spent the state, and another host would have been asked of the proxy.
        host.oauth.finish(&good, None, None).await.unwrap();
        let _ = reqwest::get("http://evil.example/oauth2/v1/token").await;
    }
}

async fn connections_of_a_run(control: bool) -> Vec<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "oauth::hostile::inputs_that_are_tried_behind_a_proxy"]);
    command.env("ALL_PROXY", &proxy).env("HTTP_PROXY", &proxy).env("HTTPS_PROXY", &proxy);
    for name in ["NO_PROXY", "no_proxy", "http_proxy", "https_proxy", "all_proxy", "REQUEST_METHOD"] {
        command.env_remove(name);
    }
    if control {
        command.env("DOGSLED_TEST_CONTROL", "1");
    }
    let mut run = tokio::task::spawn_blocking(move || command.output().unwrap());
    let mut seen = Vec::new();
    loop {
        tokio::select! {
            output = &mut run => {
                let output = output.unwrap();
                let text = String::from_utf8_lossy(&output.stdout);
                assert!(output.status.success() && text.contains("1 passed"), "{text}");
                return seen;
            }
            accepted = listener.accept() => {
                let (mut stream, _) = accepted.unwrap();
                let mut head = vec![0; 4_096];
                let length = stream.read(&mut head).await.unwrap();
                let line = String::from_utf8_lossy(&head[..length]).lines().next().unwrap_or_default().to_owned();
                let _ = stream.write_all(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
                seen.push(line);
            }
        }
    }
}

#[tokio::test]
async fn foreign_hosts_are_refused_without_requests() {
    assert_eq!(connections_of_a_run(false).await, Vec::<String>::new());
    // The proxy would have seen it.
    let seen = connections_of_a_run(true).await;
    assert!(!seen.is_empty() && seen.iter().all(|line| line.contains("/oauth2/v1/token")), "{seen:?}");
}
