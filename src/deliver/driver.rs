//! The sender of one tenant: a task that exists while the tenant has something to send.
//!
//! What it holds lives in [`Sender`], not on the task's stack: should the task panic, its successor finds everything
//! that was held or under way.

mod outcome;
mod terms;

pub use terms::LastError;

use super::Phase;
use super::auth::Auth;
use super::backlog::{Backlog, Flight, Held, Place, Tried};
use super::client::Destination;
use super::dead_letter::Reason;
use super::endpoint::{EndpointState, Start};
use super::gate::Backoff;
use super::permits::Turn;
use super::put_away::put_away;
use super::settling::Settling;
use super::work::{self, Landed, Tools, Work};
use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::metric;
use crate::payload::{Built, Payload};
use crate::queue::{LaneFigures, Take, TenantQueue};
use crate::settings::Settings;
use crate::tenancy::{Hold, Registry};
use crate::types::{Current, Endpoint, Kind, UnixMillis};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use terms::Bound;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::error;

/// Everything about sending one tenant's telemetry.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) queue: Arc<TenantQueue>,
    registry: Arc<Registry>,
    ledger: Arc<Ledger>,
    tools: Arc<Tools>,
    rules: Arc<Current<Rules>>,
    state: Mutex<State>,
    settling: Arc<Settling>,
}

/// The configuration, as far as it concerns sending.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    concurrency: usize,
    max_age: Duration,
    backoff: Backoff,
    validate_interval: Duration,
}

#[derive(Debug)]
struct State {
    auth: Auth,
    endpoints: [EndpointState; Endpoint::COUNT],
    backlog: Backlog,
    /// The kind that was served last, so that the next one has its turn first.
    last: usize,
    /// The endpoints that have refused the key since it was last found good.
    doubts: Vec<Doubt>,
    /// Where to send, while the tenant has a key.
    bound: Option<Bound>,
    /// What was accepted before this time is to be dropped, also when it comes back from Datadog.
    purge: Option<UnixMillis>,
    last_error: Option<LastError>,
}

/// A refusal of the key by an endpoint. Until validation has told whose fault it is, a probe has no answer.
#[derive(Debug)]
struct Doubt {
    endpoint: Endpoint,
    probe: bool,
    words: String,
}

/// Work that starts now.
struct Next {
    held: Held,
    probe: bool,
    /// For what sends a request.
    turn: Option<Turn>,
}

/// What has come of the work of that number.
type Arrival = (u64, Landed);

/// Work that failed for reasons of our own host is tried again after this time.
const STUCK: Duration = Duration::from_secs(5);

/// A tenant that got no permit looks again after this time, if no answer to its own requests has it look before.
const NO_PERMIT: Duration = Duration::from_millis(100);

/// What a validation is noted as.
const VALIDATE: &str = "/api/v1/validate";

