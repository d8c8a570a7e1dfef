//! The task that drives a sender, for as long as its tenant has something to send: paces requests, starts the steps of
//! jobs, and takes their outcomes.

use super::backlog::JobId;
use super::client::{Destination, Validity};
use super::endpoint::Start;
use super::job::{Job, State, Step};
use super::permits::Turn;
use super::run::{self, Outcome};
use super::sender::{Load, Phase, Sender, SenderState};
use crate::metric;
use crate::payload::Payload;
use crate::queue::{LaneId, Take};
use crate::tenancy::Hold;
use crate::types::Secret;
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::error;

/// What fails for reasons of this host is tried again after this time.
const FAILED: Duration = Duration::from_secs(5);

/// A tenant that got no permit looks again after this time, unless an answer to its own requests has it look before.
const NO_PERMIT: Duration = Duration::from_millis(100);

/// A tenant whose key or addresses cannot be used is looked at again after this time.
const UNUSABLE: Duration = Duration::from_secs(60);

/// No further batch is taken while so many payloads wait to be written to the dead letters.
const DEAD_LETTERS: usize = 64;

/// What one task does.
#[derive(Clone, Copy)]
enum Task {
    Step(JobId),
    Load(LaneId),
    Validation,
}

/// The result of a task.
enum Done {
    Step(JobId, Outcome),
    Load(LaneId, io::Result<()>),
    Validation(Secret, Validity),
}

/// The tasks that a driver has started.
#[derive(Default)]
struct Tasks {
    set: JoinSet<Done>,
    running: BTreeMap<tokio::task::Id, Task>,
}

/// What may start now.
enum Next {
    Step { id: JobId, state: State, turn: Option<Turn> },
    Load,
}

impl Tasks {
    fn spawn(&mut self, task: Task, work: Pin<Box<dyn Future<Output = Done> + Send>>) {
        self.running.insert(self.set.spawn(work).id(), task);
    }
}

impl Sender {
    /// Sends until there is nothing left, or until the end.
    pub(super) async fn drive(self: Arc<Self>, phase: watch::Receiver<Phase>) {
        self.recover();
        let mut permission = self.registry.subscribe();
        let mut tasks = Tasks::default();
        loop {
            let now = *phase.borrow();
            permission.borrow_and_update();
            // A validation of the key need not be waited for.
            if now == Phase::Ending && self.is_still() {
                return;
            }
            let timer = match now {
                Phase::Ending => None,
                now => self.start_due(now == Phase::Flushing, &mut tasks),
            };
            self.show_state();
            if tasks.set.is_empty() && self.lock().backlog.is_empty() && self.queue.leave() {
                return;
            }
            tokio::select! {
                biased;
                Some(joined) = tasks.set.join_next_with_id() => match joined {
                    Ok((id, done)) => {
                        tasks.running.remove(&id);
                        self.take(done);
                    }
                    Err(panic) => {
                        if let Some(task) = tasks.running.remove(&panic.id()) {
                            self.panicked(task, &panic.to_string());
                        }
                    }
                },
                () = self.queue.changed() => {}
                () = self.unacked.fewer() => {}
                Ok(()) = permission.changed() => {}
                () = sleep_until(timer) => {}
            }
        }
    }

    fn is_still(&self) -> bool {
        let state = self.lock();
        state.backlog.active().next().is_none() && !state.loads.values().any(|load| *load == Load::Running)
    }

    /// Takes over from a driver that ended with tasks running.
    fn recover(&self) {
        let mut state = self.lock();
        for id in state.backlog.active_ids() {
            state.give_back(id, Instant::now());
        }
        state.loads.clear();
        state.auth.check_lost();
    }

