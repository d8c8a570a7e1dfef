//! OTLP over HTTP: `/v1/metrics` and `/v1/logs`, in protobuf and JSON (opentelemetry-proto, `docs/specification.md`).
//!
//! A client of OTLP sends a request again after 429, 502, 503 and 504, and drops it after any other refusal. So whatever may
//! be taken later is answered with one of those.

use super::answer::{Answer, Problem};
use super::body;
use super::budget::{Budget, Owner};
use super::encoding::Encodings;
use super::route::Voice;
use crate::ingest::accept::{Door, Submit};
use crate::ingest::otlp::{Memory, Receiver, Refused, Request};
use crate::queue::Queues;
use crate::serve::Peer;
use crate::settings::Settings;
use crate::tenancy::{Claims, NamedBy};
use crate::types::{Current, redacted};
use crate::wire::otlp::{self, Encoding, Fault, Rejections, Signal};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request;
use hyper::{Response, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Compressed bodies up to this size are decoded where they were read.
const INLINE_COMPRESSED: usize = 64 << 10;

/// When to send again what a bug has kept from being taken, or what was too slow.
const RETRY: Duration = Duration::from_secs(5);

const DD_API_KEY: HeaderName = HeaderName::from_static("dd-api-key");

/// What a sender of traces is told.
pub(super) const NO_TRACES: &str = "traces are not taken here, since Datadog has no intake for them that a partner may use with an \
                                    API key alone: send them to a Datadog Agent or an OpenTelemetry Collector with the \
                                    datadog exporter";

/// Takes OTLP requests, whatever their transport makes of the answer.
#[derive(Debug)]
pub(super) struct Otlp<Q = Queues> {
    rules: Current<Rules>,
    receiver: Arc<Receiver<Q>>,
    budget: Arc<Budget>,
}

/// The part of the configuration that concerns the reading of requests.
#[derive(Debug)]
struct Rules {
    max_body: usize,
    body_timeout: Duration,
    tenant_header: HeaderName,
}

impl Rules {
    fn new(settings: &Settings, tenant_header: HeaderName) -> Self {
        Self { max_body: settings.ingest.max_body, body_timeout: settings.ingest.body_timeout, tenant_header }
    }
}

/// What the head of a request says of its body.
pub(super) struct Form {
    pub signal: Signal,
    pub encoding: Encoding,
    /// What undoes its content encodings.
    pub encodings: Encodings,
    /// Whether the body is one frame of gRPC.
    pub is_framed: bool,
}

impl<Q: Submit> Otlp<Q> {
    /// Takes requests through `door`; their bodies share `budget` with others.
    pub fn new(
        settings: &Settings,
        tenant_header: HeaderName,
        door: Arc<Door<Q>>,
        memory: Arc<Memory>,
        budget: Arc<Budget>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let receiver = Arc::new(Receiver::new(settings, door, memory, cores));
        Self { rules: Current::new(Rules::new(settings, tenant_header)), receiver, budget }
    }

    /// Applies another configuration to requests that begin from now on.
    pub fn reload(&self, settings: &Settings, tenant_header: HeaderName) {
        self.rules.set(Rules::new(settings, tenant_header));
        self.receiver.reload(settings);
    }

    /// Answers a request over HTTP, whose path has named `tenant`.
    pub async fn answer<B>(
        &self,
        head: &request::Parts,
        body: &mut B,
        peer: Peer,
        tenant: Option<&str>,
        signal: Signal,
    ) -> Answer
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let content_type = head.headers.get(CONTENT_TYPE);
        let encoding = encoding_of(content_type);
        let taken = async {
            let encoding = encoding.ok_or_else(|| wrong_type(content_type))?;
            let encodings = head.headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
            let form = Form { signal, encoding, encodings: Encodings::parse(encodings)?, is_framed: false };
            self.take(&head.headers, tenant, peer, body, form).await
        };
        // A refusal of an unknown type is in the one that a person can read.
        let encoding = encoding.unwrap_or(Encoding::Json);
        match taken.await {
            Ok(rejections) => respond(StatusCode::OK, encoding, otlp::success(signal, encoding, &rejections)),
            Err(problem) => {
                // It may quote names that were meant to be tokens.
                let status = otlp::status(0, &redacted(&problem.message), encoding);
                let mut answer = problem.answer(Voice::Code);
                *answer.body_mut() = Full::new(status.into());
                answer.headers_mut().insert(CONTENT_TYPE, content_type_of(encoding));
                answer
            }
        }
    }

    /// Reads a request and takes what can be taken of it.
    ///
    /// # Errors
    /// Why nothing was taken, with a status that makes a client send the same again where that may help.
    pub async fn take<B>(
        &self,
        headers: &HeaderMap,
        tenant: Option<&str>,
        peer: Peer,
        body: &mut B,
        form: Form,
    ) -> Result<Rejections, Problem>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let taken = self.read_and_take(headers, tenant, peer, body, form).await;
        taken.map_err(|problem| match problem.status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::INTERNAL_SERVER_ERROR => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Problem { status, retry_after: Some(RETRY), ..problem }
            }
            _ => problem,
        })
    }

    async fn read_and_take<B>(
        &self,
        headers: &HeaderMap,
        tenant: Option<&str>,
        peer: Peer,
        body: &mut B,
        form: Form,
    ) -> Result<Rejections, Problem>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let door = self.receiver.door();
        let _visit = door.enter()?;
        let rules = self.rules.get();
        let sender = self.receiver.sender(&claims(headers, tenant, &rules.tenant_header)?)?;
        door.wait_for_capacity().await;
        let mut hold = self.budget.hold(Owner::of(&sender, peer));
        let (limit, time) = (rules.max_body, rules.body_timeout);
        let body = timeout(time, body::read(body, limit, &mut hold)).await.map_err(|_| Problem::slow(time))?;
        let mut body = body.map_err(|error| Problem::of_body(error, limit))?;
        let Form { signal, encoding, encodings, is_framed } = form;
        let mut encodings = encodings;
        if is_framed {
            let is_compressed = unframe(&mut body)?;
            encodings = if is_compressed { encodings } else { Encodings::default() };
        }
        let is_heavy = !encodings.is_identity() && body.len() > INLINE_COMPRESSED;
        let decode = move || encodings.decode(body, limit, &mut hold).map(|body| (body, hold));
        let decoded = self.receiver.compute(is_heavy, decode).await?;
        // The body's memory is reserved until the answer.
        let (body, _hold) = decoded.map_err(|error| Problem::of_decoding(error, limit))?;
        Ok(self.receiver.receive(sender, Request { signal, encoding, body }).await?)
    }
}

