//! The journal's committer as a task on virtual time in place of its threads, so that a simulation is the same each time.

use super::machine::pass_time;
use crate::journal::{Committer, Journal, Options, Recovery, Round, Runner, SimDisk, Todo};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::io;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep_until;

/// The task. Until the journal is closed or the process dies, it holds the committer.
#[derive(Default)]
pub(crate) struct Task {
    woken: Notify,
    running: Mutex<Option<Running>>,
}

/// A group is written within this time, and what comes meanwhile is in it, too.
const WRITING: Duration = Duration::from_millis(5);

/// So long a round of syncing takes.
const SYNCING: Duration = Duration::from_millis(30);

struct Running {
    committer: Committer,
    rounds: Receiver<Round>,
    syncing: Option<Round>,
}

/// A journal on a simulated disk, and the task that drives it.
pub(crate) fn open(options: &Options, disk: SimDisk, seed: u64) -> (Journal, Recovery, Arc<Task>) {
    let task = Arc::new(Task::default());
    let opened = Journal::open_with(Arc::new(disk), options, StdRng::seed_from_u64(seed), task.clone());
    let (journal, recovery) = opened.unwrap_or_else(|error| panic!("the journal does not open: {error}"));
    (journal, recovery, task)
}

impl Runner for Task {
    fn start(self: Arc<Self>, committer: Committer, rounds: Receiver<Round>) -> io::Result<()> {
        *self.running.lock().unwrap() = Some(Running { committer, rounds, syncing: None });
        tokio::spawn(async move { self.run().await });
        Ok(())
    }

    fn wake(&self) {
        self.woken.notify_one();
    }

    /// To the end, without time passing.
    fn join(&self) {
        let Some(mut running) = self.running.lock().unwrap().take() else { return };
        running.sync();
        running.work();
        running.sync();
        running.committer.finish();
    }
}

impl Task {
    /// The process dies: what was not written is not.
    pub(crate) fn die(&self) {
        drop(self.running.lock().unwrap().take());
    }

    async fn run(&self) {
        loop {
            let Some((syncing, todo)) = self.running.lock().unwrap().as_ref().map(Running::todo) else { return };
            match todo {
                // Nothing is written while a round is run.
                _ if syncing => pass_time(SYNCING).await,
                Todo::Work => pass_time(WRITING).await,
                Todo::Wait(None) => {
                    self.woken.notified().await;
                    continue;
                }
                Todo::Wait(Some(until)) => {
                    tokio::select! {
                        biased;
                        () = self.woken.notified() => {}
                        () = sleep_until(until) => {}
                    }
                    continue;
                }
            }
            if let Some(running) = self.running.lock().unwrap().as_mut() {
                if syncing { running.sync() } else { running.work() }
            }
        }
    }
}

impl Running {
    fn todo(&self) -> (bool, Todo) {
        (self.syncing.is_some(), self.committer.todo(&self.committer.inner().inbox()))
    }

    fn work(&mut self) {
        self.committer.turn();
        if let Ok(round) = self.rounds.try_recv() {
            self.syncing = Some(round);
        }
    }

    fn sync(&mut self) {
        if let Some(round) = self.syncing.take() {
            self.committer.inner().synced(round.run());
        }
    }
}
