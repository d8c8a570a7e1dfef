//! What becomes of bytes that cannot be read as records: they are copied to a directory of their own, for a person to
//! look at, and an account is kept of what they held.

use super::disk::Disk;
use super::entry::Lost;
use crate::types::UnixMillis;
use serde_json::json;
use std::io::{self, IoSlice};
use std::path::PathBuf;

/// The directory, in the journal's.
const DIR: &str = "quarantine";

/// The account: JSON, a line for each part that could not be read.
const ACCOUNT: &str = "quarantine/account.ndjson";

/// Copies take no more than so many bytes together. What comes beyond is accounted for and not copied.
const COPIES: u64 = 256 << 20;

/// The account is not continued beyond so many bytes; the program's own log goes on telling.
const ACCOUNT_BYTES: u64 = 16 << 20;

/// What has become of bytes that were to be copied.
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
    let taken: u64 = files.iter().filter(|(other, _)| other.ends_with(".bin")).map(|(_, len)| len).sum();
    if taken + len > COPIES {
        return Ok(Copy { path: None, is_new: true });
    }
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
    if file.len()? < ACCOUNT_BYTES { file.append(&mut [IoSlice::new(line.as_bytes())]) } else { Ok(()) }
}

/// The error is the medium's: reading again would not help.
pub(super) fn is_media(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error() == Some(EIO)
}
