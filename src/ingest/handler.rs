//! One request from its head to its answer.

use super::answer::{self, Answer, Problem};
use super::body;
use super::budget::{Budget, Reservation};
use super::encoding::Encodings;
use super::event;
use super::query::Query;
use super::route::{self, Intake, Route, Target};
use super::tickets::{FOLLOW, TICKET, Tickets};
use crate::queue::{Queues, Refused};
use crate::settings::{self, Settings};
use crate::tenancy::{Caller, Charge, Claims, Denied, Meter, Registry, Resolver, Tenant, TenantState};
use crate::types::{Chunk, Current, Kind, TenantId, UnixMillis};
use crate::wire::{self, Form, LogDefaults, Part};
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request;
use hyper::{Method, Request, StatusCode, Version};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// Compressed bodies up to this size are decoded where they were read; larger ones would keep other connections of the
/// thread waiting.
const INLINE_COMPRESSED: usize = 64 << 10;

/// The same for bodies that only need splitting, which is some ten times faster.
const INLINE_PLAIN: usize = 1 << 20;

/// What takes the items of a request: the queues, or their stand-in in a test.
pub trait Submit: Send + Sync + 'static {
    /// Takes all chunks or none.
    ///
    /// # Errors
    /// See [`Refused`].
    fn submit(self: &Arc<Self>, chunks: Vec<Chunk>) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Waits, for a short time at most, while what was taken before waits for the machine.
    fn eased(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

impl Submit for Queues {
    fn submit(self: &Arc<Self>, chunks: Vec<Chunk>) -> impl Future<Output = Result<(), Refused>> + Send {
        Queues::submit(self, chunks)
    }

    fn eased(&self) -> impl Future<Output = ()> + Send {
        Queues::eased(self)
    }
}

/// A header name in the configuration that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenancy.header: {0:?} is not a header name: use letters, digits and -")]
pub struct InvalidHeader(pub String);

/// What all connections share.
#[derive(Debug)]
pub struct Shared<Q = Queues> {
    rules: Current<Rules>,
    registry: Arc<Registry>,
    queues: Arc<Q>,
    budget: Arc<Budget>,
    /// Decoders at once on blocking threads: more would only take turns, each with its memory.
    unpackers: Semaphore,
    stopping: AtomicBool,
    tickets: Tickets,
    counts: Counts,
}

/// The configuration, as far as it concerns requests. One request goes by the same all along.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) ingest: settings::Ingest,
    tenancy: settings::Tenancy,
    tenant_header: HeaderName,
}

