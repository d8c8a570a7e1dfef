//! Secrets appear nowhere but in requests to Datadog and, sealed, in the store: the real daemon goes through everything at
//! trace level, and all that it leaves anywhere is searched for every secret that was used.

use crate::operator::{CLIENT_SECRET, Datadog, Operator};
use crate::support::{Daemon, key_of, until};
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::NO_PAD;
use dogsled::settings::{Settings, StoreUrl};
use dogsled::store::{Store, Taken};
use dogsled::types::{TenantId, UnixMillis};
use dogsled::vault::Source;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// What a secret looks like in bytes.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.to_vec(), form_urlencoded::byte_serialize(secret).collect::<String>().into_bytes()];
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    forms.extend([hex.to_uppercase().into_bytes(), hex.into_bytes()]);
    for alphabet in [&STANDARD, &URL_SAFE] {
        let engine = GeneralPurpose::new(alphabet, NO_PAD);
        // Within a longer text it may begin at any bit of a digit: what lies between the first and the last digit that it
        // shares with its neighbours is always the same.
        for before in 0..3 {
            let text = engine.encode([&vec![0; before][..], secret].concat());
            let end = (before + secret.len()) * 8 / 6;
            forms.push(text.as_bytes()[(before * 8).div_ceil(6)..end].to_vec());
        }
    }
    forms
}

/// Where a secret begins in a text, in whichever form.
fn find(text: &[u8], secret: &[u8]) -> Option<usize> {
    forms(secret).iter().find_map(|form| memchr::memmem::find(text, form))
}

#[test]
fn a_secret_is_found_in_every_form_and_place() {
    let secret = b"Sup3r/Secret+Of=The&Partner";
    let engine = GeneralPurpose::new(&STANDARD, NO_PAD);
    for before in ["", "a", "ab", "client:"] {
        let whole = [before.as_bytes(), secret, b"!"].concat();
        let hex: String = whole.iter().map(|byte| format!("{byte:02x}")).collect();
        for text in [whole.clone(), engine.encode(&whole).into_bytes(), hex.into_bytes()] {
            assert!(find(&text, secret).is_some(), "{before}");
        }
    }
    assert!(find(b"x=Sup3r%2FSecret%2BOf%3DThe%26Partner", secret).is_some());
    assert!(find(b"Sup3r/Secret+Of=The&Partne", secret).is_none());
}

/// All that was used and must not be seen, and all that was left somewhere.
#[derive(Default)]
struct Search {
    /// What it is, itself, and the one file that may hold it.
    secrets: Vec<(&'static str, Vec<u8>, &'static str)>,
    places: Vec<(String, Vec<u8>)>,
}

impl Search {
    fn secret(&mut self, what: &'static str, secret: impl AsRef<[u8]>) {
        self.secret_of("", what, secret);
    }

    fn secret_of(&mut self, file: &'static str, what: &'static str, secret: impl AsRef<[u8]>) {
        let secret = secret.as_ref().to_vec();
        assert!(secret.len() >= 16, "{what} is too short to be searched for");
        self.secrets.push((what, secret, file));
    }

    fn place(&mut self, name: impl Into<String>, content: impl AsRef<[u8]>) {
        self.places.push((name.into(), content.as_ref().to_vec()));
    }

