//! The sender of one tenant: a task that exists while the tenant has something to send.
//!
//! What it holds lives in [`Sender`], not on the task's stack: should the task panic, its successor finds everything
//! that was held or under way.

mod terms;

pub use terms::LastError;

use super::Phase;
use super::auth::{Auth, Change};
use super::backlog::{Backlog, Flight, Held, Place};
use super::client::Validity;
use super::dead_letter::Reason;
use super::endpoint::{EndpointState, Start};
use super::gate::Backoff;
use super::judge::{self, Answer, Verdict};
use super::permits::Turn;
use super::put_away::put_away;
use super::work::{self, KeyRefused, Landed, Tools, Work};
use crate::host::chance;
use crate::journal::Journal;
use crate::ledger::{DropReason, Ledger};
use crate::payload::{Built, Payload};
use crate::queue::{LaneFigures, Take, TenantQueue};
use crate::settings::Settings;
use crate::tenancy::{Hold, Registry};
use crate::types::{Endpoint, Kind, Secret, UnixMillis};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use terms::Bound;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info, warn};

/// Everything about sending one tenant's telemetry.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) queue: Arc<TenantQueue>,
    registry: Arc<Registry>,
    ledger: Arc<Ledger>,
    tools: Arc<Tools>,
    rules: Rules,
    state: Mutex<State>,
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

