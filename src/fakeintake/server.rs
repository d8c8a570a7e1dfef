//! The listener: connections, faults, and which part handles a request.

use super::answer::{self, Answer};
use super::body::Sent;
use super::control::{self, control};
use super::endpoint::Endpoint;
use super::faults::{Active, CloseWhen, Effect};
use super::headers::header;
use super::keys::{NO_KEY, redacted};
use super::oauth;
use super::state::{Handle, Shared};
use super::submit::{Submission, submit};
use super::validate;
use crate::serve::{self, Bounds, Connection, Listener, Service};
use crate::types::UnixMillis;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// What requests that are no submissions may have as a body.
const SMALL_BODY: usize = 1024 * 1024;
/// How long requests may take to end once the stand-in is told to.
const FAREWELL: Duration = Duration::from_secs(1);

/// Datadog bounds none of these where a daemon under test would notice.
const BOUNDS: Bounds = Bounds {
    name: "fakeintake",
    connections: 100_000,
    idle: Duration::from_secs(3_600),
    write: Duration::from_secs(3_600),
    header: 256 << 10,
    half_close: false,
};

/// Serves connections until `shutdown`, and then at most [`FAREWELL`] longer.
pub(super) async fn serve(listener: Listener, handle: Handle, shutdown: impl Future<Output = ()>) {
    let (told, end) = oneshot::channel();
    let end = async {
        // An error means that this function is dropped, and its connections with it.
        let _ = end.await;
    };
    let last = async {
        shutdown.await;
        let _ = told.send(());
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        () = serve::serve(vec![listener], Arc::new(Requests(handle)), end) => {}
        () = last => {}
    }
}

/// What answers the requests.
struct Requests(Handle);

impl Service for Requests {
    type Body = Full<Bytes>;

    async fn call(self: Arc<Self>, request: Request<Incoming>, connection: Connection) -> Answer {
        match respond(&self.0, request).await {
            Some(answer) => answer,
            None => {
                connection.abort();
                std::future::pending().await
            }
        }
    }

    fn bounds(&self) -> Bounds {
        BOUNDS
    }
}

/// The answer to a request; none if the connection is to be reset.
async fn respond(handle: &Handle, request: Request<Incoming>) -> Option<Answer> {
    let (parts, body) = request.into_parts();
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    if let Some(path) = path.strip_prefix("/_fakeintake/") {
        let body = Sent::read(body, SMALL_BODY).await.ok()?.concat();
        return Some(control(handle, control::Request { method: &parts.method, path, query, body: &body }).await);
    }
    let shared = &*handle.0;
    let (endpoint, path_key) = Endpoint::find(path).unzip();
    let key = key_of(&parts.headers, query, path_key.flatten());
    let (key, name) = (key.as_deref(), key.as_deref().unwrap_or(NO_KEY));
    let Some(endpoint) = endpoint else {
        let gate = Gate { shared, rules: shared.faults.matching(key, path), name, path };
        let body = gate.read(body, SMALL_BODY).await?;
        return match gate.open(None).await? {
            Ok(more) => {
                let answer = validate::respond(shared, &parts, key)
                    .or_else(|| oauth::respond(shared, &parts, &body.concat()))
                    .or_else(|| (path == "/").then(control::help))
                    .unwrap_or_else(|| answer::errors(StatusCode::NOT_FOUND, "Not found"));
                gate.close(answer, more)
            }
            Err(answer) => Some(answer),
        };
    };
    let form = endpoint.form_of(header(&parts.headers, hyper::header::CONTENT_TYPE)).unwrap_or(endpoint.form);
    let kind = form.kind();
    let _in_flight = shared.records.begin(name, kind);
    let gate = Gate { shared, rules: shared.faults.matching(key, path), name, path };
    let sent = gate.read(body, endpoint.max_sent).await?;
    let answer = match gate.open(Some(kind)).await? {
        Ok(more) => {
            let (method, headers, rules) = (&parts.method, &parts.headers, gate.rules.as_slice());
            let submission = Submission { endpoint, method, headers, key, name, kind, rules };
            gate.close(submit(shared, &submission, &sent), more)?
        }
        Err(answer) => answer,
    };
    if !answer.status().is_success() {
        shared.records.refuse(name, kind, answer.status().as_u16());
    }
    Some(answer)
}