    /// All files below a directory.
    fn files(&mut self, moment: &str, dir: &Path) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.files(moment, &path);
            } else if let Ok(content) = std::fs::read(&path) {
                // Otherwise it was removed meanwhile.
                self.place(format!("{} {moment}", path.display()), content);
            }
        }
    }

    fn query(&mut self, query: &str) {
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "code" => self.secret("an authorisation code", value.as_bytes()),
                "state" => self.secret("a state", value.as_bytes()),
                _ => {}
            }
        }
    }

    async fn tokens(&mut self, store: &Store, tenant: &TenantId) {
        let tokens = store.tokens(tenant).await.unwrap().unwrap();
        self.secret("an access token", tokens.access.expose());
        self.secret("a refresh token", tokens.refresh.expose());
    }

    fn run(&self) {
        let mut found = Vec::new();
        for (what, secret, file) in &self.secrets {
            for (name, content) in &self.places {
                let own = !file.is_empty() && name.contains(&format!("/{file} "));
                if let Some(at) = find(content, secret).filter(|_| !own) {
                    let before = String::from_utf8_lossy(&content[at.saturating_sub(200)..at]).into_owned();
                    found.push(format!("{what} is in {name}, after: {before}"));
                }
            }
        }
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

/// What the daemon shows of itself.
async fn look(search: &mut Search, daemon: &Daemon, operator: &Operator) {
    for path in ["status", "tenants", "tenants/acme", "tenants/fixed", "tenants/acme/tokens", "openapi.json"] {
        search.place(format!("GET {path}"), operator.get(path).await.to_string());
    }
    let metrics = crate::support::client().get(format!("{}/metrics", daemon.url("admin"))).send().await.unwrap();
    search.place("the metrics", metrics.text().await.unwrap());
    search.place("the command line", std::fs::read(format!("/proc/{}/cmdline", daemon.pid())).unwrap());
    for words in [&["status"][..], &["status", "--json"], &["tenant", "show", "acme"], &["check"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dogsled"));
        command.args(words).arg("--config").arg(daemon.config());
        command.env("DOGSLED_ADMIN__LISTEN", daemon.url("admin").trim_start_matches("http://"));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        search.place(format!("dogsled {words:?}"), [output.stdout, output.stderr].concat());
    }
    search.files("while it ran", &daemon.state_dir());
}

#[tokio::test]
async fn no_secret_is_in_what_the_daemon_logs_answers_or_keeps() {
    let mut search = Search::default();
    let datadog = Datadog::start(8).await;
    let fixed_token = "f1".repeat(16);
    let daemon = datadog.setup(&["fixed"]).set("log.level", "trace").set("tenancy.from_tags", true);
    let daemon = daemon.set("tenants.fixed.ingest_tokens", json!([fixed_token])).start().await;
    let operator = Operator::of(&daemon);
    search.secret("the client's secret", CLIENT_SECRET);
    search.secret("an ingest token of the configuration", &fixed_token);
    search.secret("a key of the configuration", key_of("fixed"));

    // A customer connects, having been refused once, and the application sends with an ingest token.
    operator.create("acme").await;
    let acme = TenantId::new("acme").unwrap();
    let denied = datadog.consent(&operator.begin("acme").await, "alpha", "deny").await;
    search.query(&denied);
    search.place("a denied callback", operator.callback("acme", &denied).await.body.to_string());
    let query = datadog.consent(&operator.begin("acme").await, "alpha", "approve").await;
    search.query(&query);
    for again in 0..2 {
        let reply = operator.callback("acme", &query).await;
        assert_eq!(reply.status, if again == 0 { 200 } else { 410 }, "{}", reply.body);
        search.place("a callback", reply.body.to_string());
    }
    let token = operator.post("tenants/acme/tokens", json!({ "label": "shop" })).await.body;
    let token = token["token"].as_str().unwrap();
    search.secret("an ingest token", token);
    let unknown = "0123456789abcdef0123456789abcdef";
    search.secret("a key that nobody has", unknown);
    for (path, key, status) in [
        (format!("/v1/input/{token}"), "", 200),
        (format!("/api/v2/logs?api_key={token}"), "", 202),
        (format!("/v1/input/{unknown}"), "", 403),
        (format!("/api/v2/logs?api_key={unknown}"), "", 403),
        ("/api/v2/logs".into(), unknown, 403),
        ("/api/v2/logs".into(), token, 202),
        ("/api/v9/logs".into(), token, 404),
        (format!("/v1/input/{token}/x"), "", 404),
        (format!("/v1/input/{}/x", token.replace('a', "%61")), "", 404),
        (format!("/api/v9/{token}"), "", 404),
        (format!("/api/v9/{}", token.replace('a', "%61")), "", 404),
        (format!("/tenants/{token}/api/v2/logs"), "", 403),
        (format!("/tenants/{token}%21/api/v2/logs"), "", 400),
        (format!("/api/v2/logs?ddtags=tenant:{token}"), "", 403),
    ] {
        let request =
            crate::support::client().post(format!("http://{}{path}", daemon.address())).header("DD-API-KEY", key);
        let response = request.header("Content-Type", "application/json").body(r#"[{"message":"m"}]"#).send().await;
        let response = response.unwrap();
        assert_eq!(response.status(), status, "{path}");
        search.place(format!("the answer to POST {path}"), response.text().await.unwrap());
    }

    // Tokens are refreshed; another host looks at the store meanwhile, to know them.
    let settings = Settings { state: dogsled::settings::State { dir: daemon.state_dir() }, ..Settings::default() };
    let source = Source::configured(&settings, None);
    let store = Store::open_existing(&StoreUrl::Default, &daemon.state_dir(), source).await.unwrap();
    search.tokens(&store, &acme).await;
    let granted = operator.show("acme").await["tokens"]["granted_at"].clone();
    until("a refresh", async || (operator.show("acme").await["tokens"]["granted_at"] != granted).then_some(())).await;
    search.tokens(&store, &acme).await;

    // The key is refused and replaced; of another tenant, a Datadog that quotes the key refuses the telemetry once.
    datadog.revoke_keys("alpha").await;
    daemon.logs("acme", [1]).await;
    until("another key", async || (!datadog.keys("alpha").await.is_empty()).then_some(())).await;
    let quoted = json!({ "errors": [format!("the key {} may not do this", key_of("fixed"))] }).to_string();
    let fault = json!({ "times": 1, "effect": { "status": { "code": 422, "body": quoted } } });
    datadog.fakeintake.fault("fixed", fault).await;
    daemon.logs("fixed", [1]).await;
    daemon.wait_empty("fixed").await;
    let told = operator.show("fixed").await["last_error"].to_string();
    assert!(told.contains("may not do this"), "Datadog's words are told: {told}");

    // What the operator does wrong is answered without what was wrong.
    let key = key_of("given");
    search.secret("a key of the operator", &key);
    for body in [
        json!({ "id": "given", "api_key": key }),
        json!({ "id": "given", "api_key": key }),
        json!({ "id": "a b", "api_key": key }),
        json!({ "id": "other", "api_key": [key] }),
        json!({ "id": "other", "api_key": format!("{key} {key}") }),
    ] {
        let reply = operator.post("tenants", body).await;
        search.place(format!("the answer {} to a key", reply.status), reply.body.to_string());
    }
    // Nor is what stands in the wrong place.
    for (method, path, body) in [
        ("POST", "tenants".to_owned(), json!({ "id": "other", key.as_str(): true })),
        ("POST", "tenants".to_owned(), json!({ "id": format!("{key}!") })),
        ("POST", "tenants".to_owned(), json!({ "id": "other", "site": key })),
        ("POST", "tenants".to_owned(), json!(key)),
        ("POST", "tenants/acme/held".to_owned(), json!({ "action": key })),
        ("POST", "tenants/acme/connect".to_owned(), json!({ "domain": key })),
        ("POST", "tenants/acme/tokens".to_owned(), json!({ "label": { key.as_str(): 1 } })),
        ("POST", "oauth/callback".to_owned(), json!({ "query": "", "tenant": format!("{key}!") })),
        ("DELETE", format!("tenants/acme/tokens/{token}"), json!(null)),
        ("DELETE", format!("tenants/acme?{token}=1"), json!(null)),
        ("DELETE", format!("tenants/acme?telemetry={token}"), json!(null)),
        ("GET", format!("tenants/{token}"), json!(null)),
        ("GET", token.to_owned(), json!(null)),
    ] {
        let request = operator.request(method.parse().unwrap(), &path).header("Content-Type", "application/json");
        let reply = operator.send(request.body(body.to_string())).await;
        assert!((400..500).contains(&reply.status), "{method} {path} {body}: {reply:?}");
        search.place(format!("the answer {} to {method} {path} {body}", reply.status), reply.body.to_string());
    }
    let wrong = "wrong-token-of-the-admin-api";
    search.secret("a wrong token of the admin API", wrong);
    let refused = operator.send(operator.anonymous(Method::GET, "status").bearer_auth(wrong)).await;
    assert_eq!(refused.status, 401);
    search.place("a refusal of the admin API", refused.body.to_string());

    // An authorisation that is never answered: its verifier is in the store.
    let begun = operator.begin("acme").await;
    let (_, begun) = begun.split_once('?').unwrap();
    search.query(begun);
    look(&mut search, &daemon, &operator).await;
    let state = form_urlencoded::parse(begun.as_bytes()).find(|(name, _)| name == "state").unwrap().1;
    let taken = store.take_pending(&state, UnixMillis::now()).await.unwrap();
    let Taken::Fresh(pending) = taken else { panic!("{taken:?}") };
    search.secret("a PKCE verifier", pending.verifier.expose());

    let keys = datadog.control(Method::GET, "keys", Value::Null).await;
    for key in keys.as_array().unwrap() {
        search.secret("a key", key["key"].as_str().unwrap());
    }
    let state_dir = daemon.state_dir();
    let read = |file: &str| std::fs::read_to_string(state_dir.join(file)).unwrap().trim().to_owned();
    search.secret_of("admin.token", "the token of the admin API", read("admin.token"));
    let master = read("master.key");
    search.secret_of("master.key", "the master key", &master);
    let bytes = base64::engine::general_purpose::STANDARD.decode(&master).unwrap();
    search.secret_of("master.key", "the master key itself", bytes);

    daemon.terminate();
    let mut daemon = daemon;
    assert!(daemon.wait_end().await.success());
    search.files("after its end", &state_dir);
    let log = daemon.log_text();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is a detailed one");
    assert!(log.contains("a customer has connected"));
    search.place("the log", log);
    assert!(search.secrets.len() >= 18 && search.places.len() >= 40, "{} places", search.places.len());
    assert!(
        search.places.iter().any(|(name, _)| name.contains("tenants.db-wal ")),
        "the write-ahead log was looked at"
    );
    search.run();
}
