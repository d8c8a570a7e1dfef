//! A decoded request on its way through the door, whichever transport brought it.

use super::memory::{Held, Memory};
use crate::ingest::accept::{Door, Sender, Submission, Submit};
use crate::ingest::outcome::Rejection;
use crate::queue::Queues;
use crate::settings::{self, Settings};
use crate::tenancy::Claims;
use crate::types::{Current, TenantId, UnixMillis};
use crate::wire::Split;
use crate::wire::otlp::{
    self, Context, Deltas, Encoding, Fault, Histograms, Mapped, Options, Rejections, Signal, Survey,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Requests up to this size are mapped where they were read; larger ones would keep other connections of the thread waiting.
const INLINE: usize = 64 << 10;

/// What is made of a request may have so many times the bytes that a body may have: each point repeats its resource's tags.
const GROWTH: usize = 4;

/// Takes requests.
#[derive(Debug)]
pub(in crate::ingest) struct Receiver<Q = Queues> {
    rules: Current<Rules>,
    door: Arc<Door<Q>>,
    memory: Arc<Memory>,
    /// Requests that are mapped at once on blocking threads: more would only take turns, each with its memory.
    mappers: Semaphore,
    rejected: [metrics::Counter; 2],
}

/// The part of the configuration that concerns the mapping.
#[derive(Debug)]
struct Rules {
    options: Options,
    delta_ttl: Duration,
    limit: usize,
}

impl Rules {
    fn new(settings: &Settings) -> Self {
        let otlp = &settings.otlp;
        let options = Options {
            histograms: match otlp.histograms {
                settings::Histograms::Distributions => Histograms::Distributions,
                settings::Histograms::Counters => Histograms::Counters,
                settings::Histograms::NoBuckets => Histograms::NoBuckets,
            },
            send_aggregation_metrics: otlp.send_aggregation_metrics,
            resource_attributes_as_tags: otlp.resource_attributes_as_tags,
            scope_as_tags: otlp.scope_as_tags,
            sums_as_gauges: otlp.sums == settings::Sums::RawValue,
            quantiles: otlp.summaries == settings::Summaries::Gauges,
            infer_delta_interval: otlp.infer_delta_interval,
        };
        Self { options, delta_ttl: otlp.delta_ttl, limit: settings.ingest.max_body }
    }
}

/// A request, its content encodings undone.
#[derive(Debug)]
pub(in crate::ingest) struct Request {
    pub signal: Signal,
    pub encoding: Encoding,
    pub body: Bytes,
}

/// Why nothing of a request was taken. `Display` is the text for the sender.
#[derive(Debug, thiserror::Error)]
pub(in crate::ingest) enum Refused {
    /// It cannot be read, or becomes too large.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The door refuses it.
    #[error(transparent)]
    Door(#[from] Rejection),
    /// A bug in Dogsled.
    #[error("an internal error of the daemon, of which its log says more; nothing of this request was taken")]
    Panicked,
}

/// A request that has been surveyed.
struct Work {
    sender: Arc<Sender>,
    request: Request,
    survey: Survey,
    rules: Arc<Rules>,
    now: UnixMillis,
    /// Of each owner, its tenant, or why it has none.
    tenants: Vec<Result<TenantId, Rejection>>,
}

/// A request that has been mapped.
struct Mapping {
    mapped: Mapped,
    held: Option<Held>,
    tenants: Vec<Result<TenantId, Rejection>>,
}

impl<Q: Submit> Receiver<Q> {
    /// Takes requests through `door`.
    pub fn new(settings: &Settings, door: Arc<Door<Q>>, memory: Arc<Memory>, cores: usize) -> Self {
        let rejected = ["metrics", "logs"].map(|signal| super::metrics::REJECTED.with(&[("signal", signal)]));
        let rules = Current::new(Rules::new(settings));
        Self { rules, door, memory, mappers: Semaphore::new(cores), rejected }
    }

    /// Applies another configuration to requests that begin from now on.
    pub fn reload(&self, settings: &Settings) {
        self.rules.set(Rules::new(settings));
    }

    /// Who sends a request whose head says this.
    ///
    /// # Errors
    /// When that is nobody, or nobody who may.
    pub fn sender(&self, claims: &Claims<'_>) -> Result<Sender, Rejection> {
        self.door.sender(claims)
    }

    /// The door behind it.
    pub fn door(&self) -> &Door<Q> {
        &self.door
    }

    /// Takes what can be taken, and says what is refused of it.
    ///
    /// # Errors
    /// Why nothing was taken.
    pub async fn receive(self: &Arc<Self>, sender: Sender, request: Request) -> Result<Rejections, Refused> {
        let signal = request.signal;
        let is_heavy = request.body.len() > INLINE;
        let (rules, now) = (self.rules.get(), UnixMillis::now());
        let work = {
            let this = self.clone();
            self.compute(is_heavy, move || this.survey(Arc::new(sender), request, rules, now)).await??
        };
        let cumulative = work.survey.owners.iter().zip(&work.tenants).filter(|(owner, _)| owner.is_cumulative);
        let cumulative: BTreeSet<TenantId> = cumulative.filter_map(|(_, tenant)| tenant.clone().ok()).collect();
        let rejections = if cumulative.is_empty() {
            self.take(work, None, is_heavy).await?
        } else {
            // A client that goes away must not leave open whether its points are remembered.
            let this = self.clone();
            let taking = tokio::spawn(async move {
                let held = this.memory.hold(cumulative, work.rules.delta_ttl).await;
                this.take(work, Some(held), is_heavy).await
            });
            taking.await.map_err(|_panicked| Refused::Panicked)??
        };
        self.rejected[usize::from(signal == Signal::Logs)].increment(rejections.items());
        Ok(rejections)
    }

    /// Decodes JSON, and finds out whose the resources are.
    fn survey(
        &self,
        sender: Arc<Sender>,
        mut request: Request,
        rules: Arc<Rules>,
        now: UnixMillis,
    ) -> Result<Work, Refused> {
        let signal = request.signal;
        if request.encoding == Encoding::Json && !request.body.is_empty() {
            request.body = otlp::protobuf(signal, &request.body, rules.limit)?.into();
        }
        let survey = otlp::survey(signal, &request.body, sender.tenant_attribute())?;
        let tenants = survey.owners.iter().map(|owner| {
            let tenant = self.door.tenant_of(&sender, owner.tenant.as_deref());
            tenant.map(|tenant| tenant.id.clone())
        });
        let tenants = tenants.collect();
        Ok(Work { sender, request, survey, rules, now, tenants })
    }

    /// Maps a request and submits what it becomes.
    async fn take(&self, work: Work, held: Option<Held>, is_heavy: bool) -> Result<Rejections, Refused> {
        let (sender, now) = (work.sender.clone(), work.now);
        let memory = self.memory.clone();
        let mapping = self.compute(is_heavy, move || map(work, held, &memory)).await??;
        let Mapping { mapped: Mapped { parts, mut rejections, taken }, held, tenants } = mapping;
        let mut refused: BTreeMap<TenantId, String> = BTreeMap::new();
        if !parts.is_empty() {
            let split = Split { parts, invalid: Vec::new() };
            let accepted =
                self.door.accept(&sender, Submission { split, now, follow: false, can_resend: true }).await?;
            let not_taken = accepted.not_taken.into_iter();
            refused.extend(not_taken.filter_map(|not_taken| Some((not_taken.tenant?, not_taken.message))));
        }
        if let Some(held) = held {
            // What is only remembered is of no tenant that was refused.
            held.commit(|tenant| !refused.contains_key(tenant));
        }
        for (tenant, items) in tenants.iter().zip(taken) {
            match tenant {
                Ok(tenant) => {
                    if let Some(message) = refused.get(tenant) {
                        rejections.add(message, items, None);
                    }
                }
                Err(rejection) => rejections.add(rejection, items, None),
            }
        }
        Ok(rejections)
    }

    /// Does work on the blocking pool when it takes a while, where it keeps no connection waiting.
    pub async fn compute<T: Send + 'static>(
        &self,
        is_heavy: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        if !is_heavy {
            return catch_unwind(AssertUnwindSafe(work)).map_err(|_panic| Refused::Panicked);
        }
        // The semaphore is never closed.
        let Ok(_permit) = self.mappers.acquire().await else { return Err(Refused::Panicked) };
        tokio::task::spawn_blocking(work).await.map_err(|_panicked| Refused::Panicked)
    }
}

fn map(work: Work, mut held: Option<Held>, memory: &Memory) -> Result<Mapping, Fault> {
    let Work { sender, request, survey, rules, now, tenants } = work;
    let context = Context {
        attribute: sender.tenant_attribute(),
        options: &rules.options,
        clock: memory.clock(now),
        hash_key: memory.hash_key(),
        limit: rules.limit.saturating_mul(GROWTH),
    };
    let mapped = match request.signal {
        Signal::Logs => otlp::logs(&request.body, &survey, &context)?,
        Signal::Metrics => {
            // Those without cumulative series, or without a tenant, share one that nothing is remembered in.
            let mut none = Deltas::default();
            none.begin(usize::MAX);
            let slot = |tenant: &TenantId| held.as_ref()?.index(tenant);
            let slots: Vec<_> =
                tenants.iter().map(|tenant| tenant.as_ref().ok().and_then(slot).map_or(0, |at| at + 1)).collect();
            let mut deltas = vec![&mut none];
            deltas.extend(held.iter_mut().flat_map(Held::deltas));
            otlp::metrics(&request.body, &survey, &context, &slots, &mut deltas)?
        }
    };
    Ok(Mapping { mapped, held, tenants })
}