/// A tenant whose key or addresses cannot be used is looked at again after this time.
const UNUSABLE: Duration = Duration::from_secs(60);

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
        let state = State {
            auth: Auth::new(Instant::now(), tools.machine.chance()),
            endpoints: Default::default(),
            backlog: Backlog::default(),
            last: 0,
            doubts: Vec::new(),
            bound: None,
            purge: None,
            last_error: None,
        };
        Self { queue, registry, ledger, tools, rules, state: Mutex::new(state), settling: Arc::default() }
    }

    /// Sends until there is nothing left, or until the end.
    pub(super) async fn drive(self: Arc<Self>, phase: watch::Receiver<Phase>) {
        self.recover();
        let mut terms = self.registry.subscribe();
        let mut tasks: JoinSet<Arrival> = JoinSet::new();
        let mut ids: BTreeMap<tokio::task::Id, u64> = BTreeMap::new();
        loop {
            let now = *phase.borrow();
            terms.borrow_and_update();
            // A validation of the key need not be waited for.
            if now == Phase::Ending && self.lock().backlog.flying(|_| true) == 0 {
                return;
            }
            let timer = match now {
                Phase::Ending => None,
                now => self.start_due(now == Phase::Flushing, &mut tasks, &mut ids),
            };
            self.show_state();
            if tasks.is_empty() && self.lock().backlog.is_idle() && self.queue.leave() {
                return;
            }
            tokio::select! {
                biased;
                Some(joined) = tasks.join_next_with_id() => match joined {
                    Ok((task, (id, landed))) => {
                        ids.remove(&task);
                        self.land(id, landed);
                    }
                    Err(panic) => {
                        if let Some(id) = ids.remove(&panic.id()) {
                            self.lost(id, &panic.to_string());
                        }
                    }
                },
                () = self.queue.changed() => {}
                () = self.settling.fewer() => {}
                Ok(()) = terms.changed() => {}
                () = sleep_until(timer) => {}
            }
        }
    }

    /// Takes over from a task that ended with work under way.
    fn recover(&self) {
        let mut state = self.lock();
        for id in state.backlog.under_way() {
            state.give_back(id, Instant::now());
        }
    }

    /// Starts what may start. Returns when to look again if nothing else happens.
    fn start_due(
        self: &Arc<Self>,
        flushing: bool,
        tasks: &mut JoinSet<Arrival>,
        ids: &mut BTreeMap<tokio::task::Id, u64>,
    ) -> Option<Instant> {
        let (now, wall) = (Instant::now(), self.tools.machine.now());
        let mut timer = Earliest::default();
        let mut state = self.lock();
        self.purge_held(&mut state);
        let tenant = self.tenant();
        let (to, key, hold) = match state.bind(tenant, now, &self.tools.machine) {
            Ok(bound) => bound?,
            Err(error) => {
                error!(tenant = %self.queue.id, "its telemetry is held: {error}");
                return Some(now + UNUSABLE);
            }
        };
        let mut spawn = |id: u64, task: std::pin::Pin<Box<dyn Future<Output = Arrival> + Send>>| {
            ids.insert(tasks.spawn(task).id(), id);
        };
        if let Some(at) = state.auth.next_check() {
            if at <= now {
                state.auth.start_check();
                let check =
                    Flight { work: None, place: Place::default(), probe: false, begun: true, tried: Tried::default() };
                let id = state.backlog.begin(check);
                let (tools, to) = (self.tools.clone(), to.clone());
                let validate = async move { (id, Landed::Validated(key, tools.client.validate(&to).await)) };
                spawn(id, Box::pin(validate));
            } else {
                timer.at(at);
            }
        }
        for kind in self.turns(&state) {
            while let Some(Next { held, probe, turn }) = self.next(&mut state, kind, hold, flushing, now, &mut timer) {
                let Held { work, place, tried, .. } = held;
                let looked_at = work.payload().is_some_and(|payload| payload.oldest < payload.cutoff(wall));
                let begun = matches!(turn, Some(Turn::Come(_))) && !looked_at;
                let id = state.backlog.begin(Flight { work: Some(work.clone()), place, probe, begun, tried });
                let (tools, to, this) = (self.tools.clone(), to.clone(), self.clone());
                let towards = to.clone();
                let still = move |payload: &Payload| this.begins(id, payload, &towards, probe);
                spawn(id, Box::pin(async move { (id, work::fly(tools, to, work, turn, still).await) }));
            }
        }
        timer.0
    }

    /// The kinds with something to do, the one after the last served first.
    fn turns(&self, state: &State) -> Vec<Kind> {
        let mut kinds = self.queue.kinds();
        kinds.extend(state.backlog.all().map(Work::kind));
        kinds.sort_unstable();
        kinds.dedup();
        let after = kinds.partition_point(|kind| (*kind as usize) <= state.last);
        kinds.rotate_left(after);
        kinds
    }

    /// The next work of a kind that may start now.
    fn next(
        &self,
        state: &mut State,
        kind: Kind,
        hold: Hold,
        flushing: bool,
        now: Instant,
        timer: &mut Earliest,
    ) -> Option<Next> {
        let rules = self.rules.get();
        // Work that sends nothing waits for nobody but its own time, though not all of it is done at once: the cores
        // are everybody's.
        let chores = state.backlog.flying(|work| !work.sends());
        if chores <= rules.concurrency
            && let Some(chore) = state.backlog.pop_chore(kind, now, |at| timer.at(at))
        {
            return Some(Next { held: chore, probe: false, turn: None });
        }
        let sending = state.backlog.flying(Work::sends);
        let building = state.backlog.flying(|work| matches!(work, Work::Build(..)));
        let busy = sending + building;
        let under_way = sending + self.settling.count();
        if !state.auth.may_send() || under_way >= rules.concurrency || self.holds(state, kind, hold) {
            return None;
        }
        let known = &mut state.endpoints[kind.endpoint() as usize];
        let probe = match known.may_start(now) {
            Start::Now { probe } => probe,
            Start::At(at) => {
                timer.at(at);
                return None;
            }
            Start::AfterAnswer => return None,
        };
        // One that failed rests in the backlog and is tried again from there. A probe needs nothing but itself: what would be
        // read for a tenant that stays stuck would be given up again.
        let probe_is_built = probe && state.backlog.ready(kind, now) > 0;
        if !probe_is_built && self.queue.wants(kind) && !state.backlog.all().any(|work| work.loads(kind)) {
            let work = Work::Load(self.queue.clone(), kind);
            let held = Held { work, place: Place::default(), not_before: None, tried: Tried::default() };
            return Some(Next { held, probe: false, turn: None });
        }
        if let Some(index) = state.backlog.next_to_send(kind, now, |at| timer.at(at)) {
            let Some(turn) = self.tools.permits.ask(sending, probe) else {
                timer.at(now + NO_PERMIT);
                return None;
            };
            if !known.start(probe, now) {
                if let Start::At(at) = known.may_start(now) {
                    timer.at(at);
                }
                return None;
            }
            state.last = kind as usize;
            return state.backlog.pop(index).map(|held| Next { held, probe, turn: Some(turn) });
        }
        // A batch is made when there is room to send it and not before: until then it can grow.
        let ready = state.backlog.ready(kind, now);
        let made = ready + state.backlog.flying(|work| work.builds(kind));
        if busy + ready >= rules.concurrency || probe && made > 0 {
            return None;
        }
        if !self.tools.permits.allow_another(busy + ready) {
            timer.at(now + NO_PERMIT);
            return None;
        }
        let max_age = if flushing { Duration::ZERO } else { rules.max_age };
        let (limits, encodings_refused) = (known.limits(kind), known.encodings_refused);
        match self.queue.take(kind, limits, max_age, now) {
            Take::Batch(batch) => {
                let Some(batch) = self.without_purged(state, batch) else {
                    self.queue.nudge();
                    return None;
                };
                let encodings = self.tools.builder.get().encodings(kind);
                let encoding = encodings[encodings_refused.min(encodings.len() - 1)];
                let work = Work::Build(Arc::new(batch), encoding);
                let place = state.backlog.next_place();
                let held = Held { work, place, not_before: None, tried: Tried::default() };
                Some(Next { held, probe: false, turn: None })
            }
            Take::Later(at) => {
                timer.at(at);
                None
            }
            Take::Empty => None,
        }
    }

    /// The turn of a payload has come. Says whether it may be sent all the same: meanwhile an answer to another may have
    /// told to wait or that the key is refused, or an operator that nothing is to be sent, or not there.
    fn begins(&self, id: u64, payload: &Payload, to: &Arc<Destination>, probe: bool) -> bool {
        let mut state = self.lock();
        let endpoint = &state.endpoints[payload.kind.endpoint() as usize];
        let may = self.terms_allow(&state, payload, to)
            && state.auth.may_send()
            && endpoint.is_let_through(probe, Instant::now());
        if may && state.backlog.begins(id) {
            // Now later ones may follow.
            self.queue.nudge();
        }
        may
    }

    /// A task panicked: what it had is tried again.
    fn lost(&self, id: u64, panic: &str) {
        error!(tenant = %self.queue.id, panic, "a submission task failed; its payload is kept and sent again");
        metric::panics("delivery").increment(1);
        self.lock().give_back(id, Instant::now());
    }

    /// See [`super::put_away`].
    pub(super) async fn put_away(&self, journal: &Journal) {
        let works = self.lock().backlog.by_place();
        put_away(works.iter(), journal).await;
    }

    /// What [`put_away`](Self::put_away) would write.
    #[cfg(test)]
    pub(super) fn partly_settled(&self) -> Vec<Arc<Payload>> {
        let works = self.lock().backlog.by_place();
        super::put_away::partly_settled(works.iter()).into_iter().flat_map(|(_, rest)| rest).collect()
    }

    /// What is held and under way.
    pub(super) fn figures(&self) -> Vec<LaneFigures> {
        self.lock().backlog.all().map(Work::figures).collect()
    }

    /// What is left of each endpoint's rate limit, where that is known.
    pub(super) fn rate_limits_left(&self, now: Instant) -> Vec<(Endpoint, u64)> {
        let state = self.lock();
        let endpoints = Endpoint::ALL.into_iter().zip(&state.endpoints);
        endpoints.filter_map(|(endpoint, known)| Some((endpoint, known.left(now)?))).collect()
    }

    fn chance(&self) -> f64 {
        self.tools.machine.chance()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn hold(&mut self, work: Work, place: Place, not_before: Option<Instant>, tried: Tried) {
        self.backlog.hold(Held { work, place, not_before, tried });
    }

    fn hold_built(&mut self, built: Built, mut place: Place) {
        for payload in built.oversized {
            let limits = payload.kind.limits();
            let words = format!(
                "one item alone is larger than {} takes: {} bytes, {} compressed; at most {} and {}",
                payload.kind.endpoint().path(),
                payload.uncompressed,
                payload.body.len(),
                limits.uncompressed,
                limits.compressed
            );
            self.hold(Work::Bury(Arc::new(payload), Reason { status: None, words }), place, None, Tried::default());
        }
        for payload in built.payloads {
            let items = payload.items;
            self.hold(Work::Send(Arc::new(payload)), place, None, Tried::default());
            place = place.plus(items);
        }
    }

    /// What was under way without coming back is held again.
    fn give_back(&mut self, id: u64, now: Instant) {
        let Some(flight) = self.backlog.end(id) else { return };
        match flight.work {
            Some(work) => {
                self.endpoints[work.kind().endpoint() as usize].unanswered(flight.probe, now);
                self.hold(work, flight.place, Some(now + STUCK), flight.tried);
            }
            None => self.auth.check_lost(),
        }
    }
}

/// The earliest of several times.
#[derive(Default)]
struct Earliest(Option<Instant>);

impl Earliest {
    fn at(&mut self, at: Instant) {
        self.0 = Some(self.0.map_or(at, |earliest| earliest.min(at)));
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
