//! Standard error behind a bounded buffer and a thread of its own: whoever logs never waits for whoever reads.

use super::metrics::LOG_LINES_DROPPED;
use metrics::Counter;
use std::io::{self, ErrorKind, Write};
use std::mem::take;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs::File, os::fd::AsFd, thread};

/// The target of the log's reports about itself, which are never left out.
pub(super) const REPORTS: &str = "dogsled::log";

/// Bytes that may wait to be written. Beyond, lines are dropped and counted.
const CAPACITY: usize = 256 << 10;

/// How long the end of the process waits for the last lines to be written.
const FLUSH: Duration = Duration::from_secs(1);

/// How long a descriptor that does not block is left alone when it takes no more.
const FULL: Duration = Duration::from_millis(10);

/// Takes one line with each write, and never blocks. Clones share the buffer.
#[derive(Debug, Clone)]
pub(super) struct LogWriter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pending: Mutex<Pending>,
    changed: Condvar,
    dropped: Counter,
}

#[derive(Debug, Default)]
struct Pending {
    lines: Vec<u8>,
    /// Whether lines have been taken out that are not written yet.
    is_writing: bool,
    /// Lines dropped that the log has not reported.
    unreported: u64,
}

impl LogWriter {
    /// Writes to standard error from now on.
    ///
    /// # Errors
    /// When the system gives no thread, or no second descriptor.
    pub(super) fn stderr() -> io::Result<Self> {
        // Not by way of `std::io::Stderr`: its lock would hold up all who write there while the thread waits.
        let output = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let shared = Shared { pending: Mutex::default(), changed: Condvar::new(), dropped: LOG_LINES_DROPPED.handle() };
        let this = Self(Arc::new(shared));
        let writer = this.clone();
        thread::Builder::new().name("log".into()).spawn(move || writer.run(output))?;
        Ok(this)
    }

    /// Waits until all lines are written, but not long.
    pub(super) fn flush_within_a_moment(&self) {
        let waiting = |pending: &mut Pending| pending.is_writing || !pending.lines.is_empty();
        drop(self.0.changed.wait_timeout_while(self.pending(), FLUSH, waiting));
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut output: impl Write) {
        loop {
            let lines = self.next_lines();
            let is_written = write_all(&mut output, &lines).is_ok();
            let mut pending = self.pending();
            pending.is_writing = false;
            if !is_written {
                self.count_dropped(&mut pending, &lines);
            }
            // While nothing can be written, a report would be one more line to drop, for ever.
            let unreported = if is_written { take(&mut pending.unreported) } else { 0 };
            drop(pending);
            self.0.changed.notify_all();
            if unreported > 0 {
                tracing::warn!(target: REPORTS, dropped = unreported, "log lines were dropped: nobody read standard error");
            }
        }
    }

    fn next_lines(&self) -> Vec<u8> {
        let is_empty = |pending: &mut Pending| pending.lines.is_empty();
        let waited = self.0.changed.wait_while(self.pending(), is_empty);
        let mut pending = waited.unwrap_or_else(PoisonError::into_inner);
        pending.is_writing = true;
        take(&mut pending.lines)
    }

    fn count_dropped(&self, pending: &mut Pending, lines: &[u8]) {
        let count = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        pending.unreported += count;
        self.0.dropped.increment(count);
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut pending = self.pending();
        if pending.lines.len() + line.len() > CAPACITY {
            self.count_dropped(&mut pending, line);
        } else {
            pending.lines.extend_from_slice(line);
            drop(pending);
            self.0.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own, with nothing else to do")]
fn write_all(output: &mut impl Write, mut lines: &[u8]) -> io::Result<()> {
    while !lines.is_empty() {
        match output.write(lines) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => lines = &lines[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Whoever else has this descriptor may have made it one that does not block.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
