//! Bytes that cannot be read as records are copied to a directory of their own, for a person to look at, and listed in
//! an account.

use super::disk::Disk;
use super::entry::Lost;
use crate::types::UnixMillis;
use serde_json::json;
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::warn;

/// The directory, in the journal's.
const DIR: &str = "quarantine";

/// The account: JSON, a line for each part that could not be read.
const ACCOUNT: &str = "quarantine/account.ndjson";

/// The size of all copies together, which is at most a [`PARTS`]th of the disk. Beyond it, damage is accounted for and
/// not copied.
const COPIES: u64 = 256 << 20;

const PARTS: u64 = 16;

/// The greatest number of copies, each of which takes at least a block of the disk.
const FILES: usize = 4096;

/// The size at which the account ends, in bytes; the program's own log goes on.
const ACCOUNT_BYTES: u64 = 16 << 20;

/// Whether a full quarantine or account has been logged: once is enough until there is room again.
static COPIES_FULL: AtomicBool = AtomicBool::new(false);
static ACCOUNT_FULL: AtomicBool = AtomicBool::new(false);

/// The outcome of copying damaged bytes.
pub(super) struct Copy {
    /// The copy; none without space, or without bytes.
    pub(super) path: Option<PathBuf>,
    /// Otherwise it is there from an earlier start, which has accounted for it.
    pub(super) is_new: bool,
}

/// Copies the bytes, as far as they could be read, and adds to the account. Says where the copy is.
pub(super) fn set_aside(disk: &dyn Disk, segment: &str, lost: Lost, bytes: &[u8]) -> Lost {
    let Copy { path, is_new } = copy(disk, segment, lost.offset, bytes);
    let lost = Lost { quarantined: path, ..lost };
    if is_new {
        account(disk, &lost);
    }
    lost
}

/// Copies the bytes of a segment from this offset on.
pub(super) fn copy(disk: &dyn Disk, segment: &str, offset: u64, bytes: &[u8]) -> Copy {
    try_copy(disk, segment, offset, bytes).unwrap_or(Copy { path: None, is_new: true })
}

fn try_copy(disk: &dyn Disk, segment: &str, offset: u64, bytes: &[u8]) -> io::Result<Copy> {
    if bytes.is_empty() {
        return Ok(Copy { path: None, is_new: true });
    }
    let stem = format!("{}-{offset:08x}.bin", segment.trim_end_matches(".seg"));
    let (name, len) = (format!("{DIR}/{stem}"), bytes.len() as u64);
    let files = disk.list(DIR)?;
    if files.iter().any(|(other, there)| *other == stem && *there >= len) {
        return Ok(Copy { path: Some(disk.path(&name)), is_new: false });
    }
    let copies: Vec<u64> = files.iter().filter(|(other, _)| other.ends_with(".bin")).map(|(_, len)| *len).collect();
    let (taken, most) = (copies.iter().sum::<u64>(), disk.size().map_or(COPIES, |size| COPIES.min(size / PARTS)));
    if taken + len > most || copies.len() >= FILES {
        if !COPIES_FULL.swap(true, Ordering::Relaxed) {
            warn!(
                dir = %disk.path(DIR).display(), files = copies.len(), bytes = taken, bytes_at_most = most, files_at_most = FILES,
                "the journal's quarantine is full: damaged parts are still logged, but no longer copied there; move its files away, or delete them"
            );
        }
        return Ok(Copy { path: None, is_new: true });
    }
    COPIES_FULL.store(false, Ordering::Relaxed);
    let file = disk.open_or_create(&name)?;
    // Half of it may be there.
    file.truncate(0)?;
    if let Err(error) = file.append(&mut [IoSlice::new(bytes)]) {
        let _ = disk.remove(&name);
        return Err(error);
    }
    Ok(Copy { path: Some(disk.path(&name)), is_new: true })
}

/// Adds a line. Where not even that can be written, the program's log is all there is.
pub(super) fn account(disk: &dyn Disk, lost: &Lost) {
    let line = json!({
        "found_ms": UnixMillis::now().0,
        "file": lost.file,
        "offset": lost.offset,
        "bytes": lost.bytes,
        "records": lost.records,
        "seq": lost.seq.map(|seq| seq.0),
        "lane": lost.lane.as_deref().map(|lane| lane.escape_ascii().to_string()),
        "items": lost.items,
        "copy": lost.quarantined,
    });
    let _ = append(disk, &format!("{line}\n"));
}

fn append(disk: &dyn Disk, line: &str) -> io::Result<()> {
    let file = disk.open_or_create(ACCOUNT)?;
    let len = file.len()?;
    if len + line.len() as u64 > ACCOUNT_BYTES {
        if !ACCOUNT_FULL.swap(true, Ordering::Relaxed) {
            warn!(
                file = %disk.path(ACCOUNT).display(), bytes = len,
                "the account of the journal's damaged parts is full: they are reported in this log only; move the file away"
            );
        }
        return Ok(());
    }
    ACCOUNT_FULL.store(false, Ordering::Relaxed);
    let appended = file.append(&mut [IoSlice::new(line.as_bytes())]);
    if appended.is_err() {
        // Half a line would spoil the next one.
        let _ = file.truncate(len);
    }
    appended
}

/// The error is the medium's: reading again would not help.
pub(super) fn is_media(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error() == Some(EIO)
}
