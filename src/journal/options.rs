//! How a journal is told to work, how it is doing, and how it fails.

use super::entry::TooLarge;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// When what was appended is synced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before an append is answered: it survives a loss of power.
    Always,
    /// Every so often: a loss of power takes what was appended since. A process that dies takes nothing.
    Interval(Duration),
    /// When the kernel likes to. A process that dies takes nothing.
    Never,
}

/// Where a journal is and how it works.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory; created if need be.
    pub dir: PathBuf,
    /// When to sync.
    pub fsync: Fsync,
    /// A segment file is closed at about this size, in bytes; at most 1 GiB. What is acked is freed by the segment.
    pub segment_bytes: u64,
    /// Appends wait while so many bytes are on their way to the disk; at most 1 GiB.
    pub in_flight_bytes: usize,
}

impl Options {
    /// The usual: synced every 200 ms, segments of 64 MiB, 32 MiB in flight.
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
    /// Another process has it.
    #[error("{}: another process uses this journal: is a dogsled running already? Give each its own state.dir", .0.display())]
    InUse(PathBuf),
    /// The directory or a file in it cannot be used.
    #[error("{}: {source}: the journal needs a directory that this user may read and write", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A segment was written by a newer version.
    #[error("{}: has format {version}, written by a newer dogsled: run that version, or move the file away", path.display())]
    Newer {
        /// The segment.
        path: PathBuf,
        /// Its format.
        version: u32,
    },
}

/// Why entries were not appended. Nothing of them is in the journal then.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The disk, or the share of it that this user may fill, is full.
    #[error("{}: the disk is full: free space; the journal goes on by itself then", .0.display())]
    Full(Arc<Path>),
    /// The file system is read-only.
    #[error("{}: the file system is read-only: see the kernel's log, remount it", .0.display())]
    ReadOnly(Arc<Path>),
    /// Another error.
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
    /// It takes what comes.
    #[default]
    Fine,
    /// Appends fail for this reason; one is tried every second. What is in the journal can be read and acked.
    Failing(AppendError),
}

/// What a journal holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Segment files.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of live records.
    pub live_bytes: u64,
    /// Live records.
    pub records: u64,
    /// Bytes of memory that the journal's state takes, roughly.
    pub memory: usize,
    /// Times that a sync or an ack could not be written.
    pub failures: u64,
}