impl Rules {
    fn new(settings: &Settings) -> Result<Self, InvalidHeader> {
        let name = &settings.tenancy.header;
        let tenant_header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| InvalidHeader(name.clone()))?;
        Ok(Self { ingest: settings.ingest.clone(), tenancy: settings.tenancy.clone(), tenant_header })
    }

    fn resolver<'a>(&'a self, registry: &'a Registry) -> Resolver<'a> {
        Resolver { registry, tenancy: &self.tenancy, require_token: self.ingest.require_token }
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
        let text = |value: &'a hyper::header::HeaderValue| value.to_str().unwrap_or("\u{fffd}");
        let sent = headers.get(DD_API_KEY).map(text).filter(|key| !key.is_empty());
        Ok(Claims {
            path,
            header: header.map(text),
            keys: [key, query.dd_api_key.as_deref(), query.api_key.as_deref(), sent],
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
        metrics::describe_counter!("dogsled_ingest_requests_total", "Requests to the local HTTP port, by status");
        metrics::describe_counter!("dogsled_panics_total", "Faults of this program, by the part that survived them");
        let requests = [200, 202, 400, 401, 403, 404, 405, 408, 413, 415, 429, 500, 503]
            .into_iter()
            .filter_map(|status| StatusCode::from_u16(status).ok())
            .map(|status| {
                let counter =
                    metrics::counter!("dogsled_ingest_requests_total", "status" => status.as_str().to_owned());
                (status, counter)
            })
            .collect();
        Self { requests, panics: metrics::counter!("dogsled_panics_total", "part" => "ingest") }
    }

    fn answered(&self, status: StatusCode) {
        if let Some((_, counter)) = self.requests.iter().find(|(known, _)| *known == status) {
            counter.increment(1);
        }
    }
}

impl<Q: Submit> Shared<Q> {
    /// Puts together what requests need. Metrics are registered here, so install their recorder before.
    ///
    /// # Errors
    /// When `tenancy.header` cannot be the name of a header.
    pub fn new(settings: &Settings, registry: Arc<Registry>, queues: Arc<Q>) -> Result<Self, InvalidHeader> {
        Ok(Self {
            rules: Current::new(Rules::new(settings)?),
            registry,
            queues,
            budget: Budget::for_bodies_of(settings.ingest.max_body),
            unpackers: Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)),
            stopping: AtomicBool::new(false),
            tickets: Tickets::default(),
            counts: Counts::new(),
        })
    }

    /// Goes by another configuration from now on, but for its listeners, `ingest.max_body` and `max_connections`.
    ///
    /// # Errors
    /// When `tenancy.header` cannot be the name of a header; nothing has changed then.
    pub fn reload(&self, settings: &Settings) -> Result<(), InvalidHeader> {
        self.rules.set(Rules::new(settings)?);
        Ok(())
    }

    pub(super) fn rules(&self) -> Arc<Rules> {
        self.rules.get()
    }

    /// From now on new requests are told to come again later.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Notes a task that panicked outside of a request.
    pub(super) fn panicked(&self) {
        self.counts.panics.increment(1);
    }

    /// Answers a request. A panic on the way is answered with 500 and costs nothing but this request.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let version = request.version();
        let (head, mut body) = request.into_parts();
        let outcome = {
            let mut work = pin!(self.dispatch(&head, &mut body));
            let caught = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(outcome)) => Poll::Ready(outcome),
                Err(_) => {
                    self.panicked();
                    Poll::Ready(Err(Problem::internal()))
                }
            });
            caught.await
        };
        let mut answer = outcome.unwrap_or_else(Answer::from);
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

    async fn dispatch(self: &Arc<Self>, head: &request::Parts, body: &mut Incoming) -> Result<Answer, Problem> {
        let path = head.uri.path();
        let route = Route::of(path);
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
            Target::Intake { intake, key } => self.take(head, body, route.tenant, intake, key).await,
            Target::Validate => self.validate(head, route.tenant),
            Target::Metadata => Ok(answer::fixed(StatusCode::ACCEPTED, r#"{"status":"ok"}"#)),
            Target::Ready if self.stopping.load(Ordering::Relaxed) => Err(Problem::stopping()),
            Target::Ready if self.registry.is_blind() => Err(Problem::no_tenants()),
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
        tenant: Option<&str>,
        intake: Intake,
        key: Option<&str>,
    ) -> Result<Answer, Problem> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Problem::stopping());
        }
        let rules = self.rules();
        let resolver = rules.resolver(&self.registry);
        let query = Query::parse(head.uri.query(), intake.takes_log_defaults());
        let caller = resolver.caller(&rules.claims(&head.headers, tenant, key, &query)?);
        let caller = caller.map_err(|denied| self.denied(denied))?;
        let encodings = head.headers.get_all(CONTENT_ENCODING).iter().map(|value| value.as_bytes());
        let encodings = Encodings::parse(encodings)?;
        let content_type = head.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
        let form = intake.form(content_type).ok_or_else(|| wrong_type(intake, content_type));

        // Before the body is read, so that what waits is in the emitter's memory and not in ours.
        self.queues.eased().await;
        let mut hold = self.budget.hold();
        let (limit, time) = (rules.ingest.max_body, rules.ingest.body_timeout);
        let body = timeout(time, body::read(body, limit, &mut hold)).await.map_err(|_| Problem::slow(time))?;
        let body = body.map_err(|error| Problem::of_body(error, limit))?;

        let tags = resolver.tag(&caller).is_some();
        let now = UnixMillis::now();
        let (rules, defaults) = (rules.clone(), query.log_defaults);
        let parcel = Parcel { rules, body, encodings, form, tags, defaults, now, hold };
        let (parts, _hold) = if parcel.is_heavy() { self.unpack_aside(parcel).await? } else { self.unpack(parcel)? };
        if parts.is_empty() {
            return Ok(answer::taken(intake));
        }
        let named = parts.iter().map(|part| (part.tenant.as_deref(), part.items));
        let tenants = resolver.assign(&caller, named).map_err(|denied| self.denied(denied))?;
        let charges = charge(&parts, &tenants)?;
        let followed = if head.headers.contains_key(FOLLOW) {
            self.tickets.issue(parts.iter().map(|part| u64::from(part.items)).sum(), &tenants)
        } else {
            None
        };
        let event = events_answer(intake, &parts, &tenants, now);
        let chunks = parts.into_iter().zip(&tenants).map(|(part, tenant)| Chunk {
            tenant: tenant.id.clone(),
            kind: part.kind,
            items: part.items,
            oldest: part.oldest,
            accepted: now,
            bytes: part.bytes,
            follow: followed.as_ref().map(|followed| followed.follow.clone()),
        });
        let submitted = self.queues.submit(chunks.collect()).await;
        let mut answer = event.unwrap_or_else(|| answer::taken(intake));
        if let Some(followed) = followed {
            match HeaderValue::try_from(&followed.ticket) {
                Ok(ticket) if submitted.is_ok() => drop(answer.headers_mut().insert(TICKET, ticket)),
                _ => self.tickets.withdraw(&followed),
            }
        }
        if let Err(refused) = submitted {
            charges.into_iter().for_each(Charge::give_back);
            return Err(refused.into());
        }
        Ok(answer)
    }

    /// Whether the caller has a tenant with a key that Datadog does not refuse
    /// (docs.datadoghq.com/api/latest/authentication; the texts are Datadog's).
    fn validate(&self, head: &request::Parts, tenant: Option<&str>) -> Result<Answer, Problem> {
        let query = Query::parse(head.uri.query(), false);
        let forbidden = |why: &str| Problem::new(StatusCode::FORBIDDEN, why);
        let rules = self.rules();
        match rules.resolver(&self.registry).caller(&rules.claims(&head.headers, tenant, None, &query)?) {
            Ok(Caller::Tenant { tenant, .. } | Caller::Items { default: Some(tenant), .. })
                if !matches!(tenant.state(), TenantState::Pending | TenantState::Unauthorized) =>
            {
                Ok(answer::fixed(StatusCode::OK, r#"{"valid":true}"#))
            }
            Ok(Caller::Items { default: None, unknown_key: false })
            | Err(Denied::TokenMissing | Denied::Unnamed(_)) => Err(forbidden("API key required")),
            Err(_) if self.registry.is_partial() => Err(Problem::not_all_tenants()),
            Ok(_) | Err(_) => Err(forbidden("Forbidden")),
        }
    }

    /// What has become of the request of a ticket.
    async fn follow(&self, ticket: &str) -> Result<Answer, Problem> {
        let Some(followed) = self.tickets.find(ticket) else {
            let message =
                "no such ticket: it was never given, or the requests that are followed since have displaced it";
            return Err(Problem::new(StatusCode::NOT_FOUND, message));
        };
        Ok(answer::json(StatusCode::OK, followed.report().await.to_string().into()))
    }

    /// Why a request is refused: for now, where not all tenants are known yet.
    fn denied(&self, denied: Denied) -> Problem {
        let stranger = matches!(denied, Denied::Unknown { .. } | Denied::TokenUnknown(_));
        if stranger && self.registry.is_partial() { Problem::not_all_tenants() } else { denied.into() }
    }

    /// Decodes and splits a body on a thread where that hinders nobody.
    async fn unpack_aside(self: &Arc<Self>, parcel: Parcel) -> Result<(Vec<Part>, Reservation), Problem> {
        // The semaphore is never closed.
        let Ok(_permit) = self.unpackers.acquire().await else { return Err(Problem::stopping()) };
        let this = Arc::clone(self);
        match tokio::task::spawn_blocking(move || this.unpack(parcel)).await {
            Ok(unpacked) => unpacked,
            Err(_panicked) => {
                self.panicked();
                Err(Problem::internal())
            }
        }
    }

    fn unpack(&self, parcel: Parcel) -> Result<(Vec<Part>, Reservation), Problem> {
        let Parcel { rules, body, encodings, form, tags, defaults, now, mut hold } = parcel;
        let limit = rules.ingest.max_body;
        let body = encodings.decode(body, limit, &mut hold).map_err(|error| Problem::of_decoding(error, limit))?;
        let form = match form {
            Ok(form) => form,
            // Agents probe every path with the same empty object, whatever the path's type.
            Err(_) if body.is_empty() || &*body == b"{}" => return Ok((Vec::new(), hold)),
            Err(problem) => return Err(problem),
        };
        let tenant_tag = tags.then_some(rules.tenancy.tag.as_str());
        let context = wire::Context { now, tenant_tag, log_defaults: &defaults };
        let mut parts = wire::split(form, &body, &context)?;
        for part in &mut parts {
            detach(&mut part.bytes, &body);
        }
        Ok((parts, hold))
    }
}

const DD_API_KEY: HeaderName = HeaderName::from_static("dd-api-key");

/// A body on its way from the socket to its parts.
struct Parcel {
    rules: Arc<Rules>,
    body: Bytes,
    encodings: Encodings,
    form: Result<Form, Problem>,
    /// Whether tags name tenants.
    tags: bool,
    defaults: LogDefaults,
    now: UnixMillis,
    hold: Reservation,
}

impl Parcel {
    fn is_heavy(&self) -> bool {
        self.body.len() > if self.encodings.is_identity() { INLINE_PLAIN } else { INLINE_COMPRESSED }
    }
}

/// Takes what a request needs of its tenants' rates, of all or of none.
fn charge(parts: &[Part], tenants: &[Arc<Tenant>]) -> Result<Vec<Charge>, Problem> {
    let mut needs: BTreeMap<&TenantId, (&Arc<Meter>, u64, u64)> = BTreeMap::new();
    for (part, tenant) in parts.iter().zip(tenants) {
        let Some(meter) = tenant.limited() else { continue };
        let (_, items, bytes) = needs.entry(&tenant.id).or_insert((meter, 0, 0));
        *items += u64::from(part.items);
        *bytes += part.bytes.len() as u64;
    }
    let now = Instant::now();
    let mut charges = Vec::with_capacity(needs.len());
    for (tenant, (meter, items, bytes)) in needs {
        match meter.charge(items, bytes, now) {
            Ok(charge) => charges.push(charge),
            Err(exceeded) => {
                charges.into_iter().for_each(Charge::give_back);
                return Err(Problem::too_fast(tenant, &exceeded));
            }
        }
    }
    Ok(charges)
}

/// Copies a part that is the lesser half of its request's body, which it would otherwise keep in memory whole for as
/// long as its tenant's items wait.
fn detach(part: &mut Bytes, body: &Bytes) {
    let within = body.as_ptr_range().contains(&part.as_ptr());
    if within && part.len() < body.len() / 2 {
        *part = Bytes::copy_from_slice(part);
    }
}

/// The answer to an event, which repeats it.
fn events_answer(intake: Intake, parts: &[Part], tenants: &[Arc<Tenant>], now: UnixMillis) -> Option<Answer> {
    let (part, tenant) = (parts.first()?, tenants.first()?);
    let app = &tenant.site.hosts.app;
    let body = match (intake, part.kind) {
        (Intake::EventsV1, Kind::EventV1) => event::answer_v1(&part.bytes, now.0 / 1000, rand::random(), app),
        (Intake::EventsV2, Kind::EventV2) => event::answer_v2(rand::random(), app),
        _ => return None,
    };
    Some(answer::json(StatusCode::ACCEPTED, body))
}

fn wrong_type(intake: Intake, content_type: Option<&str>) -> Problem {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_keeps_its_requests_body_in_memory_only_when_it_is_most_of_it() {
        let body = Bytes::from(vec![b'x'; 1_000]);
        let elsewhere = Bytes::from(vec![b'y'; 10]);
        for (part, kept) in [(body.slice(..), true), (body.slice(300..800), true), (body.slice(900..910), false)] {
            let mut detached = part.clone();
            detach(&mut detached, &body);
            assert_eq!(detached, part);
            assert_eq!(detached.as_ptr() == part.as_ptr(), kept, "{} bytes", part.len());
        }
        let mut detached = elsewhere.clone();
        detach(&mut detached, &body);
        assert_eq!(detached.as_ptr(), elsewhere.as_ptr());
    }
}
