//! A committer on a thread of its own, with a second one that waits for syncs.

use super::committer::{Committer, Inner, Runner, Todo};
use super::sync::Round;
use std::io;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use tokio::time::Instant;

/// The two threads.
#[derive(Default)]
pub(super) struct Threads {
    woken: Condvar,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Runner for Threads {
    fn start(self: Arc<Self>, committer: Committer, rounds: Receiver<Round>) -> io::Result<()> {
        let (this, inner) = (self.clone(), committer.inner().clone());
        let spawn = |name: &str| thread::Builder::new().name(name.into());
        let handles = [
            spawn("journal").spawn(move || this.run(committer))?,
            spawn("journal-sync").spawn(move || sync(&inner, &rounds))?,
        ];
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).extend(handles);
        Ok(())
    }

    fn wake(&self) {
        self.woken.notify_one();
    }

    fn join(&self) {
        for thread in std::mem::take(&mut *self.handles.lock().unwrap_or_else(PoisonError::into_inner)) {
            // A panic was told of when it happened.
            let _ = thread.join();
        }
    }
}

impl Threads {
    fn run(&self, mut committer: Committer) {
        self.wait(&committer);
        while !committer.turn() {
            self.wait(&committer);
        }
        let inbox = committer.inner().inbox();
        let unfinished = |inbox: &mut _| committer.awaits_round(inbox);
        drop(self.woken.wait_while(inbox, unfinished).unwrap_or_else(PoisonError::into_inner));
        committer.finish();
    }

    fn wait(&self, committer: &Committer) {
        let mut inbox = committer.inner().inbox();
        loop {
            inbox = match committer.todo(&inbox) {
                Todo::Work => return,
                Todo::Wait(None) => self.woken.wait(inbox).unwrap_or_else(PoisonError::into_inner),
                Todo::Wait(Some(until)) => {
                    let left = until.saturating_duration_since(Instant::now());
                    self.woken.wait_timeout(inbox, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// Syncs what the committer asks for, until that ends.
fn sync(inner: &Inner, rounds: &Receiver<Round>) {
    for round in rounds {
        let result = round.run();
        for took in &result.took {
            inner.shared.metrics.fsync.record(*took);
        }
        inner.synced(result);
    }
}
