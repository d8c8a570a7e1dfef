//! The sender of one tenant, and what it holds.
//!
//! Its state does not live on the stack of the task that drives it: should that panic, its successor finds every job.

use super::auth::Auth;
use super::backlog::Backlog;
use super::circuit_breaker::Backoff;
use super::client::{ClientError, Destination};
use super::endpoint::EndpointState;
use super::job::{Job, Step};
use super::purge::Purge;
use super::run::Tools;
use super::unacked::Unacked;
use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::queue::{LaneFigures, LaneId, TenantQueue};
use crate::settings::Settings;
use crate::tenancy::{Hold, Registry, Tenant};
use crate::types::{Current, Endpoint, Secret, UnixMillis};
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
    /// Lanes whose spilled items are being read back, or could not be.
    pub(super) loads: BTreeMap<LaneId, Load>,
    /// The lane that was served last, so that the next one has its turn first.
    pub(super) last: Option<LaneId>,
    /// The endpoints that have refused the key since it was last found good.
    pub(super) doubts: Vec<Doubt>,
    /// Where to send, while the tenant has a key.
    pub(super) bound: Option<Bound>,
    pub(super) purge: Purge,
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
            last: None,
            doubts: Vec::new(),
            bound: None,
            purge: Purge::default(),
            last_error: None,
        };
        Self { queue, registry, ledger, tools, rules, unacked: Arc::default(), state: Mutex::new(state) }
    }

    /// The jobs' items, by lane.
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

    /// The lanes with something to do, the one after the last served first.
    pub(super) fn turns(&self, state: &SenderState) -> Vec<LaneId> {
        let mut lanes = self.queue.lanes();
        lanes.extend(state.backlog.all().map(Job::lane));
        lanes.sort_unstable();
        lanes.dedup();
        let after = lanes.partition_point(|lane| Some(*lane) <= state.last);
        lanes.rotate_left(after);
        lanes
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
