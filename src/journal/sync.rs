//! Rounds of syncing. A round makes everything durable that was written before it began; what must not happen before
//! something else is durable waits for a round.

#![expect(
    clippy::disallowed_methods,
    reason = "how long a real disk takes, on a thread of its own; nothing is decided by it"
)]

use super::disk::{Disk, DiskFile};
use super::view::{Shared, View};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Files to be synced, and which rounds are complete.
pub(super) struct Rounds {
    never: bool,
    begun: u64,
    done: u64,
    /// The round that a caller waits for.
    wanted: u64,
    files: BTreeMap<String, Unsynced>,
    dir: bool,
    /// There are records of a segment that could not be synced, and they are not written elsewhere yet.
    pub(super) doubtful: bool,
}

/// A file with writes that were not synced.
#[derive(Clone)]
struct Unsynced {
    file: Arc<dyn DiskFile>,
    /// Of a segment: the first record that was not synced.
    from: u32,
}

/// One round, to be run on any thread.
pub(crate) struct Round {
    number: u64,
    disk: Arc<dyn Disk>,
    files: BTreeMap<String, Unsynced>,
    dir: bool,
    /// Afterwards everything written before is durable.
    complete: bool,
}

/// How a round went.
pub(crate) struct RoundResult {
    number: u64,
    complete: bool,
    failed: BTreeMap<String, Unsynced>,
    dir_failed: bool,
    error: Option<io::Error>,
    /// How long each sync took.
    pub(super) took: Vec<Duration>,
}

impl Round {
    /// Syncs. Files come before the directory: a segment's removal is durable after the acks that led to it.
    pub(crate) fn run(self) -> RoundResult {
        let mut result = RoundResult {
            number: self.number,
            complete: self.complete,
            failed: BTreeMap::new(),
            dir_failed: false,
            error: None,
            took: Vec::with_capacity(self.files.len() + 1),
        };
        for (name, unsynced) in self.files {
            let begun = Instant::now();
            if let Err(error) = unsynced.file.sync() {
                result.error.get_or_insert(error);
                result.failed.insert(name, unsynced);
            }
            result.took.push(begun.elapsed());
        }
        // After a failure the removals wait, too.
        result.dir_failed = self.dir && result.error.is_some();
        if self.dir
            && result.error.is_none()
            && let Err(error) = self.disk.sync_dir()
        {
            (result.dir_failed, result.error) = (true, Some(error));
        }
        result
    }
}

/// What is to be done after a round that failed.
#[derive(Debug)]
pub(super) struct Failed {
    /// Segments and ack files whose writes since that record may be lost.
    pub(super) files: Vec<(String, u32)>,
    pub(super) error: io::Error,
}

impl Rounds {
    pub(super) fn new(never: bool) -> Self {
        Self { never, begun: 0, done: 0, wanted: 0, files: BTreeMap::new(), dir: false, doubtful: false }
    }

    /// Notes that a file was written to.
    pub(super) fn written(&mut self, name: String, file: &Arc<dyn DiskFile>, from: u32) {
        if !self.never {
            self.files.entry(name).or_insert_with(|| Unsynced { file: file.clone(), from });
        }
    }

    /// The file, if it was written to since the last round.
    pub(super) fn file(&self, name: &str) -> Option<Arc<dyn DiskFile>> {
        self.files.get(name).map(|unsynced| unsynced.file.clone())
    }

    /// Notes that a file was removed.
    pub(super) fn removed(&mut self, name: &str) {
        self.files.remove(name);
        self.dir = true;
    }

    /// Notes that a file was created or removed.
    pub(super) fn dir_changed(&mut self) {
        self.dir = true;
    }

    /// Syncs a file at once, and the directory if it changed.
    pub(super) fn sync_now(&mut self, shared: &Shared, file: &dyn DiskFile) -> io::Result<()> {
        let begun = Instant::now();
        file.sync()?;
        if self.dir {
            shared.disk.sync_dir()?;
            self.dir = false;
        }
        shared.metrics.fsync.record(begun.elapsed());
        Ok(())
    }

    /// The round that is complete when `rounds` more than those begun are; 1 is the next.
    pub(super) fn after(&mut self, rounds: u64) -> u64 {
        let round = self.begun + rounds;
        self.wanted = self.wanted.max(round);
        round
    }

    /// Keeps a segment for so many rounds.
    pub(super) fn hold(&mut self, view: &mut View, segment: u64, rounds: u64) {
        if let Some(segment) = view.segments.get_mut(&segment) {
            segment.hold_until = segment.hold_until.max(self.after(rounds));
        }
    }

    pub(super) fn is_done(&self, round: u64) -> bool {
        self.never || self.done >= round
    }

    /// There is something to sync or somebody waits for a round.
    pub(super) fn is_wanted(&self) -> bool {
        !self.never && (self.dir || !self.files.is_empty() || self.wanted > self.done)
    }

    /// Begins a round, if there is something to do. The one before is complete.
    pub(super) fn begin(&mut self, disk: &Arc<dyn Disk>) -> Option<Round> {
        if !self.is_wanted() {
            return None;
        }
        self.begun += 1;
        Some(Round {
            number: self.begun,
            disk: disk.clone(),
            files: std::mem::take(&mut self.files),
            dir: std::mem::take(&mut self.dir),
            complete: !self.doubtful,
        })
    }

    /// Takes note of how a round went.
    pub(super) fn complete(&mut self, result: RoundResult) -> Result<(), Failed> {
        self.dir |= result.dir_failed;
        let Some(error) = result.error else {
            // Doubtful writes are not durable yet, and what depends on them goes on waiting.
            if result.complete {
                self.done = result.number;
            }
            return Ok(());
        };
        let mut files = Vec::new();
        for (name, unsynced) in result.failed {
            // Later writes to the same file are as doubtful.
            self.files.remove(&name);
            files.push((name, unsynced.from));
        }
        Err(Failed { files, error })
    }
}
