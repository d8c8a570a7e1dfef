//! Secrets appear nowhere but in requests to Datadog and, sealed, in the store.

use super::harness::{CLIENT_SECRET, KEYS, World, changed, rule, status};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dogsled::fakeintake::Effect;
use dogsled::types::Secret;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_secret_is_in_trace_logs_or_errors() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    // Of all tests of this program, and of the stand-in, which says nothing of secrets either.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let world = World::new();
    let host = world.host().await;
    let (acme, twin) = (host.add("acme").await, host.add("twin").await);
    let mut secrets = vec![("the client's secret", CLIENT_SECRET.to_owned())];
    let mut said = String::new();
    let note = |secrets: &mut Vec<(&'static str, String)>, query: &str| {
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "code" => secrets.push(("a code", value.into_owned())),
                "state" => secrets.push(("a state", value.into_owned())),
                _ => {}
            }
        }
    };
    let begun = host.oauth.begin(&acme, None, None, None).await.unwrap();
    write!(said, "{begun:?} {:?}", host.oauth).unwrap();
    let query = world.decide(&begun.authorize_url, "alpha", "approve").await;
    note(&mut secrets, &query);
    let connected = host.oauth.finish(&query, None, None).await.unwrap();
    write!(said, "{connected:?} {:?}", host.oauth.finish(&query, None, None).await).unwrap();
    for _ in 0..2 {
        let tokens = host.store.tokens(&acme).await.unwrap().unwrap();
        secrets.push(("an access token", tokens.access.expose().to_owned()));
        secrets.push(("a refresh token", tokens.refresh.expose().to_owned()));
        world.pass(Duration::from_secs(3_300));
        host.oauth.run_once().await.unwrap();
        write!(said, "{tokens:?} {:?}", host.record(&acme).await).unwrap();
    }
    let old = Secret::new(host.key(&acme).unwrap());
    world.revoke_keys("alpha");
    write!(said, "{:?}", host.oauth.key_refused(&acme, &old).await).unwrap();
    // A Datadog that quotes what it was sent, in every form of error.
    let quoted = |secret: &str| format!(r#"{{"error":"invalid_request","error_description":"what is {secret}?"}}"#);
    world.fakeintake.add_fault(status("/oauth2/v1/token", 1, 400, &quoted(CLIENT_SECRET)));
    let query = world.approve(&host, &twin, "beta").await;
    note(&mut secrets, &query);
    write!(said, "{:?}", host.oauth.finish(&query, None, None).await).unwrap();
    let query = changed(&world.approve(&host, &twin, "beta").await, &[("code", Some("code-that-is-quoted"))]);
    secrets.push(("a code", "code-that-is-quoted".into()));
    world.fakeintake.add_fault(status("/oauth2/v1/token", 1, 400, "code-that-is-quoted"));
    write!(said, "{}", host.oauth.finish(&query, None, None).await.unwrap_err()).unwrap();
    world.fakeintake.add_fault(rule(KEYS, 1, Effect::AnswerLost {}));
    let query = world.approve(&host, &twin, "beta").await;
    note(&mut secrets, &query);
    write!(said, "{:?}", host.oauth.finish(&query, None, None).await).unwrap();
    write!(said, "{:?}", host.oauth.disconnect(&acme).await).unwrap();
    secrets.extend(world.fakeintake.keys().into_iter().map(|key| ("a key", key.key)));

    said.push_str(&String::from_utf8_lossy(&log.0.lock().unwrap()));
    assert!(said.contains("a customer has connected") && said.len() > 2_000, "the log is there: {}", said.len());
    assert!(secrets.len() >= 12);
    for (what, secret) in secrets {
        let forms = [
            secret.clone(),
            form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
            STANDARD.encode(&secret),
            URL_SAFE_NO_PAD.encode(&secret),
        ];
        for form in forms {
            if let Some(at) = said.find(&form) {
                let before: String = said[..at].chars().rev().take(300).collect::<Vec<_>>().into_iter().rev().collect();
                panic!("{what} is shown after: {before}");
            }
        }
    }
}