/// How items ended.
enum Fate {
    /// With Datadog; so many of them were late.
    Delivered { late: u32 },
    /// All on disk, with Datadog's reason.
    DeadLetters,
    /// So many of them were given up.
    Dropped(u32, DropReason),
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
        rules: Rules,
    ) -> Self {
        let state = State {
            auth: Auth::new(Instant::now(), chance()),
            endpoints: Default::default(),
            backlog: Backlog::default(),
            last: 0,
            doubts: Vec::new(),
            bound: None,
            purge: None,
            last_error: None,
        };
        Self { queue, registry, ledger, tools, rules, state: Mutex::new(state) }
    }

    /// Sends until there is nothing left, or until the end.
    pub(super) async fn drive(self: Arc<Self>, mut phase: watch::Receiver<Phase>) {
        self.recover();
        let mut terms = self.registry.subscribe();
        let mut tasks: JoinSet<Arrival> = JoinSet::new();
        let mut ids: BTreeMap<tokio::task::Id, u64> = BTreeMap::new();
        loop {
            let now = *phase.borrow_and_update();
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
                Ok(()) = terms.changed() => {}
                Ok(()) = phase.changed() => {}
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
        let now = Instant::now();
        let mut timer = Earliest::default();
        let mut state = self.lock();
        self.purge_held(&mut state);
        let tenant = self.tenant();
        let (to, key, hold) = match state.bind(tenant, now) {
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
                let check = Flight { work: None, place: Place::default(), probe: false, refused_once: false };
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
                let Held { work, place, refused_once, .. } = held;
                let id = state.backlog.begin(Flight { work: Some(work.clone()), place, probe, refused_once });
                let (tools, to, this) = (self.tools.clone(), to.clone(), self.clone());
                let still = move || this.may_still_send(kind, probe);
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
        // Work that sends nothing waits for nobody but its own time, though not all of it is done at once: the cores
        // are everybody's.
        let chores = state.backlog.flying(|work| !work.sends());
        if chores <= self.rules.concurrency
            && let Some(chore) = state.backlog.pop_chore(kind, now, |at| timer.at(at))
        {
            return Some(Next { held: chore, probe: false, turn: None });
        }
        let sending = state.backlog.flying(Work::sends);
        let building = state.backlog.flying(|work| matches!(work, Work::Build(..)));
        let busy = sending + building;
        if !state.auth.may_send() || sending >= self.rules.concurrency || self.holds(state, kind, hold) {
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
        // One that failed rests in the backlog and is tried again from there.
        if self.queue.wants(kind) && !state.backlog.all().any(|work| work.loads(kind)) {
            let work = Work::Load(self.queue.clone(), kind);
            let held = Held { work, place: Place::default(), not_before: None, refused_once: false };
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
        if busy + ready >= self.rules.concurrency || probe && made > 0 {
            return None;
        }
        if !self.tools.permits.allow_another(busy + ready) {
            timer.at(now + NO_PERMIT);
            return None;
        }
        let max_age = if flushing { Duration::ZERO } else { self.rules.max_age };
        match self.queue.take(kind, known.limits(kind), max_age, now) {
            Take::Batch(batch) => {
                let encodings = self.tools.builder.encodings(kind);
                let encoding = encodings[known.encodings_refused.min(encodings.len() - 1)];
                let work = Work::Build(Arc::new(batch), encoding);
                let place = state.backlog.next_place();
                let held = Held { work, place, not_before: None, refused_once: false };
                Some(Next { held, probe: false, turn: None })
            }
            Take::Later(at) => {
                timer.at(at);
                None
            }
            Take::Empty => None,
        }
    }

    /// Whether a payload that had to wait for its turn may be sent all the same: meanwhile an answer to another may have
    /// told to wait, or that the key is refused.
    fn may_still_send(&self, kind: Kind, probe: bool) -> bool {
        let state = self.lock();
        state.auth.may_send() && state.endpoints[kind.endpoint() as usize].is_let_through(probe, Instant::now())
    }

    /// A task panicked: what it had is tried again.
    fn lost(&self, id: u64, panic: &str) {
        error!(tenant = %self.queue.id, panic, "a submission task failed; its payload is kept and sent again");
        metrics::counter!("dogsled_panics_total", "part" => "delivery").increment(1);
        self.lock().give_back(id, Instant::now());
    }

    fn land(&self, id: u64, landed: Landed) {
        let now = Instant::now();
        let mut state = self.lock();
        let Some(flight) = state.backlog.end(id) else { return };
        match landed {
            Landed::Answered { payload, answer, late } => {
                self.answered(&mut state, now, &flight, payload, &answer, late);
            }
            Landed::Unanswered { payload, error } => {
                let endpoint = payload.kind.endpoint();
                if let Some(follow) = &payload.follow {
                    follow.attempted(error.as_str());
                }
                self.failed(&mut state, now, endpoint, &flight, &error);
                state.hold(Work::Send(payload), flight.place, None, flight.refused_once);
            }
            Landed::Built { built, expired } => {
                let Some(work) = &flight.work else { return };
                if let Some(payload) = work.payload().filter(|_| expired > 0) {
                    self.settle(payload, Fate::Dropped(expired, DropReason::Expired));
                }
                let known = &mut state.endpoints[work.kind().endpoint() as usize];
                known.unanswered(flight.probe, now);
                if let Work::Build(..) = work {
                    built.payloads.iter().chain(&built.oversized).for_each(|payload| known.built(payload));
                }
                state.hold_built(built, flight.place);
            }
            Landed::Buried { payload, reason } => {
                self.settle(&payload, Fate::DeadLetters);
                warn!(
                    tenant = %self.queue.id, kind = %payload.kind, items = payload.items, status = reason.status,
                    file = %self.tools.dead_letters.path(&self.queue.id).display(),
                    "items were refused and are kept as dead letters: {}", reason.words
                );
            }
            Landed::Stuck { work, error } => {
                error!(tenant = %self.queue.id, kind = %work.kind(), "a payload is kept and tried again: {error}");
                state.endpoints[work.kind().endpoint() as usize].unanswered(flight.probe, now);
                state.hold(work, flight.place, Some(now + STUCK), flight.refused_once);
            }
            Landed::Unsent { payload } => {
                state.endpoints[payload.kind.endpoint() as usize].unanswered(flight.probe, now);
                state.hold(Work::Send(payload), flight.place, None, flight.refused_once);
            }
            Landed::Loaded => {}
            // A key that has been exchanged meanwhile concerns nobody any more.
            Landed::Validated(key, validity) if state.bound.as_ref().is_some_and(|bound| bound.key == key) => {
                self.validated(&mut state, now, key, &validity);
            }
            Landed::Validated(..) => {}
        }
    }

    fn answered(
        &self,
        state: &mut State,
        now: Instant,
        flight: &Flight,
        payload: Arc<Payload>,
        answer: &Answer,
        late: u32,
    ) {
        let endpoint = payload.kind.endpoint();
        let known = &mut state.endpoints[endpoint as usize];
        known.learn(answer, now);
        let reason = || Reason { status: Some(answer.status), words: answer.words.clone() };
        let verdict = judge::judge(answer, payload.encoding);
        if let Some(follow) = &payload.follow {
            follow.attempted(format!("{} {}", answer.status, answer.words).trim_end());
        }
        if matches!(verdict, Verdict::TooLarge | Verdict::Malformed | Verdict::WrongEncoding | Verdict::Refused) {
            known.refused(flight.probe);
        }
        if !matches!(verdict, Verdict::Delivered | Verdict::Retry) {
            state.note(endpoint.path(), format!("{} {}", answer.status, answer.words).trim_end().to_owned());
        }
        let known = &mut state.endpoints[endpoint as usize];
        match verdict {
            Verdict::Delivered => {
                known.delivered(flight.probe);
                self.settle(&payload, Fate::Delivered { late });
            }
            Verdict::Retry => {
                let words = format!("{} {}", answer.status, answer.words);
                self.failed(state, now, endpoint, flight, &words);
                state.hold(Work::Send(payload), flight.place, None, flight.refused_once);
            }
            Verdict::Throttled => {
                if known.is_open() {
                    let wait = answer.wait.map(|wait| wait.as_secs_f64());
                    info!(tenant = %self.queue.id, endpoint = endpoint.path(), wait, "rate limited; waiting");
                }
                known.throttled(flight.probe, now, answer.wait, &self.rules.backoff, chance());
                state.hold(Work::Send(payload), flight.place, None, flight.refused_once);
            }
            Verdict::TooLarge => {
                known.too_large(&payload);
                if payload.items > 1 {
                    state.hold(Work::Halve { suspect: payload.suspect, payload }, flight.place, None, false);
                } else {
                    state.hold(Work::Bury(payload, reason()), flight.place, None, false);
                }
            }
            Verdict::Malformed if !payload.suspect && !flight.refused_once => {
                // A 400 may be the intake's own trouble (a slow upload was answered so): once more.
                let later = now + self.rules.backoff.wait(1, chance());
                state.hold(Work::Send(payload), flight.place, Some(later), true);
            }
            Verdict::Malformed if payload.items > 1 => {
                state.hold(Work::Halve { payload, suspect: true }, flight.place, None, false);
            }
            Verdict::Malformed | Verdict::Refused => {
                state.hold(Work::Bury(payload, reason()), flight.place, None, false)
            }
            Verdict::WrongEncoding => {
                let encodings = self.tools.builder.encodings(payload.kind);
                let at = encodings.iter().position(|encoding| *encoding == payload.encoding);
                match at.and_then(|at| encodings.get(at + 1)) {
                    Some(next) => {
                        known.encodings_refused = known.encodings_refused.max(at.unwrap_or_default() + 1);
                        warn!(
                            tenant = %self.queue.id, kind = %payload.kind, refused = payload.encoding.name(),
                            instead = next.name(), "the encoding is refused: {}", answer.words
                        );
                        state.hold(Work::Reencode(payload, *next), flight.place, None, false);
                    }
                    None => state.hold(Work::Bury(payload, reason()), flight.place, None, false),
                }
            }
            // The contract of this endpoint asks for an application key, which no tenant has: with a good API key,
            // this refusal is final (docs.datadoghq.com/api/latest/events).
            Verdict::Unauthorized if payload.kind == Kind::EventV2 && flight.refused_once => {
                known.refused(flight.probe);
                state.hold(Work::Bury(payload, reason()), flight.place, None, false);
            }
            Verdict::Unauthorized => {
                state.auth.doubt(now);
                let words = format!("{} {}", answer.status, answer.words);
                state.doubts.push(Doubt { endpoint, probe: flight.probe, words });
                let refused_once = flight.refused_once || payload.kind == Kind::EventV2;
                state.hold(Work::Send(payload), flight.place, None, refused_once);
            }
        }
    }

    /// Items of a payload have come to their end: counted, told to who follows them, and no more in the journal.
    fn settle(&self, payload: &Payload, fate: Fate) {
        let account = self.ledger.account(&self.queue.id, payload.kind);
        let follow = payload.follow.as_ref();
        let items = match fate {
            Fate::Delivered { late } => {
                account.deliver(u64::from(payload.items), u64::from(late));
                follow.inspect(|follow| follow.delivered(payload.items));
                payload.items
            }
            Fate::DeadLetters => {
                account.dead_letter(u64::from(payload.items));
                follow.inspect(|follow| follow.dead_lettered(payload.items));
                payload.items
            }
            Fate::Dropped(items, reason) => {
                account.drop_items(u64::from(items), reason);
                follow.inspect(|follow| follow.dropped(items));
                items
            }
        };
        payload.cover.settle(u64::from(items));
    }

    fn failed(&self, state: &mut State, now: Instant, endpoint: Endpoint, flight: &Flight, words: &str) {
        state.note(endpoint.path(), words.to_owned());
        let known = &mut state.endpoints[endpoint as usize];
        if known.is_open() {
            warn!(tenant = %self.queue.id, endpoint = endpoint.path(), "submission failed; trying again: {words}");
        }
        known.failed(flight.probe, now, &self.rules.backoff, chance());
    }

    fn validated(&self, state: &mut State, now: Instant, key: Secret, validity: &Validity) {
        let interval = self.rules.validate_interval;
        let change = state.auth.checked(validity, now, interval, &self.rules.backoff, chance());
        if change == Change::None {
            return;
        }
        for Doubt { endpoint, probe, words } in std::mem::take(&mut state.doubts) {
            let known = &mut state.endpoints[endpoint as usize];
            if change == Change::Cleared {
                if known.is_open() {
                    let endpoint = endpoint.path();
                    warn!(
                        tenant = %self.queue.id, endpoint,
                        "refused although the API key is good; trying again: {words}"
                    );
                }
                known.failed(probe, now, &self.rules.backoff, chance());
            } else {
                known.unanswered(probe, now);
            }
        }
        match validity {
            Validity::Invalid(words) => {
                // It was the key, not the payloads.
                state.backlog.forgive();
                state.note(VALIDATE, words.clone());
                error!(
                    tenant = %self.queue.id, site = state.bound.as_ref().map(|bound| &*bound.tenant.site.name),
                    "Datadog refuses the API key; telemetry is held until the key works again: {words}"
                );
                if let Some(refusals) = self.tools.refusals.get() {
                    // Nobody listens at the end.
                    let _ = refusals.send(KeyRefused { tenant: self.queue.id.clone(), key });
                }
            }
            _ if change == Change::Restored => info!(tenant = %self.queue.id, "the API key works again; delivering"),
            _ => {}
        }
    }

    /// See [`super::put_away`].
    pub(super) async fn put_away(&self, journal: &Journal) {
        let works = self.lock().backlog.by_place();
        put_away(works.iter(), journal).await;
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn hold(&mut self, work: Work, place: Place, not_before: Option<Instant>, refused_once: bool) {
        self.backlog.hold(Held { work, place, not_before, refused_once });
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
            self.hold(Work::Bury(Arc::new(payload), Reason { status: None, words }), place, None, false);
        }
        for payload in built.payloads {
            let items = payload.items;
            self.hold(Work::Send(Arc::new(payload)), place, None, false);
            place = place.plus(items);
        }
    }

    /// What was under way without coming back is held again.
    fn give_back(&mut self, id: u64, now: Instant) {
        let Some(flight) = self.backlog.end(id) else { return };
        match flight.work {
            Some(work) => {
                self.endpoints[work.kind().endpoint() as usize].unanswered(flight.probe, now);
                self.hold(work, flight.place, Some(now + STUCK), flight.refused_once);
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