    /// Starts what may start. Returns when to look again if nothing else happens.
    fn start_due(self: &Arc<Self>, flushing: bool, tasks: &mut Tasks) -> Option<Instant> {
        let (now, wall) = (Instant::now(), self.tools.machine.now());
        let mut timer = Earliest::default();
        let mut state = self.lock();
        self.purge_waiting(&mut state);
        let (to, key, hold) = match state.bind(self.tenant(), now, &self.tools.machine) {
            Ok(bound) => bound?,
            Err(error) => {
                error!(tenant = %self.queue.id, "its telemetry is held: {error}");
                return Some(now + UNUSABLE);
            }
        };
        match state.auth.next_check() {
            Some(at) if at <= now => {
                state.auth.start_check();
                let (tools, to) = (self.tools.clone(), to.clone());
                let validate = async move { Done::Validation(key, tools.client.validate(&to).await) };
                tasks.spawn(Task::Validation, Box::pin(validate));
            }
            Some(at) => timer.at(at),
            None => {}
        }
        for lane in self.turns(&state) {
            while let Some(next) = self.next(&mut state, lane, &hold, flushing, now, &mut timer) {
                let (id, step, turn) = match next {
                    Next::Load => {
                        state.loads.insert(lane, Load::Running);
                        let queue = self.queue.clone();
                        let load = async move { Done::Load(lane, queue.load(lane).await) };
                        tasks.spawn(Task::Load(lane), Box::pin(load));
                        continue;
                    }
                    Next::Step { id, state, turn } => (id, state, turn),
                };
                let taken = state.endpoints[lane.kind.endpoint() as usize].taken();
                let Some(job) = state.backlog.begin(id, step, taken) else { continue };
                let is_checked_first = job.payload().is_some_and(|payload| payload.oldest < payload.cutoff(wall));
                if matches!(turn, Some(Turn::Come(_))) && !is_checked_first {
                    state.backlog.begin_request(id);
                }
                let (this, to) = (self.clone(), to.clone());
                tasks.spawn(Task::Step(id), Box::pin(this.step(id, job, to, turn)));
            }
        }
        timer.0
    }

    async fn step(self: Arc<Self>, id: JobId, job: Job, to: Arc<Destination>, turn: Option<Turn>) -> Done {
        let (tools, towards, probe) = (self.tools.clone(), to.clone(), job.is_probe());
        let may_begin = |payload: &Payload| self.may_begin(id, payload, &towards, probe);
        Done::Step(id, run::run(tools, &self.queue, to, job, turn, may_begin).await)
    }

    /// What of a lane may start now.
    fn next(
        &self,
        state: &mut SenderState,
        lane: LaneId,
        hold: &Hold,
        flushing: bool,
        now: Instant,
        timer: &mut Earliest,
    ) -> Option<Next> {
        let rules = self.rules.get();
        let running = state.backlog.active().filter(|job| !job.is_send()).count();
        let loading = state.loads.values().filter(|load| **load == Load::Running).count();
        // Steps that send nothing wait for nothing but their own time, though only some are done at once: the cores are
        // everybody's.
        if running + loading <= rules.concurrency
            && let Some(id) = state.backlog.next_chore(lane, now, |at| timer.at(at))
        {
            return Some(Next::Step { id, state: State::Running, turn: None });
        }
        let sending = state.backlog.active().filter(|job| job.is_send()).count();
        let building = state.backlog.active().filter(|job| job.is_build()).count();
        let is_full = sending + self.unacked.count() >= rules.concurrency;
        if is_full || !state.auth.may_send() || self.holds(state, lane, hold) {
            return None;
        }
        let known = &state.endpoints[lane.kind.endpoint() as usize];
        let probe = match known.may_start(now) {
            Start::Now { probe } => probe,
            Start::At(at) => {
                timer.at(at);
                return None;
            }
            Start::AfterAnswer => return None,
        };
        // Where everything is refused, the probe is to be one that was not, as long as there is memory for more.
        let endpoint = lane.kind.endpoint();
        let fresh = probe && self.queue.has_memory();
        let ready = state.backlog.ready(lane, now, fresh);
        let made = ready + state.backlog.active().filter(|job| job.is_build() && job.lane() == lane).count();
        // A probe needs no more than one payload: what would be read back for a tenant that stays stuck would be spilled again.
        if !(probe && ready > 0) && self.queue.wants(lane) {
            match state.loads.get(&lane) {
                Some(Load::Running) => {}
                Some(Load::NotBefore(at)) if *at > now => timer.at(*at),
                _ => return Some(Next::Load),
            }
        }
        let busy = sending + building + state.backlog.ready(lane, now, false);
        if fresh
            && made == 0
            && let Some(next) = self.next_batch(state, lane, flushing, busy, now, timer)
        {
            return Some(next);
        }
        if fresh && made > ready {
            return None;
        }
        if let Some(id) = state.backlog.next_to_send(lane, now, probe, |at| timer.at(at)) {
            let Some(turn) = self.tools.permits.ask(sending, probe) else {
                timer.at(now + NO_PERMIT);
                return None;
            };
            let known = &mut state.endpoints[endpoint as usize];
            if !known.start(probe, now) {
                if let Start::At(at) = known.may_start(now) {
                    timer.at(at);
                }
                return None;
            }
            state.last = Some(lane);
            return Some(Next::Step { id, state: State::Admitted { probe }, turn: Some(turn) });
        }
        if busy >= rules.concurrency || probe && made > 0 {
            return None;
        }
        self.next_batch(state, lane, flushing, busy, now, timer)
    }

