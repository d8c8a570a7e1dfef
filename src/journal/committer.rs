//! What writes the log: a state machine over [`Log`] and an inbox. Appends that arrive while a group is being written
//! form the next. A [`Runner`] drives it.

use super::entry::{Draft, Lost, Seq};
use super::log::Log;
use super::options::{AppendError, Fsync, Health, Options};
use super::sync::{Round, RoundResult};
use super::view::Shared;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tracing::{error, info};

/// How often a failed write is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How often the work that is not urgent is done: cleaning, syncing acks.
const PACE: Duration = Duration::from_millis(200);

/// A group of appends that are written as one is closed at this size.
const GROUP_BYTES: usize = 16 << 20;

/// The granularity of the bytes in flight.
pub(super) const PERMIT_BYTES: usize = 1 << 10;

/// Drives a committer: threads, or, in a simulation, a task on virtual time.
pub(crate) trait Runner: Send + Sync {
    /// Begins. `rounds` are the rounds of syncing that the committer asks for; each result goes into its inbox.
    fn start(self: Arc<Self>, committer: Committer, rounds: Receiver<Round>) -> io::Result<()>;
    /// Called when something was put into an empty inbox.
    fn wake(&self);
    /// Waits for the end of a committer whose inbox is closing.
    fn join(&self);
}

/// State shared by the committer and the callers.
pub(crate) struct Inner {
    pub(super) dir: Arc<Path>,
    pub(super) shared: Arc<Shared>,
    inbox: Mutex<Inbox>,
    pub(super) runner: Arc<dyn Runner>,
    pub(super) in_flight: Arc<Semaphore>,
    pub(super) permits: usize,
    pub(super) health: Mutex<Health>,
    pub(super) lost: Mutex<Vec<Lost>>,
    pub(super) failures: AtomicU64,
}

/// Guards held until acks are written; see [`ack_holding`](super::Journal::ack_holding).
pub type AckGuard = Box<dyn Send>;

/// Work for the committer.
#[derive(Default)]
pub(crate) struct Inbox {
    pub(super) appends: Vec<Append>,
    pub(super) acks: Vec<u64>,
    /// Dropped when these acks are written.
    pub(super) guards: Vec<AckGuard>,
    pub(super) flushes: Vec<oneshot::Sender<()>>,
    pub(super) round: Option<RoundResult>,
    pub(super) closing: bool,
}

/// Entries that are to be appended as one.
pub(super) struct Append {
    pub(super) drafts: Vec<Draft>,
    pub(super) bytes: usize,
    pub(super) then: Box<dyn FnOnce(Range<Seq>) + Send>,
    pub(super) answer: oneshot::Sender<Result<Range<Seq>, AppendError>>,
    /// Held until the append is answered.
    pub(super) permit: OwnedSemaphorePermit,
}

impl Inner {
    pub(super) fn new(options: &Options, shared: Arc<Shared>, runner: Arc<dyn Runner>) -> Self {
        let permits = (options.in_flight_bytes / PERMIT_BYTES).clamp(1, 1 << 20);
        Self {
            dir: options.dir.as_path().into(),
            shared,
            inbox: Mutex::default(),
            runner,
            in_flight: Arc::new(Semaphore::new(permits)),
            permits,
            health: Mutex::default(),
            lost: Mutex::default(),
            failures: AtomicU64::new(0),
        }
    }

    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the result of a round.
    pub(crate) fn synced(&self, result: RoundResult) {
        self.inbox().round = Some(result);
        self.runner.wake();
    }

    /// Wakes the committer if the inbox was empty before. Otherwise it has been woken already, or is busy and looks
    /// again before it sleeps.
    pub(super) fn wake_if(&self, asleep: bool) {
        if asleep {
            self.runner.wake();
        }
    }
}

/// The only writer of a log.
pub(crate) struct Committer {
    inner: Arc<Inner>,
    log: Log,
    rounds: SyncSender<Round>,
    pace: Duration,
    /// When the less urgent work was done last.
    paced: Instant,
    /// Whether a round is running.
    syncing: bool,
    /// Why nothing can be written, and when to try again.
    failing: Option<(Instant, AppendError)>,
    /// Callers waiting for a round.
    flushes: Vec<(u64, oneshot::Sender<()>)>,
}

/// The work of a committer at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Todo {
    /// The inbox is not empty, or the less urgent work is due.
    Work,
    /// Nothing until it is woken, or until this time.
    Wait(Option<Instant>),
}

