//! The control API under `/_fakeintake/`, by which tests script the stand-in and read what it received.

use super::answer::{Answer, json_body, with_type};
use super::faults::Rule;
use super::record::{Filter, Item};
use super::state::Handle;
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

/// How long `/_fakeintake/wait` waits unless told otherwise.
const WAIT: Duration = Duration::from_secs(10);

const HELP: &str = r#"This is dogsled's stand-in for Datadog. It takes what Datadog's API takes, checks it, and keeps it to be looked at.

GET    /_fakeintake/received            counts by API key and kind; ?key= and ?kind= narrow them
GET    /_fakeintake/received?items=true the items themselves, in the order of arrival; ?from=, ?limit=
GET    /_fakeintake/wait?items=N        answers once N items arrived (?attempts=N: requests), 408 after ?timeout_ms=
POST   /_fakeintake/faults              {"key","path","skip","times","effect"}, with one of these effects:
         {"status":{"code":503,"headers":{},"body":""}}   {"hang":{"seconds":5}}   {"delay_ms":200}
         {"close":{"when":"headers"}} (or half_body, body)   {"answer_lost":{}}
         {"quota":{"limit":10,"period_s":5,"retry_after":"seconds","headers":true,"grace_ms":100}}
         {"reject_items":{"contains":"poison"}}   {"max_body":{"sent":1000,"decompressed":1000}}
GET    /_fakeintake/faults              the faults and how often they struck
DELETE /_fakeintake/faults/ID           ends a fault; without an id all of them
POST   /_fakeintake/keys                {"key","org","valid"}: adds, revokes or restores an API key; GET lists them
POST   /_fakeintake/clients             {"client_id","client_secret","redirect_uris","orgs","rotation","expires_in"}: adds or
                                    changes an OAuth client; GET lists them
POST   /_fakeintake/tokens/expire       {"client_id","org"}: access tokens expire; also /_fakeintake/tokens/revoke
GET    /_fakeintake/oauth               counts of the OAuth server
POST   /_fakeintake/reset               forgets what arrived and ends all faults
"#;

/// The help text.
pub(super) fn help() -> Answer {
    with_type(StatusCode::OK, "text/plain; charset=utf-8", HELP)
}

/// Why a control request is refused; the text names the field or parameter.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("invalid body for {0}: {1}")]
    Body(&'static str, serde_json::Error),
    #[error("the parameter {0} is not a number")]
    Number(&'static str),
    #[error("invalid fault: {0}")]
    Fault(String),
}

/// A control request.
pub(super) struct Request<'a> {
    pub(super) method: &'a Method,
    /// The path after `/_fakeintake/`.
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) body: &'a [u8],
}

/// Handles a control request.
pub(super) async fn control(handle: &Handle, request: Request<'_>) -> Answer {
    match respond(handle, request).await {
        Ok(Some(answer)) => answer,
        Ok(None) => json_body(StatusCode::NOT_FOUND, &json!({ "error": "unknown control path" })),
        Err(refusal) => json_body(StatusCode::BAD_REQUEST, &json!({ "error": refusal.to_string() })),
    }
}

