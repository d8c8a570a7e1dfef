//! What is appended to the log, and what is read from it.

use super::format::{MAX_HEAD, MAX_LANE, MAX_PAYLOAD, RECORD_HEADER, RecordHeader, RecordKind, encode_seqs};
use crate::types::UnixMillis;
use bytes::Bytes;
use crc32c::crc32c;
use std::fmt;
use std::path::PathBuf;

/// A record's sequence number: its position in the order of acceptance, and its identity for as long as it exists.
/// Records of one log never share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is appended as one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The lane it belongs to: the caller's key, at most 255 bytes.
    pub lane: Bytes,
    /// How many items the payload holds.
    pub items: u32,
    /// When they were accepted.
    pub accepted: UnixMillis,
    /// The earliest time that an item says of itself.
    pub oldest: UnixMillis,
    /// The caller's own description, at most 65,535 bytes; it is checked and read back with the payload.
    pub head: Bytes,
    /// At most 1 GiB.
    pub payload: Bytes,
}

/// A record read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its sequence number, for [`ack`](super::Journal::ack).
    pub seq: Seq,
    /// Whether it was written by [`seal`](super::Journal::seal).
    pub sealed: bool,
    /// Bytes that it takes on disk.
    pub bytes: usize,
    /// What was appended.
    pub entry: Entry,
}

impl Entry {
    /// Bytes that it takes on disk when it is [appended](super::Journal::append).
    pub fn stored_len(&self) -> usize {
        RECORD_HEADER + self.lane.len() + self.head.len() + self.payload.len()
    }
}

/// The sum of a lane's live records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Number of records.
    pub records: u64,
    /// Number of items in them.
    pub items: u64,
    /// Their bytes on disk.
    pub bytes: u64,
    /// No live record was accepted before that. Exact to a segment: acked records of a segment that is still there
    /// count.
    pub oldest: UnixMillis,
}

/// Bytes that could not be read, and what is known of their contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The file that holds them.
    pub file: PathBuf,
    /// Their offset in the file. Records lost in one piece share that piece.
    pub offset: u64,
    /// The length of the piece in bytes.
    pub bytes: u64,
    /// Number of records; `None` where nothing of the file can be recognised.
    pub records: Option<u64>,
    /// The record's sequence number, where its description is sound.
    pub seq: Option<Seq>,
    /// The lane it belonged to, where known.
    pub lane: Option<Bytes>,
    /// Number of items, where known.
    pub items: Option<u64>,
    /// The file that the bytes were copied to, if any.
    pub quarantined: Option<PathBuf>,
}

/// An entry on its way into the log.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) entry: Entry,
    pub(super) payload_crc: u32,
    /// `None` for a chunk.
    pub(super) replaces: Option<Replaces>,
    /// The stamp of the record that this is a copy of.
    pub(super) copy_of: Option<u64>,
}

/// The records that a sealed payload replaces.
#[derive(Debug, Clone)]
pub(super) struct Replaces {
    /// Ascending stamps. Empty in copies: those were taken out when the first was written.
    pub(super) stamps: Vec<u64>,
    pub(super) encoded: Vec<u8>,
}

/// An entry is larger than the format allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record's {part} of {bytes} bytes is longer than the journal's {limit}")]
pub struct TooLarge {
    part: &'static str,
    bytes: usize,
    limit: usize,
}

impl Draft {
    /// A chunk, or a sealed payload that replaces these.
    pub(super) fn new(entry: Entry, replaces: Option<Vec<Seq>>) -> Result<Self, TooLarge> {
        for (part, bytes, limit) in [
            ("lane key", entry.lane.len(), MAX_LANE),
            ("head", entry.head.len(), MAX_HEAD),
            ("payload", entry.payload.len(), MAX_PAYLOAD),
        ] {
            if bytes > limit {
                return Err(TooLarge { part, bytes, limit });
            }
        }
        let replaces = replaces.map(|seqs| {
            let mut stamps: Vec<u64> = seqs.into_iter().map(|seq| seq.0).collect();
            stamps.sort_unstable();
            stamps.dedup();
            let mut encoded = Vec::new();
            encode_seqs(&stamps, &mut encoded);
            Replaces { stamps, encoded }
        });
        let payload_crc = crc32c(&entry.payload);
        Ok(Self { entry, payload_crc, replaces, copy_of: None })
    }

    /// How the record is described when it gets this number and sequence number.
    pub(super) fn header(&self, number: u32, seq: u64) -> RecordHeader<'_> {
        RecordHeader {
            kind: if self.replaces.is_some() { RecordKind::Sealed } else { RecordKind::Chunk },
            number,
            stamp: self.copy_of.unwrap_or(seq),
            accepted: self.entry.accepted.0,
            oldest: self.entry.oldest.0,
            items: self.entry.items,
            lane: &self.entry.lane,
            replaces: self.replaces.as_ref().map_or(&[], |replaces| &replaces.encoded),
            head: &self.entry.head,
            payload_len: self.entry.payload.len() as u32,
            payload_crc: self.payload_crc,
        }
    }
}
