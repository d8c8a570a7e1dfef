//! Reading records at known positions, at the least cost, and what becomes of those that cannot be read.

use super::disk::{Disk, DiskFile};
use super::entry::{Draft, Entry, Lost, Record, Replaces, Seq};
use super::format::{Bad, RecordHeader, RecordKind};
use super::index::Slot;
use super::quarantine::{is_media, set_aside};
use super::view::{Position, segment_name};
use crate::types::UnixMillis;
use bytes::Bytes;
use std::io;
use std::iter::Peekable;
use std::vec;

/// The gap in bytes up to which two records are read at once: copying that much from the page cache
/// costs about as much as another system call.
const GAP: u64 = 4 << 10;

/// Bytes read at once.
const RUN: u64 = 1 << 20;

/// Size of the buffers that records are read into, unless a single record is larger.
const BUFFER: u64 = 256 << 10;

/// The gap in bytes up to which two records are fetched from the disk in one operation: one more operation costs about
/// as much as that many bytes, and the bytes are other lanes' backlog.
const APART: u64 = 128 << 10;

/// Bytes announced to the kernel in one call; it truncates what is longer than the device likes.
const ANNOUNCED: u64 = 512 << 10;

/// How far ahead of the reading position to announce, in bytes.
const AHEAD: u64 = 8 << 20;

/// A record to be read.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) position: Position,
    pub(super) slot: Slot,
    pub(super) lane: Bytes,
    pub(super) salt: u64,
}

/// A record as it was read.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) position: Position,
    pub(super) record: Record,
    payload_crc: u32,
    /// The encoded list of records that a sealed payload replaces.
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

/// What to do with bytes that cannot be read as records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damaged {
    /// Copy them to the quarantine and account for them.
    Quarantine,
    /// Write nothing.
    Tell,
}

/// Reads records in the order given. Those whose bytes are damaged or unreadable are returned as lost; other errors
/// (too many open files, a segment that is gone) are the caller's.
///
/// Records returned share buffers of [`BUFFER`] bytes with their neighbours of the same lane, and with nothing else.
pub(super) fn fetch(disk: &dyn Disk, wanted: &[Wanted], damaged: Damaged) -> io::Result<(Vec<Fetched>, Vec<Lost>)> {
    let (mut fetched, mut lost) = (Vec::with_capacity(wanted.len()), Vec::new());
    let mut scratch = Vec::new();
    for of_segment in wanted.chunk_by(|one, next| one.position.segment == next.position.segment) {
        let file = disk.open(&segment_name(of_segment[0].position.segment))?;
        let mut ahead = Ahead { file: &*file, wanted: of_segment };
        let mut rest = of_segment;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(piece_len(rest));
            rest = after;
            ahead.announce(end_of(&piece[piece.len() - 1]) + AHEAD);
            let (buffer, mut failed) = read_piece(&*file, piece, &mut scratch);
            let buffer = Bytes::from(buffer);
            let mut at = 0;
            for want in piece {
                let bytes = buffer.slice(at..at + want.slot.len as usize);
                at += bytes.len();
                match failed.next_if(|(position, _)| *position == want.position) {
                    None => match decode(&bytes, want) {
                        Ok(record) => fetched.push(record),
                        Err(_) => lost.push(lose(disk, want, &bytes, damaged)),
                    },
                    Some((_, error)) if is_media(&error) => lost.push(lose(disk, want, &[], damaged)),
                    Some((_, error)) => return Err(error),
                }
            }
        }
    }
    Ok((fetched, lost))
}

/// How many of the leading records fit one buffer.
fn piece_len(wanted: &[Wanted]) -> usize {
    let mut bytes = 0;
    let fits = |want: &&Wanted| {
        bytes += u64::from(want.slot.len);
        bytes <= BUFFER
    };
    wanted.iter().take_while(fits).count().max(1)
}

/// Why records could not be read, in the order of the records.
type Failures = Peekable<vec::IntoIter<(Position, io::Error)>>;

