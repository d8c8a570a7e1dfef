//! A journal's options, figures and errors.

use super::entry::TooLarge;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// When appended records are synced to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before an append is answered: it survives a power failure.
    Always,
    /// At this interval: a power failure loses what was appended since the last sync, a crash of the process nothing.
    Interval(Duration),
    /// Left to the kernel. A crash of the process loses nothing.
    Never,
}

/// Where a journal is, and how it works.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory; created if it does not exist.
    pub dir: PathBuf,
    /// When to sync.
    pub fsync: Fsync,
    /// The size at which a segment file is closed, in bytes; at most 1 GiB. Disk space is freed a segment at a time.
    pub segment_bytes: u64,
    /// Appends wait while this many bytes are being written; at most 1 GiB.
    pub in_flight_bytes: usize,
}

impl Options {
    /// The defaults: synced every 200 ms, segments of 64 MiB, 32 MiB in flight.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            fsync: Fsync::Interval(Duration::from_millis(200)),
            segment_bytes: 64 << 20,
            in_flight_bytes: 32 << 20,
        }
    }
}

/// Why a journal cannot be opened. Damaged contents are no reason.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory locked.
    #[error("{}: another process uses this journal: is a dogsled running already? Give each its own state.dir", .0.display())]
    InUse(PathBuf),
    /// The directory or a file in it cannot be used.
    #[error("{}: {source}: the journal needs a directory that this user may read and write", path.display())]
    Io {
        /// The path of the directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A segment was written by a newer version.
    #[error("{}: has format {version}, written by a newer dogsled: run that version, or move the file away", path.display())]
    Newer {
        /// The path of the segment.
        path: PathBuf,
        /// The format it is in.
        version: u32,
    },
}

/// Why entries were not appended. None of them is in the journal.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The disk or the user's quota on it is full.
    #[error("{}: the disk is full: free some space; the journal recovers by itself", .0.display())]
    Full(Arc<Path>),
    /// The file system is read-only.
    #[error("{}: the file system is read-only: see the kernel log for the reason, then remount it", .0.display())]
    ReadOnly(Arc<Path>),
    /// Any other error of the file system.
    #[error("{}: the journal cannot be written: {source}", path.display())]
    Io {
        /// The journal's directory.
        path: Arc<Path>,
        /// Why.
        source: Arc<io::Error>,
    },
    /// An entry is larger than the format allows.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

impl AppendError {
    pub(super) fn new(path: &Arc<Path>, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path.clone()),
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly(path.clone()),
            _ => Self::Io { path: path.clone(), source: Arc::new(error) },
        }
    }
}

/// How a journal is doing.
#[derive(Debug, Clone, Default)]
pub enum Health {
    /// It accepts appends.
    #[default]
    Fine,
    /// Appends fail for this reason; one is tried every second. Records in the journal can be read and acked.
    Failing(AppendError),
}

/// The size of a journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Number of segment files.
    pub segments: usize,
    /// Size of those files.
    pub bytes: u64,
    /// Bytes of live records.
    pub live_bytes: u64,
    /// Records that are not acked.
    pub records: u64,
    /// Bytes of memory that the journal's state takes, roughly.
    pub memory: usize,
    /// Number of times that a sync or the write of an ack failed.
    pub failures: u64,
}
