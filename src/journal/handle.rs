//! A journal as its callers see it. Any number of threads and tasks may use the handle; one thread writes.

use super::committer::{AckGuard, Append, Committer, Inner, PERMIT_BYTES, Runner};
use super::disk::{Disk, RealDisk};
use super::entry::{Backlog, Draft, Entry, Lost, Seq};
use super::log::LogOptions;
use super::open::{CannotOpen, Recovery, open};
use super::options::{AppendError, Figures, Health, OpenError, Options};
use super::read::{Batch, Reader};
use super::threads::Threads;
use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::sync::oneshot;

/// A journal that is open. Dropping it is the same as [`close`](Self::close).
pub struct Journal {
    inner: Arc<Inner>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("dir", &self.inner.dir).finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the journal, and creates it if there is none. Blocks for as long as the reading of footers takes.
    ///
    /// # Errors
    /// See [`OpenError`]. Damaged contents are no error: they are reported in [`Recovery`].
    pub fn open(options: Options) -> Result<(Self, Recovery), OpenError> {
        let failed = |source| OpenError::Io { path: options.dir.clone(), source };
        let disk = RealDisk::lock(&options.dir).map_err(failed)?;
        let disk = disk.ok_or_else(|| OpenError::InUse(options.dir.clone()))?;
        Self::open_on(Arc::new(disk), &options)
    }

    /// The same, on a disk that is this process's own.
    pub(super) fn open_on(disk: Arc<dyn Disk>, options: &Options) -> Result<(Self, Recovery), OpenError> {
        let salts = StdRng::from_rng(&mut rand::rng());
        Self::open_with(disk, options, salts, Arc::new(Threads::default()))
    }

    /// The same, with the chance that sequence numbers are salted with, and what the committer runs on.
    pub(crate) fn open_with(
        disk: Arc<dyn Disk>,
        options: &Options,
        salts: StdRng,
        runner: Arc<dyn Runner>,
    ) -> Result<(Self, Recovery), OpenError> {
        let failed = |source| OpenError::Io { path: options.dir.clone(), source };
        let (log, recovery) = open(disk, LogOptions::new(options), salts).map_err(|error| match error {
            CannotOpen::Io(error) => failed(error),
            CannotOpen::Newer { file, version } => OpenError::Newer { path: file, version },
        })?;
        let inner = Arc::new(Inner::new(options, log.shared.clone(), runner.clone()));
        let (committer, rounds) = Committer::new(&inner, log, options.fsync);
        runner.start(committer, rounds).map_err(failed)?;
        Ok((Self { inner }, recovery))
    }

    /// Appends entries as one: all or none, with sequence numbers that follow each other. Waits while too much is on
    /// its way to the disk.
    ///
    /// `then` is called with the sequence numbers before this returns, on the journal's own thread, append after append
    /// in the order of the log; it must be quick and must not panic. If the future is dropped, the append and `then`
    /// happen or not.
    ///
    /// # Errors
    /// See [`AppendError`]. Nothing of the entries is in the journal then, and `then` is not called.
    pub async fn append(
        &self,
        entries: Vec<Entry>,
        then: impl FnOnce(Range<Seq>) + Send + 'static,
    ) -> Result<Range<Seq>, AppendError> {
        let drafts = entries.into_iter().map(|entry| Draft::new(entry, None)).collect::<Result<Vec<_>, _>>()?;
        self.submit(drafts, Box::new(then)).await
    }

    /// Appends a record in place of others, which are out of the journal as soon as it is in, at a crash as well.
    /// Otherwise like [`append`](Self::append).
    ///
    /// # Errors
    /// See [`AppendError`]. What was to be replaced is still in the journal then.
    pub async fn seal(
        &self,
        entry: Entry,
        replaces: Vec<Seq>,
        then: impl FnOnce(Seq) + Send + 'static,
    ) -> Result<Seq, AppendError> {
        let draft = Draft::new(entry, Some(replaces))?;
        let range = self.submit(vec![draft], Box::new(|range: Range<Seq>| then(range.start))).await?;
        Ok(range.start)
    }

