//! The form of segments and records on disk: pure encoding and decoding.
//!
//! All numbers are little-endian. Every record begins with its segment's salt, 64 random bits that nobody outside
//! knows: a payload cannot contain something that recovery would take for a record, and stale disk blocks of another
//! segment cannot either.

use crc32c::{crc32c, crc32c_append};
use std::fmt;

/// The newest format that this version reads, and the one it writes.
pub(super) const VERSION: u32 = 1;

/// Length of [`SegmentHeader`] on disk.
pub(super) const SEGMENT_HEADER: usize = 32;

/// Length of [`RecordHeader`]'s fixed part on disk.
pub(super) const RECORD_HEADER: usize = 60;

/// The longest lane key.
pub(super) const MAX_LANE: usize = u8::MAX as usize;

/// The longest head of a record.
pub(super) const MAX_HEAD: usize = u16::MAX as usize;

/// The longest payload: offsets in a segment have 32 bits.
pub(super) const MAX_PAYLOAD: usize = 1 << 30;

/// The greatest first number of a segment: those of its records have 64 bits, too.
pub(super) const MAX_FIRST: u64 = u64::MAX - u32::MAX as u64;

const SEGMENT_MAGIC: &[u8; 8] = b"dogsledj";

/// The beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The number of the segment's first record in the whole log.
    pub(super) first: u64,
    /// Begins every record of this segment.
    pub(super) salt: u64,
}

/// Why bytes cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// There are fewer bytes than there should be.
    Short,
    /// A marker or checksum does not match, or a field makes no sense.
    Corrupt,
    /// Written by a newer version, in this format.
    Newer(u32),
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut out = [0; SEGMENT_HEADER];
        out[..8].copy_from_slice(SEGMENT_MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..20].copy_from_slice(&self.first.to_le_bytes());
        out[20..28].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c(&out[..28]);
        out[28..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Bad> {
        let bytes = bytes.get(..SEGMENT_HEADER).ok_or(Bad::Short)?;
        if bytes[..8] != SEGMENT_MAGIC[..] || u32_at(bytes, 28) != crc32c(&bytes[..28]) {
            return Err(Bad::Corrupt);
        }
        match u32_at(bytes, 8) {
            VERSION if u64_at(bytes, 12) > MAX_FIRST => Err(Bad::Corrupt),
            VERSION => Ok(Self { first: u64_at(bytes, 12), salt: u64_at(bytes, 20) }),
            newer if newer > VERSION => Err(Bad::Newer(newer)),
            _ => Err(Bad::Corrupt),
        }
    }
}

/// The type of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordKind {
    /// Telemetry as accepted.
    Chunk,
    /// A payload that replaces records.
    Sealed,
}

/// A record's description, which comes before its payload.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RecordHeader<'a> {
    pub(super) kind: RecordKind,
    /// The record's number in its segment.
    pub(super) number: u32,
    /// The sequence number that it was accepted under.
    pub(super) stamp: u64,
    pub(super) accepted: i64,
    pub(super) oldest: i64,
    pub(super) items: u32,
    pub(super) lane: &'a [u8],
    /// The records that a sealed payload replaces, encoded by [`encode_seqs`].
    pub(super) replaces: &'a [u8],
    /// The caller's own description.
    pub(super) head: &'a [u8],
    pub(super) payload_len: u32,
    pub(super) payload_crc: u32,
}

impl fmt::Debug for RecordHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordHeader").field("number", &self.number).field("stamp", &self.stamp).finish_non_exhaustive()
    }
}

impl<'a> RecordHeader<'a> {
    /// Bytes before the payload.
    pub(super) fn head_len(&self) -> usize {
        RECORD_HEADER + self.lane.len() + self.replaces.len() + self.head.len()
    }

    /// Bytes of the whole record.
    pub(super) fn record_len(&self) -> usize {
        self.head_len() + self.payload_len as usize
    }

