//! One request from its head to its answer.

use super::answer::{self, Answer, Problem};
use super::body;
use super::budget::{Budget, Owner, Reservation};
use super::encoding::{DecodeError, Encodings};
use super::event;
use super::otlp::{self, Otlp};
use super::query::Query;
use super::route::{self, Echo, Intake, Route, Target};
use crate::ingest::accept::{Door, Sender, Submission, Submit};
use crate::ingest::otlp::Memory;
use crate::ingest::outcome::{Accepted, Rejection};
use crate::queue::Queues;
use crate::serve::{Bounds, Connection, Peer, Service};
use crate::settings::{self, Settings};
use crate::tenancy::{Caller, Claims, Denied, NamedBy, Tenant, TenantState};
use crate::types::{Current, Generation, Kind, UnixMillis, redacted};
use crate::wire::{self, Form, LogDefaults, Refusal, Split};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request;
use hyper::{Method, Request, StatusCode, Version};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Compressed bodies up to this size are decoded where they were read; larger ones would keep other connections of the
/// thread waiting.
const INLINE_COMPRESSED: usize = 64 << 10;

/// The same for bodies that only need splitting, which is some ten times faster.
const INLINE_PLAIN: usize = 1 << 20;

/// The read buffer of an HTTP/1.1 connection, which bounds the header too. Bodies that fit are not copied.
const READ_BUFFER: usize = 64 << 10;

/// A header name in the configuration that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenancy.header: {0:?} is not a header name: use letters, digits and -")]
pub struct InvalidHeader(pub String);

/// Answers the requests of all connections.
#[derive(Debug)]
pub struct Handler<Q = Queues> {
    rules: Current<Rules>,
    door: Arc<Door<Q>>,
    budget: Arc<Budget>,
    /// Decoders at once on blocking threads: more would only take turns, each with its memory.
    unpackers: Semaphore,
    otlp: Otlp<Q>,
    counts: Counts,
}

/// The part of the configuration that concerns requests. The same applies to a request until its end.
#[derive(Debug)]
struct Rules {
    max_body: usize,
    body_timeout: Duration,
    header_timeout: Duration,
    max_connections: usize,
    tenant_header: HeaderName,
}

impl Rules {
    fn new(settings: &Settings) -> Result<Self, InvalidHeader> {
        let name = &settings.tenancy.header;
        let tenant_header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| InvalidHeader(name.clone()))?;
        let settings::Ingest { max_body, body_timeout, header_timeout, max_connections, .. } = settings.ingest;
        Ok(Self { max_body, body_timeout, header_timeout, max_connections, tenant_header })
    }

    fn claims<'a>(
        &self,
        headers: &'a HeaderMap,
        path: Option<&'a str>,
        key: Option<&'a str>,
        query: &'a Query<'_>,
    ) -> Result<Claims<'a>, Problem> {
        let mut names = headers.get_all(&self.tenant_header).iter();
        let header = names.next();
        if names.any(|other| Some(other) != header) {
            let message = format!("the header {} names several tenants: send it once", self.tenant_header);
            return Err(Problem::new(StatusCode::BAD_REQUEST, message));
        }
        let text = |value: &'a HeaderValue| value.to_str().unwrap_or("\u{fffd}");
        let sent = headers.get(DD_API_KEY).map(text).filter(|key| !key.is_empty());
        Ok(Claims {
            path,
            header: header.map(text),
            keys: [key, query.dd_api_key.as_deref(), query.api_key.as_deref(), sent],
            by: NamedBy::Tag,
        })
    }
}

/// Handles of the metrics of this module, looked up once.
#[derive(Debug)]
struct Counts {
    requests: Vec<(StatusCode, metrics::Counter)>,
    panics: metrics::Counter,
}

impl Counts {
    fn new() -> Self {
        let requests = [200, 202, 400, 401, 403, 404, 405, 408, 413, 415, 429, 500, 503]
            .into_iter()
            .filter_map(|status| StatusCode::from_u16(status).ok())
            .map(|status| (status, crate::ingest::metrics::REQUESTS.with(&[("status", status.as_str().to_owned())])))
            .collect();
        Self { requests, panics: crate::metric::panics("ingest") }
    }