    async fn submit(
        &self,
        drafts: Vec<Draft>,
        then: Box<dyn FnOnce(Range<Seq>) + Send>,
    ) -> Result<Range<Seq>, AppendError> {
        let bytes: usize = drafts.iter().map(|draft| draft.header(0, 0).record_len()).sum();
        // A request larger than all that may be in flight goes alone.
        let permits = bytes.div_ceil(PERMIT_BYTES).clamp(1, self.inner.permits) as u32;
        let permit = self.inner.in_flight.clone().acquire_many_owned(permits).await;
        let permit = permit.map_err(|_| AppendError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let asleep = {
            let mut inbox = self.inner.inbox();
            if inbox.closing {
                return Err(AppendError::Closed);
            }
            let asleep = inbox.is_empty();
            inbox.appends.push(Append { drafts, bytes, then, answer, permit });
            asleep
        };
        self.inner.wake_if(asleep);
        answered.await.unwrap_or(Err(AppendError::Closed))
    }

    /// Acknowledges records: they are out of the journal for good. Never blocks; acking twice does no harm. Acks that a
    /// crash overtakes are undone by it.
    pub fn ack(&self, seqs: impl IntoIterator<Item = Seq>) {
        self.ack_holding(seqs, None);
    }

    /// The same, and `guard` is dropped once the acks are written: from then on the records do not come back when the
    /// process dies. If the disk does not take it, `guard` is dropped all the same. Dropping it must be quick and must
    /// not panic.
    pub fn ack_holding(&self, seqs: impl IntoIterator<Item = Seq>, guard: Option<AckGuard>) {
        let asleep = {
            let mut inbox = self.inner.inbox();
            let asleep = inbox.is_empty();
            inbox.acks.extend(seqs.into_iter().map(|seq| seq.0));
            // Once closed, nothing is written any more.
            let guard = guard.filter(|_| !inbox.closing);
            inbox.guards.extend(guard);
            asleep && !inbox.is_empty()
        };
        self.inner.wake_if(asleep);
    }

    /// The lanes with live records and their sums, in the order of their keys.
    pub fn lanes(&self) -> Vec<(Bytes, Backlog)> {
        self.inner.shared.view().backlogs()
    }

    /// The sum of a lane's live records; `None` when there are none.
    pub fn backlog(&self, lane: &[u8]) -> Option<Backlog> {
        self.inner.shared.view().backlog(lane)
    }

    /// The next sequence number: records appended from now on have it or a later one.
    pub fn next_seq(&self) -> Seq {
        self.inner.shared.view().next_seq()
    }

    /// Reads on in a lane: at least one record if any is left, and then up to `max_bytes`. Blocks for as long as the
    /// reading takes.
    ///
    /// # Errors
    /// When files cannot be opened; the reader has not moved then. Damaged or unreadable records are no error: they are
    /// in [`Batch::lost`].
    pub fn read(&self, reader: &mut Reader, max_bytes: u64) -> io::Result<Batch> {
        let batch = reader.read(&self.inner.shared, max_bytes)?;
        self.ack(batch.lost.iter().filter_map(|lost| lost.seq));
        Ok(batch)
    }

    /// Records found unreadable since the last call, other than by [`read`](Self::read). They are out of the journal.
    pub fn take_lost(&self) -> Vec<Lost> {
        std::mem::take(&mut *self.inner.lost.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether appends succeed.
    pub fn health(&self) -> Health {
        self.inner.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The size of the journal.
    pub fn figures(&self) -> Figures {
        let failures = self.inner.failures.load(Ordering::Relaxed);
        Figures { failures, ..self.inner.shared.view().figures() }
    }

    /// Waits until all appends that were answered and all acks given are written, and durable unless the mode is
    /// [`Fsync::Never`](super::Fsync::Never).
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        {
            let mut inbox = self.inner.inbox();
            if inbox.closing {
                return;
            }
            inbox.flushes.push(done);
        }
        self.inner.runner.wake();
        // An error means that the journal was closed in between, which flushes it.
        let _ = flushed.await;
    }

    /// Writes pending records, makes them durable, and ends the threads. Blocks until that is done. Appends fail
    /// from now on; reading goes on.
    pub fn close(&self) {
        self.inner.inbox().closing = true;
        self.inner.runner.wake();
        self.inner.runner.join();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}
