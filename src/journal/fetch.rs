//! Reading records at known places, neighbours together, and what becomes of those that cannot be read.

use super::disk::Disk;
use super::entry::{Draft, Entry, Lost, Record, Replaces, Seq};
use super::format::{Bad, RecordHeader, RecordKind};
use super::index::Slot;
use super::view::{Place, segment_name};
use crate::types::UnixMillis;
use bytes::Bytes;
use std::io::{self, IoSlice};
use std::path::PathBuf;

/// Records that have no more than so many bytes between them are read at once.
const NEIGHBOURS: u64 = 16 << 10;

/// A record to be read.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) place: Place,
    pub(super) slot: Slot,
    pub(super) lane: Bytes,
    pub(super) salt: u64,
}

/// A record as it was read.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) place: Place,
    pub(super) record: Record,
    payload_crc: u32,
    /// What a sealed payload replaces, encoded.
    replaces: Bytes,
}

impl Fetched {
    /// The same record, to be written once more.
    pub(super) fn copy(self) -> Draft {
        let encoded = || self.replaces.to_vec();
        let replaces = self.record.sealed.then(|| Replaces { stamps: Vec::new(), encoded: encoded() });
        let Record { seq, entry, .. } = self.record;
        Draft { entry, payload_crc: self.payload_crc, replaces, copy_of: Some(seq.0) }
    }
}

/// What becomes of bytes that cannot be read as records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damaged {
    /// They are copied to a file of their own.
    Quarantine,
    /// Nothing is written.
    Tell,
}

/// Reads records in the order given. Those whose bytes are damaged or unreadable come as lost; other errors (too many
/// open files, a segment that is gone) are the caller's.
pub(super) fn fetch(disk: &dyn Disk, wanted: &[Wanted], damaged: Damaged) -> io::Result<(Vec<Fetched>, Vec<Lost>)> {
    let (mut fetched, mut lost) = (Vec::with_capacity(wanted.len()), Vec::new());
    let mut rest = wanted;
    while !rest.is_empty() {
        let (run, after) = rest.split_at(run_len(rest));
        rest = after;
        let file = disk.open(&segment_name(run[0].place.segment))?;
        let (begin, end) = (u64::from(run[0].slot.offset), end_of(&run[run.len() - 1]));
        let read = |from: u64, to: u64| -> io::Result<Bytes> {
            let mut bytes = vec![0; (to - from) as usize];
            file.read_at(&mut bytes, from)?;
            Ok(bytes.into())
        };
        let whole = read(begin, end);
        for want in run {
            let (from, to) = (u64::from(want.slot.offset), end_of(want));
            let bytes = match &whole {
                Ok(whole) => Ok(whole.slice((from - begin) as usize..(to - begin) as usize)),
                Err(_) => read(from, to),
            };
            match bytes {
                Ok(bytes) => match decode(&bytes, want) {
                    Ok(record) => fetched.push(record),
                    Err(_) => lost.push(lose(disk, want, &bytes, damaged)),
                },
                Err(error) if is_media(&error) => lost.push(lose(disk, want, &[], damaged)),
                Err(error) => return Err(error),
            }
        }
    }
    Ok((fetched, lost))
}

/// The error is the medium's: reading again would not help.
fn is_media(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error() == Some(EIO)
}

fn end_of(want: &Wanted) -> u64 {
    u64::from(want.slot.offset) + u64::from(want.slot.len)
}

/// How many of the first records are near enough to each other to be read at once.
fn run_len(wanted: &[Wanted]) -> usize {
    let near = |pair: &[Wanted]| {
        let (before, next) = (&pair[0], &pair[1]);
        let distance = u64::from(next.slot.offset).checked_sub(end_of(before));
        before.place.segment == next.place.segment && distance.is_some_and(|distance| distance <= NEIGHBOURS)
    };
    1 + wanted.windows(2).take_while(|pair| near(pair)).count()
}

fn decode(bytes: &Bytes, want: &Wanted) -> Result<Fetched, Bad> {
    let header = RecordHeader::decode(bytes, want.salt)?;
    header.payload(bytes)?;
    if header.number != want.place.number || header.stamp != want.slot.stamp || header.lane != want.lane {
        return Err(Bad::Corrupt);
    }
    let head_end = header.head_len();
    let entry = Entry {
        lane: want.lane.clone(),
        items: header.items,
        accepted: UnixMillis(header.accepted),
        oldest: UnixMillis(header.oldest),
        head: bytes.slice(head_end - header.head.len()..head_end),
        payload: bytes.slice(head_end..header.record_len()),
    };
    let record = Record { seq: Seq(header.stamp), sealed: header.kind == RecordKind::Sealed, entry };
    let replaces = head_end - header.head.len() - header.replaces.len()..head_end - header.head.len();
    Ok(Fetched { place: want.place, record, payload_crc: header.payload_crc, replaces: bytes.slice(replaces) })
}

fn lose(disk: &dyn Disk, want: &Wanted, bytes: &[u8], damaged: Damaged) -> Lost {
    let name = segment_name(want.place.segment);
    let (offset, len) = (u64::from(want.slot.offset), u64::from(want.slot.len));
    Lost {
        file: disk.path(&name),
        offset,
        bytes: len,
        records: Some(1),
        seq: Some(Seq(want.slot.stamp)),
        lane: Some(want.lane.clone()),
        items: Some(u64::from(want.slot.items)),
        quarantined: if damaged == Damaged::Quarantine { quarantine(disk, &name, offset, bytes) } else { None },
    }
}

/// Copies bytes that cannot be read as records to a file of their own; its path, unless that fails too.
pub(super) fn quarantine(disk: &dyn Disk, segment: &str, offset: u64, bytes: &[u8]) -> Option<PathBuf> {
    if bytes.is_empty() {
        return None;
    }
    let name = format!("quarantine/{}-{offset:08x}.bin", segment.trim_end_matches(".seg"));
    let file = disk.open_or_create(&name).ok()?;
    // There from an earlier start: once is enough.
    if file.len().ok()? < bytes.len() as u64 {
        file.truncate(0).ok()?;
        file.append(&mut [IoSlice::new(bytes)]).ok()?;
    }
    Some(disk.path(&name))
}