async fn respond(handle: &Handle, request: Request<'_>) -> Result<Option<Answer>, Refusal> {
    let query = Query::parse(request.query);
    let answer = match (request.method.as_str(), request.path) {
        ("GET", "") => help(),
        ("GET", "keys") => ok(&handle.keys()),
        ("POST", "keys") => {
            handle.set_key(body("/_fakeintake/keys", request.body)?);
            ok(&json!({}))
        }
        ("GET", "clients") => ok(&handle.clients()),
        ("POST", "clients") => {
            handle.set_client(body("/_fakeintake/clients", request.body)?);
            ok(&json!({}))
        }
        ("GET", "oauth") => ok(&handle.oauth_counts()),
        ("POST", "tokens/expire") => {
            let of: TokensOf = body("/_fakeintake/tokens/expire", request.body)?;
            ok(&json!({ "expired": handle.expire_tokens(of.client_id.as_deref(), of.org.as_deref()) }))
        }
        ("POST", "tokens/revoke") => {
            let of: TokensOf = body("/_fakeintake/tokens/revoke", request.body)?;
            ok(&json!({ "revoked": handle.revoke_tokens(of.client_id.as_deref(), of.org.as_deref()) }))
        }
        ("GET", "faults") => ok(&handle.faults()),
        ("POST", "faults") => {
            let rule: Rule = body("/_fakeintake/faults", request.body)?;
            if let Some(problem) = rule.problem() {
                return Err(Refusal::Fault(problem));
            }
            let id = handle.add_fault(rule);
            json_body(StatusCode::CREATED, &json!({ "id": id }))
        }
        ("DELETE", "faults") => removed(handle.remove_fault(query.number("id")?)),
        ("DELETE", path) if path.starts_with("faults/") => {
            let id = path["faults/".len()..].parse().map_err(|_| Refusal::Number("id"))?;
            removed(handle.remove_fault(Some(id)))
        }
        ("GET", "received") if query.get("items") == Some("true") => items(handle, &query)?,
        ("GET", "received") => ok(&handle.received(&query.filter())),
        ("GET", "wait") => wait(handle, &query).await?,
        ("POST", "reset") => {
            handle.reset();
            ok(&json!({}))
        }
        _ => return Ok(None),
    };
    Ok(Some(answer))
}

fn ok(body: &impl Serialize) -> Answer {
    match serde_json::to_string(body) {
        Ok(text) => with_type(StatusCode::OK, "application/json", text),
        Err(error) => json_body(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": error.to_string() })),
    }
}

fn removed(count: usize) -> Answer {
    let status = if count == 0 { StatusCode::NOT_FOUND } else { StatusCode::OK };
    json_body(status, &json!({ "removed": count }))
}

fn body<'a, T: Deserialize<'a>>(path: &'static str, body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::Body(path, error))
}

/// Which tokens to act on; all without a filter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensOf {
    client_id: Option<String>,
    org: Option<String>,
}

/// An item with its own JSON in it.
#[derive(Serialize)]
struct Row<'a> {
    order: u64,
    request: u64,
    at_ms: u64,
    key: &'a str,
    kind: &'static str,
    item: &'a RawValue,
}

impl<'a> Row<'a> {
    fn new(item: &'a Item) -> Option<Self> {
        // Recorded items were parsed when they arrived.
        let raw = serde_json::from_str(&item.json).ok()?;
        let Item { order, request, at_ms, ref key, kind, .. } = *item;
        Some(Self { order, request, at_ms, key, kind, item: raw })
    }
}

fn items(handle: &Handle, query: &Query) -> Result<Answer, Refusal> {
    let limit = query.number("limit")?.unwrap_or(usize::MAX);
    let items = handle.items(&query.filter(), query.number("from")?.unwrap_or(0), limit);
    let rows: Vec<_> = items.iter().filter_map(Row::new).collect();
    let recording = handle.received(&Filter { key: Some(String::new()), kind: None }).recording;
    #[derive(Serialize)]
    struct Rows<'a> {
        items: Vec<Row<'a>>,
        recording: super::record::Recording,
    }
    Ok(ok(&Rows { items: rows, recording }))
}

async fn wait(handle: &Handle, query: &Query) -> Result<Answer, Refusal> {
    let (items, attempts) = (query.number("items")?, query.number("attempts")?);
    let items = items.unwrap_or(u64::from(attempts.is_none()));
    let timeout = query.number("timeout_ms")?.map_or(WAIT, Duration::from_millis);
    let (filter, records) = (query.filter(), &handle.0.records);
    let reached = tokio::time::timeout(timeout, records.reached(&filter, attempts.unwrap_or(0), items)).await.is_ok();
    let (attempts, items) = records.tally(&filter);
    let status = if reached { StatusCode::OK } else { StatusCode::REQUEST_TIMEOUT };
    Ok(json_body(status, &json!({ "reached": reached, "items": items, "attempts": attempts })))
}

/// The parameters of a query.
struct Query(BTreeMap<String, String>);

impl Query {
    fn parse(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn number<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, Refusal> {
        self.get(name).map(|value| value.parse().map_err(|_| Refusal::Number(name))).transpose()
    }

    fn filter(&self) -> Filter {
        Filter { key: self.get("key").map(str::to_owned), kind: self.get("kind").map(str::to_owned) }
    }
}