/// The API key of a request: the header, or what Agents and old shippers put into the query or the path.
fn key_of(headers: &HeaderMap, query: &str, path: Option<&str>) -> Option<String> {
    let from_query = || {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(name, _)| name == "api_key" || name == "dd-api-key").map(|(_, value)| value.into_owned())
    };
    header(headers, "dd-api-key").map(str::to_owned).or_else(from_query).or_else(|| path.map(str::to_owned))
}

/// The faults that a request passes.
struct Gate<'a> {
    shared: &'a Shared,
    rules: Vec<Arc<Active>>,
    name: &'a str,
    path: &'a str,
}

impl Gate<'_> {
    fn tell(&self, rule: &Active, what: &str) {
        rule.hit();
        tracing::info!("fault {}: {what} for {} of key {}", rule.id, self.path, redacted(self.name));
    }

    /// Reads the body, unless a fault or the client cuts that short.
    async fn read(&self, body: Incoming, max: usize) -> Option<Sent> {
        for rule in &self.rules {
            match rule.rule.effect {
                Effect::Close { when: CloseWhen::Headers } => {
                    self.tell(rule, "reset after the headers");
                    return None;
                }
                Effect::Close { when: CloseWhen::HalfBody } => {
                    Sent::read_half(body).await;
                    self.tell(rule, "reset after half of the body");
                    return None;
                }
                _ => {}
            }
        }
        Sent::read(body, max).await.ok()
    }

    /// Applies what happens before the handling, in the order of the rules: headers for the answer, or the answer.
    /// `kind` is that of a submission.
    async fn open(&self, kind: Option<&'static str>) -> Option<Result<HeaderMap, Answer>> {
        let mut more = HeaderMap::new();
        for rule in &self.rules {
            match &rule.rule.effect {
                Effect::DelayMs(ms) => {
                    self.tell(rule, "delay");
                    tokio::time::sleep(Duration::from_millis(*ms)).await;
                }
                Effect::Hang { seconds } => {
                    self.tell(rule, "hang");
                    rule.hang(*seconds).await;
                }
                Effect::Close { .. } => {
                    self.tell(rule, "reset after the body");
                    return None;
                }
                Effect::Status { code, headers, body } => {
                    self.tell(rule, "status");
                    return Some(Err(scripted(*code, headers, body.as_deref())));
                }
                Effect::Quota(quota) => {
                    let now_ms = UnixMillis::now().0.cast_unsigned();
                    let decision = rule.request(quota, self.name, now_ms);
                    if let Some(kind) = kind.filter(|_| decision.violation) {
                        self.shared.records.violation(self.name, kind);
                    }
                    let headers = decision.headers(quota, now_ms);
                    if !decision.allowed {
                        self.tell(rule, "rate limit");
                        let mut answer = answer::errors(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded");
                        answer.headers_mut().extend(headers);
                        return Some(Err(answer));
                    }
                    more.extend(headers);
                }
                Effect::AnswerLost {} | Effect::RejectItems { .. } | Effect::MaxBody { .. } => {}
            }
        }
        Some(Ok(more))
    }

    /// What becomes of the answer: none if it is to be lost.
    fn close(&self, mut answer: Answer, more: HeaderMap) -> Option<Answer> {
        if let Some(rule) = self.rules.iter().find(|rule| rule.rule.effect == Effect::AnswerLost {}) {
            self.tell(rule, "answer lost");
            return None;
        }
        answer.headers_mut().extend(more);
        Some(answer)
    }
}

fn scripted(code: u16, headers: &std::collections::BTreeMap<String, String>, body: Option<&str>) -> Answer {
    let status = StatusCode::from_u16(code).ok().filter(|status| status.as_u16() >= 200);
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = match body {
        Some(body) => answer::with_type(status, "application/json", body.to_owned()),
        None => answer::errors(status, status.canonical_reason().unwrap_or("scripted")),
    };
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}