/// The answer to traces.
pub(super) fn no_traces(head: &request::Parts) -> Answer {
    let encoding = encoding_of(head.headers.get(CONTENT_TYPE)).unwrap_or(Encoding::Json);
    respond(StatusCode::NOT_FOUND, encoding, otlp::status(0, NO_TRACES, encoding))
}

/// Takes the frame of a unary call off: whether the message is compressed, and its length. It is the only one.
fn unframe(body: &mut Bytes) -> Result<bool, Problem> {
    let malformed = |message: &str| Problem::new(StatusCode::BAD_REQUEST, message);
    let Some((&[flag, a, b, c, d], message)) = body.split_first_chunk::<5>() else {
        return Err(malformed("the request ends before its message: gRPC frames it with five bytes"));
    };
    if message.len() != u32::from_be_bytes([a, b, c, d]) as usize || flag > 1 {
        return Err(malformed("the frame of the message is not of its length: a unary call has one message"));
    }
    *body = body.slice(5..);
    Ok(flag == 1)
}

/// What the head of a request says of its tenant.
fn claims<'a>(headers: &'a HeaderMap, path: Option<&'a str>, tenant: &HeaderName) -> Result<Claims<'a>, Problem> {
    let mut names = headers.get_all(tenant).iter();
    let header = names.next();
    if names.any(|other| Some(other) != header) {
        let message = format!("the header {tenant} names several tenants: send it once");
        return Err(Problem::new(StatusCode::BAD_REQUEST, message));
    }
    let text = |value: &'a HeaderValue| value.to_str().unwrap_or("\u{fffd}");
    let key = headers.get(DD_API_KEY).map(text).filter(|key| !key.is_empty());
    let bearer = headers.get(AUTHORIZATION).map(text).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    Ok(Claims { path, header: header.map(text), keys: [key, bearer, None, None], by: NamedBy::Attribute })
}

/// The encoding of a content type; requests without one are protobuf, as most are.
fn encoding_of(content_type: Option<&HeaderValue>) -> Option<Encoding> {
    let text = content_type.map_or("", |value| value.to_str().unwrap_or("?"));
    let essence = text.split(';').next().unwrap_or_default().trim();
    match essence.to_ascii_lowercase().as_str() {
        "" | "application/x-protobuf" | "application/protobuf" => Some(Encoding::Protobuf),
        "application/json" => Some(Encoding::Json),
        _ => None,
    }
}

fn wrong_type(content_type: Option<&HeaderValue>) -> Problem {
    let sent = content_type.and_then(|value| value.to_str().ok()).unwrap_or("?");
    let message = format!("Content-Type {sent:?} is not OTLP: send application/x-protobuf or application/json");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
}

fn content_type_of(encoding: Encoding) -> HeaderValue {
    HeaderValue::from_static(match encoding {
        Encoding::Protobuf => "application/x-protobuf",
        Encoding::Json => "application/json",
    })
}

fn respond(status: StatusCode, encoding: Encoding, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type_of(encoding));
    answer
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Door(rejection) => rejection.into(),
            Refused::Fault(fault @ Fault::Malformed(_)) => Self::new(StatusCode::BAD_REQUEST, fault.to_string()),
            Refused::Fault(fault @ Fault::TooLarge { .. }) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, fault.to_string())
            }
            Refused::Panicked => Self::internal(),
        }
    }
}