    /// Appends everything but the payload. The parts are within their limits: see [`MAX_LANE`], [`MAX_HEAD`].
    pub(super) fn encode(&self, salt: u64, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&salt.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.payload_crc.to_le_bytes());
        out.extend_from_slice(&self.payload_len.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.stamp.to_le_bytes());
        out.extend_from_slice(&self.accepted.to_le_bytes());
        out.extend_from_slice(&self.oldest.to_le_bytes());
        out.extend_from_slice(&self.items.to_le_bytes());
        out.extend_from_slice(&(self.replaces.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.head.len() as u16).to_le_bytes());
        out.push(self.lane.len() as u8);
        out.push(match self.kind {
            RecordKind::Chunk => 1,
            RecordKind::Sealed => 2,
        });
        out.extend_from_slice(self.lane);
        out.extend_from_slice(self.replaces);
        out.extend_from_slice(self.head);
        let crc = crc32c(&out[begin + 12..]);
        out[begin + 8..begin + 12].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads the header at the beginning of `bytes`. The payload may be missing; its checksum is not looked at.
    pub(super) fn decode(bytes: &'a [u8], salt: u64) -> Result<Self, Bad> {
        let fixed = bytes.get(..RECORD_HEADER).ok_or(Bad::Short)?;
        if u64_at(fixed, 0) != salt {
            return Err(Bad::Corrupt);
        }
        let lane_end = RECORD_HEADER + usize::from(fixed[58]);
        let replaces_end = lane_end + u32_at(fixed, 52) as usize;
        let head_end = replaces_end + usize::from(u16::from_le_bytes([fixed[56], fixed[57]]));
        let whole = bytes.get(..head_end).ok_or(Bad::Short)?;
        let kind = match fixed[59] {
            1 => RecordKind::Chunk,
            2 => RecordKind::Sealed,
            _ => return Err(Bad::Corrupt),
        };
        if u32_at(fixed, 8) != crc32c(&whole[12..]) || u32_at(fixed, 16) as usize > MAX_PAYLOAD {
            return Err(Bad::Corrupt);
        }
        Ok(Self {
            kind,
            number: u32_at(fixed, 20),
            stamp: u64_at(fixed, 24),
            accepted: u64_at(fixed, 32) as i64,
            oldest: u64_at(fixed, 40) as i64,
            items: u32_at(fixed, 48),
            lane: &whole[RECORD_HEADER..lane_end],
            replaces: &whole[lane_end..replaces_end],
            head: &whole[replaces_end..],
            payload_len: u32_at(fixed, 16),
            payload_crc: u32_at(fixed, 12),
        })
    }

    /// The payload in `bytes`, the same that the header was read from, if it is all there and sound.
    pub(super) fn payload<'b>(&self, bytes: &'b [u8]) -> Result<&'b [u8], Bad> {
        let payload = bytes.get(self.head_len()..self.record_len()).ok_or(Bad::Short)?;
        if crc32c(payload) == self.payload_crc { Ok(payload) } else { Err(Bad::Corrupt) }
    }
}

/// Length of an entry of a segment's ack file.
pub(super) const ACK_ENTRY: usize = 12;

/// An entry that acks `count` records from number `first` on, in the segment with this salt.
pub(super) fn encode_ack(salt: u64, first: u32, count: u32, out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    let crc = crc32c_append(crc32c(&salt.to_le_bytes()), &out[begin..]);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// The sound entries of an ack file. An unsound one is passed over: an ack that is lost makes a duplicate, no more.
pub(super) fn decode_acks(salt: u64, bytes: &[u8]) -> impl Iterator<Item = (u32, u32)> {
    let seed = crc32c(&salt.to_le_bytes());
    let sound = bytes.chunks_exact(ACK_ENTRY).filter(move |entry| u32_at(entry, 8) == crc32c_append(seed, &entry[..8]));
    sound.map(|entry| (u32_at(entry, 0), u32_at(entry, 4)))
}

/// Ascending sequence numbers as differences.
pub(super) fn encode_seqs(seqs: &[u64], out: &mut Vec<u8>) {
    let mut before = 0;
    for &seq in seqs {
        put_varint(out, seq.wrapping_sub(before));
        before = seq;
    }
}

/// The inverse of [`encode_seqs`].
pub(super) fn decode_seqs(mut bytes: &[u8]) -> Result<Vec<u64>, Bad> {
    let (mut seqs, mut before) = (Vec::new(), 0u64);
    while !bytes.is_empty() {
        before = before.wrapping_add(take_varint(&mut bytes)?);
        seqs.push(before);
    }
    Ok(seqs)
}

/// Seven bits a byte, the lowest first, as protobuf does.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
pub(super) fn take_varint(bytes: &mut &[u8]) -> Result<u64, Bad> {
    // Most are of one byte, and a start reads millions.
    match bytes.split_first() {
        Some((&byte, rest)) if byte < 0x80 => {
            *bytes = rest;
            Ok(u64::from(byte))
        }
        _ => take_long_varint(bytes),
    }
}

fn take_long_varint(bytes: &mut &[u8]) -> Result<u64, Bad> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Bad::Short)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Bad::Corrupt)
}

/// Small for numbers near zero of either sign.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// `at + 4` is within `bytes`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

/// `at + 8` is within `bytes`.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}