/// Reads consecutive records of one segment into a buffer without the gaps between them. A record that cannot be read
/// leaves zeros.
fn read_piece(file: &dyn DiskFile, piece: &[Wanted], scratch: &mut Vec<u8>) -> (Vec<u8>, Failures) {
    let mut buffer = vec![0; piece.iter().map(|want| want.slot.len as usize).sum()];
    let (mut failed, mut space) = (Vec::new(), &mut buffer[..]);
    let mut rest = piece;
    while !rest.is_empty() {
        let (run, after) = rest.split_at(run_len(rest, GAP, RUN));
        rest = after;
        let wanted: usize = run.iter().map(|want| want.slot.len as usize).sum();
        let (into, after) = std::mem::take(&mut space).split_at_mut(wanted);
        space = after;
        let begin = u64::from(run[0].slot.offset);
        let whole = (end_of(&run[run.len() - 1]) - begin) as usize;
        let read = if whole == wanted {
            file.read_at(into, begin)
        } else {
            scratch.resize(whole.max(scratch.len()), 0);
            file.read_at(&mut scratch[..whole], begin)
        };
        let mut at = 0;
        for want in run {
            let len = want.slot.len as usize;
            let into = &mut into[at..at + len];
            at += len;
            match &read {
                Ok(()) if whole == wanted => {}
                Ok(()) => {
                    let from = (u64::from(want.slot.offset) - begin) as usize;
                    into.copy_from_slice(&scratch[from..from + len]);
                }
                // Find the one that cannot be read.
                Err(_) => {
                    into.fill(0);
                    if let Err(error) = file.read_at(into, u64::from(want.slot.offset)) {
                        failed.push((want.position, error));
                    }
                }
            }
        }
    }
    (buffer, failed.into_iter().peekable())
}

/// Tells the kernel what will be read, in time. Left to itself it takes records that lie apart for reads at random,
/// and waits for the disk for each of them.
struct Ahead<'a> {
    file: &'a dyn DiskFile,
    /// Ranges not announced yet.
    wanted: &'a [Wanted],
}

impl Ahead<'_> {
    /// Announces the ranges that begin before this offset.
    fn announce(&mut self, until: u64) {
        while let Some(first) = self.wanted.first().filter(|want| u64::from(want.slot.offset) < until) {
            let begin = u64::from(first.slot.offset);
            let (span, after) = self.wanted.split_at(run_len(self.wanted, APART, ANNOUNCED));
            self.wanted = after;
            self.file.will_need(begin, end_of(&span[span.len() - 1]) - begin);
        }
    }
}

fn end_of(want: &Wanted) -> u64 {
    u64::from(want.slot.offset) + u64::from(want.slot.len)
}

/// How many of the first records follow each other in the file, with no more than `gap` bytes between any two and no more
/// than `most` in all.
fn run_len(wanted: &[Wanted], gap: u64, most: u64) -> usize {
    let begin = u64::from(wanted[0].slot.offset);
    let follows = |pair: &&[Wanted]| {
        let distance = u64::from(pair[1].slot.offset).checked_sub(end_of(&pair[0]));
        distance.is_some_and(|distance| distance <= gap) && end_of(&pair[1]) <= begin + most
    };
    1 + wanted.windows(2).take_while(follows).count()
}

fn decode(bytes: &Bytes, want: &Wanted) -> Result<Fetched, Bad> {
    let header = RecordHeader::decode(bytes, want.salt)?;
    header.payload(bytes)?;
    if header.number != want.position.number || header.stamp != want.slot.stamp || header.lane != want.lane {
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
    let sealed = header.kind == RecordKind::Sealed;
    let record = Record { seq: Seq(header.stamp), sealed, bytes: header.record_len(), entry };
    let replaces = head_end - header.head.len() - header.replaces.len()..head_end - header.head.len();
    Ok(Fetched { position: want.position, record, payload_crc: header.payload_crc, replaces: bytes.slice(replaces) })
}

fn lose(disk: &dyn Disk, want: &Wanted, bytes: &[u8], damaged: Damaged) -> Lost {
    let name = segment_name(want.position.segment);
    let lost = Lost {
        file: disk.path(&name),
        offset: u64::from(want.slot.offset),
        bytes: u64::from(want.slot.len),
        records: Some(1),
        seq: Some(Seq(want.slot.stamp)),
        lane: Some(want.lane.clone()),
        items: Some(u64::from(want.slot.items)),
        quarantined: None,
    };
    if damaged == Damaged::Quarantine { set_aside(disk, &name, lost, bytes) } else { lost }
}
