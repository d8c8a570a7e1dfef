//! The sender of one tenant, and what it holds.
//!
//! Its state does not live on the stack of the task that drives it: should that panic, its successor finds every job.

use super::auth::Auth;
use super::backlog::Backlog;
use super::circuit_breaker::Backoff;
use super::client::{ClientError, Destination};
use super::endpoint::EndpointState;
use super::job::{Job, Step};
use super::run::Tools;
use super::unacked::Unacked;
use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::queue::{LaneFigures, TenantQueue};
use crate::settings::Settings;
use crate::tenancy::{Hold, Registry, Tenant};
use crate::types::{Current, Endpoint, Kind, Secret, UnixMillis};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Everything about sending one tenant's telemetry.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) queue: Arc<TenantQueue>,
    pub(super) registry: Arc<Registry>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) tools: Arc<Tools>,
    pub(super) rules: Arc<Current<Rules>>,
    pub(super) unacked: Arc<Unacked>,
    state: Mutex<SenderState>,
}

/// The configuration, as far as it concerns sending.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) concurrency: usize,
    pub(super) max_age: Duration,
    pub(super) backoff: Backoff,
    pub(super) validate_interval: Duration,
}

/// What the senders are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Send what is due.
    Usual,
    /// Send everything: no batch waits for its age.
    Flushing,
    /// Start nothing new, and wait for what is in flight.
    Ending,
}

#[derive(Debug)]
pub(super) struct SenderState {
    pub(super) auth: Auth,
    pub(super) endpoints: [EndpointState; Endpoint::COUNT],
    pub(super) backlog: Backlog,
    /// Kinds whose spilled items are being read back, or could not be.
    pub(super) loads: BTreeMap<Kind, Load>,
    /// The kind that was served last, so that the next one has its turn first.
    pub(super) last: usize,
    /// The endpoints that have refused the key since it was last found good.
    pub(super) doubts: Vec<Doubt>,
    /// Where to send, while the tenant has a key.
    pub(super) bound: Option<Bound>,
    /// Items accepted before this time are to be dropped, also when they come back from Datadog.
    pub(super) purge: Option<UnixMillis>,
    pub(super) last_error: Option<LastError>,
}

/// Reading spilled items back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    Running,
    /// It failed.
    NotBefore(Instant),
}

/// A refusal of the key by an endpoint. Until validation has told whose fault it is, a probe has no answer.
#[derive(Debug)]
pub(super) struct Doubt {
    pub(super) endpoint: Endpoint,
    pub(super) probe: bool,
    pub(super) message: String,
}

/// A tenant's key and site, and the addresses made of them.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) tenant: Arc<Tenant>,
    pub(super) key: Secret,
    pub(super) to: Arc<Destination>,
}

/// The last failure of a tenant's delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// The time of the failure.
    pub at: UnixMillis,
    /// The path of the endpoint.
    pub endpoint: &'static str,
    /// Datadog's message with the status, or the network's.
    pub message: String,
}

impl Rules {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            concurrency: settings.delivery.concurrency_per_tenant.max(1),
            max_age: settings.batch.max_age,
            backoff: Backoff { initial: settings.delivery.retry_initial, max: settings.delivery.retry_max },
            validate_interval: settings.delivery.validate_interval,
        }
    }
}

impl Sender {
    pub(super) fn new(
        queue: Arc<TenantQueue>,
        registry: Arc<Registry>,
        ledger: Arc<Ledger>,
        tools: Arc<Tools>,
        rules: Arc<Current<Rules>>,
    ) -> Self {
        let state = SenderState {
            auth: Auth::new(Instant::now(), tools.machine.chance()),
            endpoints: Default::default(),
            backlog: Backlog::default(),
            loads: BTreeMap::new(),
            last: 0,
            doubts: Vec::new(),
            bound: None,
            purge: None,
            last_error: None,
        };
        Self { queue, registry, ledger, tools, rules, unacked: Arc::default(), state: Mutex::new(state) }
    }

    /// The jobs' items, by kind.
    pub(super) fn figures(&self) -> Vec<LaneFigures> {
        self.lock().backlog.all().map(Job::figures).collect()
    }

    /// All jobs, in order of acceptance.
    pub(super) fn jobs(&self) -> Vec<Job> {
        self.lock().backlog.all().cloned().collect()
    }

    /// The requests that are left of each endpoint's rate limit, where that is known.
    pub(super) fn rate_limits_left(&self, now: Instant) -> Vec<(Endpoint, u64)> {
        let state = self.lock();
        let endpoints = Endpoint::ALL.into_iter().zip(&state.endpoints);
        endpoints.filter_map(|(endpoint, known)| Some((endpoint, known.left(now)?))).collect()
    }

    pub(super) fn last_error(&self) -> Option<LastError> {
        self.lock().last_error.clone()
    }

    pub(super) fn tenant(&self) -> Option<Arc<Tenant>> {
        self.registry.get(self.queue.id.as_str())
    }

    /// The kinds with something to do, the one after the last served first.
    pub(super) fn turns(&self, state: &SenderState) -> Vec<Kind> {
        let mut kinds = self.queue.kinds();
        kinds.extend(state.backlog.all().map(Job::kind));
        kinds.sort_unstable();
        kinds.dedup();
        let after = kinds.partition_point(|kind| (*kind as usize) <= state.last);
        kinds.rotate_left(after);
        kinds
    }

    pub(super) fn note(&self, state: &mut SenderState, endpoint: &'static str, message: String) {
        state.last_error = Some(LastError { at: self.tools.machine.now(), endpoint, message });
    }

    pub(super) fn chance(&self) -> f64 {
        self.tools.machine.chance()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, SenderState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SenderState {
    /// What is known of the endpoint of a job.
    pub(super) fn endpoint_of(&mut self, job: &Job) -> &mut EndpointState {
        &mut self.endpoints[job.kind().endpoint() as usize]
    }

    /// Has a job go on with another step.
    pub(super) fn next_step(&mut self, job: &Job, step: Step) {
        self.backlog.add(job.successor(job.sequence, step));
    }

    /// Where a tenant's telemetry goes, with which key, and what of it is held; none without a key.
    pub(super) fn bind(
        &mut self,
        tenant: Option<Arc<Tenant>>,
        now: Instant,
        machine: &Machine,
    ) -> Result<Option<(Arc<Destination>, Secret, Hold)>, ClientError> {
        let terms = tenant.map(|tenant| (tenant.terms(), tenant));
        let Some(((Some(key), hold), tenant)) = terms else {
            self.bound = None;
            return Ok(None);
        };
        if let Some(bound) = self.bound.as_ref().filter(|b| b.key == key && Arc::ptr_eq(&b.tenant, &tenant)) {
            return Ok(Some((bound.to.clone(), key, hold)));
        }
        // Nothing that was found out about the key before holds for this one.
        self.bound = None;
        self.auth = Auth::new(now, machine.chance());
        self.backlog.forgive();
        for doubt in std::mem::take(&mut self.doubts) {
            self.endpoints[doubt.endpoint as usize].unanswered(doubt.probe, now);
        }
        let to = Arc::new(Destination::new(&tenant.site, &key)?);
        self.bound = Some(Bound { tenant, key: key.clone(), to: to.clone() });
        Ok(Some((to, key, hold)))
    }
}