/// Refuses what comes after a committer has ended, however that came about.
impl Drop for Committer {
    fn drop(&mut self) {
        let mut inbox = self.inner.inbox();
        inbox.closing = true;
        inbox.appends.clear();
        inbox.flushes.clear();
        inbox.guards.clear();
        self.inner.in_flight.close();
    }
}

impl Committer {
    /// A committer, and the rounds of syncing that it asks for.
    pub(super) fn new(inner: &Arc<Inner>, log: Log, fsync: Fsync) -> (Self, Receiver<Round>) {
        let pace = match fsync {
            Fsync::Interval(interval) => interval,
            Fsync::Always | Fsync::Never => PACE,
        };
        let (rounds, to_sync) = sync_channel(1);
        let committer = Self {
            inner: inner.clone(),
            log,
            rounds,
            pace,
            paced: Instant::now(),
            syncing: false,
            failing: None,
            flushes: Vec::new(),
        };
        (committer, to_sync)
    }

    /// What there is to do, given what is in the inbox.
    pub(crate) fn todo(&self, inbox: &Inbox) -> Todo {
        let (now, due) = (Instant::now(), self.paced + self.pace);
        if !inbox.is_empty() {
            Todo::Work
        } else if self.log.is_settled() && self.failing.is_none() {
            Todo::Wait(None)
        } else if now < due {
            Todo::Wait(Some(due))
        } else if self.syncing {
            Todo::Wait(Some(now + self.pace))
        } else {
            Todo::Work
        }
    }

    /// Does all that there is to do. True: it is to be [`finish`](Self::finish)ed.
    pub(crate) fn turn(&mut self) -> bool {
        let inbox = self.inner.inbox().take();
        let closing = inbox.closing;
        self.work(inbox);
        closing
    }

    /// Whether the result of a round is still to come.
    pub(super) fn awaits_round(&self, inbox: &Inbox) -> bool {
        self.syncing && inbox.round.is_none()
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Handles the contents of the inbox and their consequences.
    fn work(&mut self, inbox: Inbox) {
        if let Some(result) = inbox.round {
            self.syncing = false;
            let completed = self.log.complete(result);
            self.check(completed);
        }
        self.ack(inbox.acks, inbox.guards);
        self.append(inbox.appends);
        let round = if inbox.flushes.is_empty() { 0 } else { self.log.rounds.after(1) };
        self.flushes.extend(inbox.flushes.into_iter().map(|flush| (round, flush)));
        self.settle();
    }

    /// Acks come before appends, which may block: an ack that is not written when the process dies means a second delivery.
    fn ack(&mut self, acks: Vec<u64>, guards: Vec<AckGuard>) {
        if !acks.is_empty() {
            self.log.ack(acks);
            // Failures are retried and reported by `settle`. Nobody is kept waiting: on a full disk, delivery is what
            // makes room.
            let _ = self.log.write_acks();
        }
        drop(guards);
    }

    fn append(&mut self, appends: Vec<Append>) {
        let mut group = Vec::new();
        let mut bytes = 0;
        for append in appends {
            bytes += append.bytes;
            group.push(append);
            if bytes >= GROUP_BYTES {
                self.commit(std::mem::take(&mut group));
                bytes = 0;
                let (acks, guards) = self.inner.inbox().take_acks();
                self.ack(acks, guards);
            }
        }
        if !group.is_empty() {
            self.commit(group);
        }
    }

    /// Writes a group and answers its callers.
    fn commit(&mut self, mut group: Vec<Append>) {
        let counts: Vec<u64> = group.iter().map(|append| append.drafts.len() as u64).collect();
        let drafts: Vec<Draft> = group.iter_mut().flat_map(|append| std::mem::take(&mut append.drafts)).collect();
        let written = match self.refusal() {
            Some(error) => Err(error),
            None => match self.log.commit(&drafts) {
                Ok(first) => Ok(first),
                Err(error) => Err(self.failed(error)),
            },
        };
        let mut first = *written.as_ref().unwrap_or(&0);
        if written.is_ok() {
            self.recovered();
        }
        for (Append { then, answer, permit, .. }, count) in group.into_iter().zip(counts) {
            let range = Seq(first)..Seq(first + count);
            let result = written.as_ref().map(|_| range.clone()).map_err(Clone::clone);
            if result.is_ok() {
                then(range);
            }
            first += count;
            drop(permit);
            // The caller may have given up waiting.
            let _ = answer.send(result);
        }
    }

    /// Why a group is refused without trying to write it.
    fn refusal(&self) -> Option<AppendError> {
        let (retry_at, error) = self.failing.as_ref()?;
        (Instant::now() < *retry_at || !self.log.doubtful.is_empty()).then(|| error.clone())
    }

    /// All consequences of the steps before.
    fn settle(&mut self) {
        // Read before another failure postpones it: what is retried may be what makes the rest succeed.
        let retry = self.retry_is_due();
        if self.refusal().is_none() || retry {
            let rescued = self.log.rescue();
            self.check(rescued);
        }
        if let Err(error) = self.log.tick() {
            self.failed(error);
        }
        let due = self.paced.elapsed() >= self.pace;
        if due {
            self.paced = Instant::now();
            self.less_urgent(retry);
        }
        if (due || !self.flushes.is_empty())
            && !self.syncing
            && let Some(round) = self.log.rounds.begin(&self.inner.shared.disk)
        {
            self.syncing = self.rounds.send(round).is_ok();
        }
        let (log, flushes) = (&self.log, std::mem::take(&mut self.flushes));
        for (round, flush) in flushes {
            if log.rounds.is_done(round) {
                let _ = flush.send(());
            } else {
                self.flushes.push((round, flush));
            }
        }
    }

    fn less_urgent(&mut self, retry: bool) {
        if self.failing.is_none() {
            let cleaned = self.log.clean().map(|_| ());
            self.check(cleaned);
        } else if retry && self.log.doubtful.is_empty() {
            match self.log.make_room().and_then(|()| self.log.probe()) {
                Ok(()) => self.recovered(),
                Err(error) => {
                    self.failed(error);
                }
            }
        }
        self.inner.lost.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.log.lost);
    }