    /// The next batch of a lane to build, if one is due. It is taken when there is room to send it and not before: until then
    /// it can grow.
    fn next_batch(
        &self,
        state: &mut SenderState,
        lane: LaneId,
        flushing: bool,
        busy: usize,
        now: Instant,
        timer: &mut Earliest,
    ) -> Option<Next> {
        // What is refused is not to pile up in memory while dead letters cannot be written.
        if state.backlog.all().filter(|job| job.is_dead_letter()).count() >= DEAD_LETTERS {
            return None;
        }
        if !self.tools.permits.allow_another(busy) {
            timer.at(now + NO_PERMIT);
            return None;
        }
        let max_age = if flushing { Duration::ZERO } else { self.rules.get().max_age };
        let known = &state.endpoints[lane.kind.endpoint() as usize];
        let (limits, encodings_refused) = (known.limits(lane.kind), known.encodings_refused);
        match self.queue.take(lane, limits, max_age, now) {
            Take::Batch(batch) => {
                let Some(batch) = self.without_purged(state, batch) else {
                    self.queue.nudge();
                    return None;
                };
                let encodings = self.tools.builder.get().encodings(lane.kind);
                let encoding = encodings[encodings_refused.min(encodings.len() - 1)];
                let sequence = state.backlog.next_sequence();
                let id = state.backlog.add(Job::new(sequence, Step::Build(Arc::new(batch), encoding)));
                Some(Next::Step { id, state: State::Running, turn: None })
            }
            Take::Later(at) => {
                timer.at(at);
                None
            }
            Take::Empty => None,
        }
    }

    /// The turn of a payload has come: whether its request may begin all the same. Meanwhile an answer to another may have
    /// said to wait or that the key is refused, or an operator that nothing is to be sent, or not there.
    fn may_begin(&self, id: JobId, payload: &Payload, to: &Arc<Destination>, probe: bool) -> bool {
        let mut state = self.lock();
        let endpoint = &state.endpoints[payload.kind.endpoint() as usize];
        let may = self.is_permitted(&state, payload, to)
            && state.auth.may_send()
            && endpoint.is_let_through(probe, Instant::now());
        if may && state.backlog.begin_request(id) {
            // Now later ones may follow.
            self.queue.nudge();
        }
        may
    }

    fn take(&self, done: Done) {
        match done {
            Done::Step(id, outcome) => self.finish(id, outcome),
            Done::Load(lane, Ok(())) => drop(self.lock().loads.remove(&lane)),
            Done::Load(lane, Err(error)) => {
                error!(tenant = %self.queue.id, kind = %lane.kind, "the journal cannot be read; trying again: {error}");
                self.lock().loads.insert(lane, Load::NotBefore(Instant::now() + FAILED));
            }
            Done::Validation(key, validity) => self.validated(key, &validity),
        }
    }

    /// A task panicked: its step is tried again.
    fn panicked(&self, task: Task, panic: &str) {
        error!(tenant = %self.queue.id, panic, "a submission task failed; its payload is kept and sent again");
        metric::panics("delivery").increment(1);
        let (mut state, now) = (self.lock(), Instant::now());
        match task {
            Task::Step(id) => state.give_back(id, now),
            Task::Load(lane) => drop(state.loads.insert(lane, Load::NotBefore(now + FAILED))),
            Task::Validation => state.auth.check_lost(),
        }
    }
}

impl SenderState {
    /// Has a job whose task was lost do its step again.
    fn give_back(&mut self, id: JobId, now: Instant) {
        let Some(job) = self.backlog.take(id) else { return };
        self.endpoint_of(&job).unanswered(job.is_probe(), now);
        self.backlog.requeue(job, Some(now + FAILED));
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
