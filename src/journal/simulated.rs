//! The committer as a task on virtual time in place of the threads, so that a simulation is the same each time.

use super::committer::{Committer, Ending, Inner};
use super::log::Log;
use super::options::Fsync;
use super::sync::Round;
use crate::simulation::host::pass_time;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Where the committer is until the journal is closed or dies.
pub(super) type Slot = Arc<Mutex<Option<Simulated>>>;

/// A group is written within this time, and what comes meanwhile is in it, too.
const WRITING: Duration = Duration::from_millis(5);

/// So long a round of syncing takes.
const SYNCING: Duration = Duration::from_millis(30);

pub(super) struct Simulated {
    committer: Committer,
    rounds: Receiver<Round>,
    syncing: Option<Round>,
    _ending: Ending,
}

enum Todo {
    Work,
    Sync,
    Wait(Option<Instant>),
}

pub(super) fn start(inner: &Arc<Inner>, log: Log, fsync: Fsync) -> Slot {
    let (committer, rounds) = Committer::new(inner, log, fsync);
    let simulated = Simulated { committer, rounds, syncing: None, _ending: Ending(inner.clone()) };
    let slot: Slot = Arc::new(Mutex::new(Some(simulated)));
    tokio::spawn(run(inner.clone(), slot.clone()));
    slot
}

async fn run(inner: Arc<Inner>, slot: Slot) {
    loop {
        let Some(todo) = slot.lock().unwrap().as_ref().map(Simulated::todo) else { return };
        match todo {
            Todo::Work => pass_time(WRITING).await,
            Todo::Sync => pass_time(SYNCING).await,
            Todo::Wait(None) => {
                inner.woken.notified().await;
                continue;
            }
            Todo::Wait(Some(until)) => {
                tokio::select! {
                    biased;
                    () = inner.woken.notified() => {}
                    () = sleep_until(until) => {}
                }
                continue;
            }
        }
        if let Some(simulated) = slot.lock().unwrap().as_mut() {
            match todo {
                Todo::Sync => simulated.sync(),
                _ => simulated.work(),
            }
        }
    }
}

impl Simulated {
    /// As the threads do it, except that nothing is written while a round is run.
    fn todo(&self) -> Todo {
        let due = self.committer.paced + self.committer.pace;
        let settled = self.committer.log.is_settled() && self.committer.failing.is_none();
        if self.syncing.is_some() {
            Todo::Sync
        } else if !self.committer.inner.inbox().is_empty() || !settled && due <= Instant::now() {
            Todo::Work
        } else {
            Todo::Wait((!settled).then_some(due))
        }
    }

    fn work(&mut self) {
        let inbox = self.committer.inner.inbox().take();
        self.committer.work(inbox);
        if let Ok(round) = self.rounds.try_recv() {
            self.syncing = Some(round);
        }
    }

    fn sync(&mut self) {
        if let Some(round) = self.syncing.take() {
            let result = round.run();
            self.committer.inner.inbox().round = Some(result);
        }
    }

    /// To the end, without time passing.
    pub(super) fn finish(mut self) {
        self.sync();
        self.work();
        self.sync();
        self.committer.finish();
    }
}