    fn retry_is_due(&self) -> bool {
        self.failing.as_ref().is_some_and(|(retry_at, _)| Instant::now() >= *retry_at)
    }

    fn check(&mut self, done: io::Result<()>) {
        if let Err(error) = done {
            self.failed(error);
        }
    }

    /// Notes that writing failed.
    fn failed(&mut self, error: io::Error) -> AppendError {
        let error = AppendError::new(&self.inner.dir, error);
        self.inner.failures.fetch_add(1, Ordering::Relaxed);
        if self.failing.is_none() {
            error!("new telemetry is refused until this is fixed: {error}");
        }
        // Acks that keep failing must not postpone for good the work that would make room for them.
        let now = Instant::now();
        let due = self.failing.as_ref().map(|(due, _)| *due).filter(|due| *due > now);
        self.failing = Some((due.unwrap_or(now + RETRY), error.clone()));
        *self.inner.health.lock().unwrap_or_else(PoisonError::into_inner) = Health::Failing(error.clone());
        error
    }

    /// Notes that writing succeeded.
    fn recovered(&mut self) {
        if self.failing.take().is_some() {
            info!("{}: the journal can be written again; new telemetry is accepted", self.inner.dir.display());
            *self.inner.health.lock().unwrap_or_else(PoisonError::into_inner) = Health::Fine;
        }
    }

    /// Makes everything durable, if the disk allows it. Every round that was begun has been run.
    pub(crate) fn finish(mut self) {
        self.log.close_active();
        let round = self.inner.inbox().round.take();
        if let Some(result) = round {
            let _ = self.log.complete(result);
            let _ = self.log.rescue();
        }
        // Deferred and retained work needs a round each.
        for _ in 0..4 {
            let _ = self.log.tick();
            let Some(round) = self.log.rounds.begin(&self.inner.shared.disk) else { break };
            if self.log.complete(round.run()).is_err() && self.log.rescue().is_err() {
                break;
            }
        }
        let _ = self.log.tick();
        self.flushes.clear();
    }
}

impl Inbox {
    /// Takes everything in it. A closed inbox stays closed.
    pub(super) fn take(&mut self) -> Self {
        let closing = self.closing;
        std::mem::replace(self, Self { closing, ..Self::default() })
    }

    fn take_acks(&mut self) -> (Vec<u64>, Vec<AckGuard>) {
        (std::mem::take(&mut self.acks), std::mem::take(&mut self.guards))
    }

    pub(super) fn is_empty(&self) -> bool {
        let lists = self.appends.len() + self.acks.len() + self.guards.len() + self.flushes.len();
        lists == 0 && self.round.is_none() && !self.closing
    }
}