    fn answered(&self, status: StatusCode) {
        if let Some((_, counter)) = self.requests.iter().find(|(known, _)| *known == status) {
            counter.increment(1);
        }
    }
}

impl<Q: Submit> Service for Handler<Q> {
    type Body = Full<Bytes>;

    async fn call(self: Arc<Self>, request: Request<Incoming>, connection: Connection) -> Answer {
        self.answer(request, connection.peer()).await
    }

    fn bounds(&self) -> Bounds {
        let rules = self.rules.get();
        Bounds {
            name: "ingest",
            connections: rules.max_connections,
            idle: rules.header_timeout,
            write: rules.header_timeout,
            header: READ_BUFFER,
            half_close: true,
        }
    }

    fn panicked(&self) {
        self.counts.panics.increment(1);
    }
}

impl<Q: Submit> Handler<Q> {
    /// Puts together what requests need. Metrics are registered here, so install their recorder before.
    ///
    /// # Errors
    /// When `tenancy.header` cannot be the name of a header.
    pub fn new(settings: &Settings, door: Arc<Door<Q>>, memory: Arc<Memory>) -> Result<Self, InvalidHeader> {
        let rules = Rules::new(settings)?;
        let budget = Budget::for_bodies_of(settings.ingest.max_body);
        Ok(Self {
            otlp: Otlp::new(settings, rules.tenant_header.clone(), door.clone(), memory, budget.clone()),
            rules: Current::new(rules),
            door,
            budget,
            unpackers: Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)),
            counts: Counts::new(),
        })
    }

    /// Applies another configuration from now on, but for its listeners, `ingest.max_body` and `max_connections`.
    ///
    /// # Errors
    /// When `tenancy.header` cannot be the name of a header; nothing has changed then.
    pub fn reload(&self, settings: &Settings) -> Result<(), InvalidHeader> {
        let rules = Rules::new(settings)?;
        self.otlp.reload(settings, rules.tenant_header.clone());
        self.rules.set(rules);
        self.door.reload(settings);
        Ok(())
    }

    /// What takes OTLP.
    pub(super) fn otlp(&self) -> &Otlp<Q> {
        &self.otlp
    }

    /// Answers a request. A panic on the way is answered with 500 and costs nothing but this request.
    async fn answer(self: &Arc<Self>, request: Request<Incoming>, peer: Peer) -> Answer {
        let version = request.version();
        let (head, mut body) = request.into_parts();
        let route = Route::of(head.uri.path());
        let outcome = {
            let mut work = pin!(self.dispatch(&head, route, &mut body, peer));
            let caught = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(outcome)) => Poll::Ready(outcome),
                Err(_) => {
                    self.counts.panics.increment(1);
                    Poll::Ready(Err(Problem::internal()))
                }
            });
            caught.await
        };
        let mut answer = outcome.unwrap_or_else(|problem| problem.answer(route.target.voice()));
        if version == Version::HTTP_2 {
            answer.headers_mut().remove(CONNECTION);
        } else if !body.is_end_stream()
            && !head.headers.contains_key(EXPECT)
            && answer.status() != StatusCode::REQUEST_TIMEOUT
        {
            tokio::spawn(body::drain(body));
        }
        self.counts.answered(answer.status());
        answer
    }

    async fn dispatch(
        self: &Arc<Self>,
        head: &request::Parts,
        route: Route<'_>,
        body: &mut Incoming,
        peer: Peer,
    ) -> Result<Answer, Problem> {
        let path = head.uri.path();
        let Some(allow) = route.target.allow() else { return Err(not_found(route.target, path)) };
        let right = if allow == "POST" {
            head.method == Method::POST
        } else {
            [Method::GET, Method::HEAD].contains(&head.method)
        };
        if !right {
            return Err(Problem::method(allow));
        }
        match route.target {
            Target::Intake { intake, key } => {
                self.take(head, body, peer, Names { tenant: route.tenant, key }, intake).await
            }
            Target::Otlp(signal) => Ok(self.otlp.answer(head, body, peer, route.tenant, signal).await),
            Target::Traces => Ok(otlp::no_traces(head)),
            Target::Validate => self.validate(head, route.tenant),
            Target::Metadata => Ok(answer::fixed(StatusCode::ACCEPTED, r#"{"status":"ok"}"#)),
            Target::Ready if self.door.is_closing() => Err(Rejection::Stopping.into()),
            Target::Ready if self.door.registry().is_blind() => Err(Problem::no_tenants()),
            Target::Health | Target::Ready => Ok(answer::fixed(StatusCode::OK, r#"{"status":"ok"}"#)),
            Target::Follow { ticket } => self.follow(ticket).await,
            Target::SeriesV3 | Target::Unknown => Err(not_found(route.target, path)),
        }
    }

    /// Takes telemetry.
    async fn take(
        self: &Arc<Self>,
        head: &request::Parts,
        body: &mut Incoming,
        peer: Peer,
        names: Names<'_>,
        intake: &'static Intake,
    ) -> Result<Answer, Problem> {
        let _visit = self.door.enter()?;
        let rules = self.rules.get();
        let query = Query::parse(head.uri.query(), intake.takes_log_defaults);
        let sender = self.door.sender(&rules.claims(&head.headers, names.tenant, names.key, &query)?)?;
        if let Some(generation) = head.headers.get(GENERATION)
            && !generation
                .to_str()
                .ok()
                .and_then(|text| text.parse().ok())
                .is_some_and(|n| sender.may_replay(Generation(n)))
        {
            return Err(Problem::new(StatusCode::CONFLICT, ANOTHER_RECIPIENT));
        }
        let encodings = head.headers.get_all(CONTENT_ENCODING).iter().map(|value| value.as_bytes());
        let encodings = Encodings::parse(encodings)?;
        let content_type = head.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
        let form = intake.form(content_type).ok_or_else(|| wrong_type(intake, content_type));

        self.door.wait_for_capacity().await;
        let mut hold = self.budget.hold(Owner::of(&sender, peer));
        if head.version == Version::HTTP_2 {
            // Streams have no bound of their own but that of their connection.
            hold.wait_to_grow(STREAM + bytes_of(&head.headers)).await.map_err(|_| Problem::busy())?;
        }
        let (limit, time) = (rules.max_body, rules.body_timeout);
        let body = timeout(time, body::read(body, limit, &mut hold)).await.map_err(|_| Problem::slow(time))?;
        let body = body.map_err(|error| Problem::of_body(error, limit))?;

        let now = self.door.now();
        let (sender, defaults) = (Arc::new(sender), query.log_defaults);
        let parcel = Parcel { sender: sender.clone(), intake, body, limit, encodings, form, defaults, now, hold };
        let parcel = parcel.decode_if_small()?;
        let (split, _hold) =
            if parcel.is_heavy() { self.unpack_on_blocking_pool(parcel).await? } else { parcel.unpack()? };
        if split.parts.is_empty() && split.invalid.is_empty() {
            return Ok(answer::fixed(intake.success.0, intake.success.1));
        }
        let first = split.parts.first().map(|part| (part.kind, part.bytes.clone()));
        let follow = head.headers.contains_key(FOLLOW);
        let submission = Submission { split, now, follow, can_resend: true };
        let accepted = self.door.accept(&sender, submission).await.map_err(|rejection| match rejection {
            Rejection::Invalid(refusal) => refused(refusal, intake),
            rejection => rejection.into(),
        })?;
        let mut answer = first
            .and_then(|first| echo(intake, first, &accepted.tenants, now))
            .unwrap_or_else(|| taken(intake, &accepted));
        if !accepted.not_taken.is_empty() {
            answer.headers_mut().insert(REFUSED, HeaderValue::from(accepted.refused_items()));
        }
        if let Some(Ok(ticket)) = accepted.ticket.map(HeaderValue::try_from) {
            answer.headers_mut().insert(TICKET, ticket);
        }
        Ok(answer)
    }

    /// Whether the caller has a tenant with a key that Datadog does not refuse
    /// (docs.datadoghq.com/api/latest/authentication; the texts are Datadog's).
    fn validate(&self, head: &request::Parts, tenant: Option<&str>) -> Result<Answer, Problem> {
        let query = Query::parse(head.uri.query(), false);
        let forbidden = |why: &str| Problem::new(StatusCode::FORBIDDEN, why);
        let claims = self.rules.get().claims(&head.headers, tenant, None, &query)?;
        let sender = self.door.sender(&claims);
        match sender.as_ref().map(Sender::caller) {
            Ok(Caller::Tenant { tenant, .. } | Caller::Items { default: Some(tenant), .. })
                if !matches!(tenant.state(), TenantState::Pending | TenantState::Unauthorized) =>
            {
                Ok(answer::fixed(StatusCode::OK, r#"{"valid":true}"#))
            }
            Ok(Caller::Items { default: None, unknown_key: false })
            | Err(Rejection::Denied(Denied::TokenMissing | Denied::Unnamed(_))) => Err(forbidden("API key required")),
            Err(_) if self.door.registry().is_partial() => Err(Rejection::StoreUnreachable.into()),
            Ok(_) | Err(_) => Err(forbidden("Forbidden")),
        }
    }

    /// What has become of the request of a ticket.
    async fn follow(&self, ticket: &str) -> Result<Answer, Problem> {
        let Some(followed) = self.door.followed(ticket) else {
            let message =
                "no such ticket: it was never given, or the requests that are followed since have displaced it";
            return Err(Problem::new(StatusCode::NOT_FOUND, message));
        };
        Ok(answer::json_answer(StatusCode::OK, followed.report().await.to_string().into()))
    }

    /// Decodes and splits a body on the blocking pool, where it keeps no connection waiting.
    async fn unpack_on_blocking_pool(&self, parcel: Parcel) -> Result<(Split, Reservation), Problem> {
        // The semaphore is never closed.
        let Ok(_permit) = self.unpackers.acquire().await else { return Err(Problem::internal()) };
        match tokio::task::spawn_blocking(move || parcel.unpack()).await {
            Ok(unpacked) => unpacked,
            Err(_panicked) => {
                self.counts.panics.increment(1);
                Err(Problem::internal())
            }
        }
    }
}

/// The header of a request that is to be followed, whatever its value.
const FOLLOW: HeaderName = HeaderName::from_static("dogsled-follow");

/// The header by which dead letters that are replayed say for whom they were accepted.
const GENERATION: HeaderName = HeaderName::from_static("dogsled-generation");

const ANOTHER_RECIPIENT: &str = "these items were accepted for an earlier tenant of that id, or for another organisation: \
     `dogsled dead-letter replay --to-present-organisation` sends them all the same";

/// The header that says how many items were not taken although others were.
const REFUSED: HeaderName = HeaderName::from_static("dogsled-refused");

/// The header of the answer that holds the ticket.
const TICKET: HeaderName = HeaderName::from_static("dogsled-ticket");

const DD_API_KEY: HeaderName = HeaderName::from_static("dd-api-key");

/// What an HTTP/2 request takes of memory besides its header and body, about.
const STREAM: usize = 8 << 10;

/// What a path says of whom a request is from.
#[derive(Clone, Copy)]
struct Names<'a> {
    tenant: Option<&'a str>,
    key: Option<&'a str>,
}

fn bytes_of(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// A body on its way from the socket to its parts.
struct Parcel {
    sender: Arc<Sender>,
    intake: &'static Intake,
    body: Bytes,
    /// Bytes that it may have at most once it is decoded.
    limit: usize,
    encodings: Encodings,
    form: Result<Form, Problem>,
    defaults: LogDefaults,
    now: UnixMillis,
    hold: Reservation,
}

impl Parcel {
    /// Decodes a body that stays small. One that turns out to grow is left as it is.
    fn decode_if_small(mut self) -> Result<Self, Problem> {
        if self.encodings.is_identity() || self.body.len() > INLINE_COMPRESSED {
            return Ok(self);
        }
        let before = self.hold.bytes();
        match self.encodings.decode(self.body.clone(), INLINE_PLAIN.min(self.limit), &mut self.hold) {
            Ok(body) => (self.body, self.encodings) = (body, Encodings::default()),
            Err(DecodeError::TooLarge) if self.limit > INLINE_PLAIN => {
                self.hold.release(self.hold.bytes().saturating_sub(before));
            }
            Err(error) => return Err(Problem::of_decoding(error, self.limit)),
        }
        Ok(self)
    }

    fn is_heavy(&self) -> bool {
        !self.encodings.is_identity() || self.body.len() > INLINE_PLAIN
    }

    fn unpack(self) -> Result<(Split, Reservation), Problem> {
        let Self { sender, intake, body, limit, encodings, form, defaults, now, mut hold } = self;
        let body = encodings.decode(body, limit, &mut hold).map_err(|error| Problem::of_decoding(error, limit))?;
        let form = match form {
            Ok(form) => form,
            // Agents probe every path with the same empty object, whatever the path's type.
            Err(_) if body.is_empty() || &*body == b"{}" => return Ok((Split::default(), hold)),
            Err(problem) => return Err(problem),
        };
        let context = wire::Context { now, tenant_tag: sender.tenant_tag(), log_defaults: &defaults };
        let split = wire::split(form, &body, &context).map_err(|refusal| refused(refusal, intake))?;
        Ok((split, hold))
    }
}

/// Why items are refused that Datadog would refuse.
fn refused(refusal: Refusal, intake: &Intake) -> Problem {
    match refusal {
        // The only item of its request needs no number.
        Refusal::Invalid { reason, .. } if intake.echo.is_some() => Problem::new(StatusCode::BAD_REQUEST, reason),
        refusal => Rejection::from(refusal).into(),
    }
}

/// The answer when the items were taken. It names those that were not, where Datadog's own form has room for that.
fn taken(intake: &Intake, accepted: &Accepted) -> Answer {
    let (status, body) = intake.success;
    if accepted.not_taken.is_empty() || !intake.tells_errors {
        return answer::fixed(status, body);
    }
    let errors: Vec<_> = accepted.not_taken.iter().map(|not_taken| redacted(&not_taken.message)).collect();
    answer::json_answer(status, serde_json::json!({ "errors": errors }).to_string().into())
}

/// The answer to an event, which repeats it.
#[expect(clippy::disallowed_methods, reason = "ids, which decide nothing")]
fn echo(intake: &Intake, (kind, bytes): (Kind, Bytes), tenants: &[Arc<Tenant>], now: UnixMillis) -> Option<Answer> {
    let app = &tenants.first()?.site.hosts.app;
    let body = match (intake.echo?, kind) {
        (Echo::EventV1, Kind::EventV1) => event::answer_v1(&bytes, now.0 / 1000, rand::random(), app),
        (Echo::EventV2, Kind::EventV2) => event::answer_v2(rand::random(), app),
        _ => return None,
    };
    Some(answer::json_answer(StatusCode::ACCEPTED, body))
}

fn wrong_type(intake: &Intake, content_type: Option<&str>) -> Problem {
    let sent = content_type.unwrap_or_default();
    let message = format!("Content-Type {sent:?} is not taken here: send {}", intake.content_types());
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
}

fn not_found(target: Target<'_>, path: &str) -> Problem {
    let message = if target == Target::SeriesV3 {
        "series in the v3 form are not taken: set use_v3_api.series.enabled: false in the Agent's datadog.yaml, and it \
         sends them to /api/v2/series"
            .to_owned()
    } else {
        let path = route::shown(path);
        format!(
            "nothing is served at {path}: send to the paths of the Datadog API, such as /api/v2/series or /api/v2/logs"
        )
    };
    Problem::new(StatusCode::NOT_FOUND, message)
}
