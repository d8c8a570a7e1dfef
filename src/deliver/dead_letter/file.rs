//! Opening and locking the file of a tenant, which another process may be about to replace.

#![expect(
    clippy::disallowed_methods,
    reason = "on the blocking pool, where a thread may sleep and another process sets the pace"
)]

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Nobody holds the lock for longer than it takes to write what a tenant's refusals of a moment are.
const PATIENCE: Duration = Duration::from_secs(5);

const PACE: Duration = Duration::from_millis(5);

/// Opens the file of that name and locks it. The lock ends with the value.
///
/// # Errors
/// When it cannot be opened, or another process has it locked for long.
pub(super) fn lock(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let end = Instant::now() + PATIENCE;
    loop {
        let file = options.open(path)?;
        lock_opened(&file, end)?;
        if is_at(&file, path)? {
            return Ok(file);
        }
        // It was replaced or removed while this one waited.
        if Instant::now() >= end {
            return Err(locked());
        }
    }
}

/// Opens the file of that name, if there is one, at a moment when nobody writes to it.
///
/// # Errors
/// When it cannot be opened, or another process has it locked for long.
pub(super) fn open(path: &Path, options: &OpenOptions) -> io::Result<Option<File>> {
    match lock(path, options) {
        Ok(file) => {
            file.unlock()?;
            Ok(Some(file))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Locks a file that is open already.
///
/// # Errors
/// When another process has it locked for long.
pub(super) fn lock_again(file: &File) -> io::Result<()> {
    lock_opened(file, Instant::now() + PATIENCE)
}

/// Whether the path still leads to that file.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let opened = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Waits by looking again and again: a wait within the system could not be ended, nor would the daemon's shutdown.
fn lock_opened(file: &File, end: Instant) -> io::Result<()> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= end => return Err(locked()),
            Err(TryLockError::WouldBlock) => sleep(PACE),
        }
    }
}

fn locked() -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, "another process keeps it locked")
}
