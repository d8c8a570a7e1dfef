//! What a segment holds, record by record, and its form at the end of a closed segment (the footer), from which a start
//! learns everything without reading the telemetry itself.

use super::format::{
    Bad, MAX_FIRST, RecordHeader, RecordKind, decode_seqs, encode_seqs, put_varint, take_varint, u32_at, u64_at,
    unzigzag, zigzag,
};
use bytes::Bytes;
use crc32c::crc32c;
use std::collections::HashMap;

/// Length of the trailer, the last bytes of a closed segment.
pub(super) const TRAILER: usize = 64;

const TRAILER_MAGIC: &[u8; 8] = b"dogsledi";

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotKind {
    /// A record that could not be read when the segment was closed.
    Lost,
    Chunk,
    Sealed,
}

/// The entry of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) kind: SlotKind,
    pub(super) offset: u32,
    /// Length of the whole record.
    pub(super) len: u32,
    /// Index into [`Index::lanes`].
    pub(super) lane: u32,
    pub(super) items: u32,
    /// When it was accepted.
    pub(super) accepted: i64,
    /// The sequence number it was accepted under.
    pub(super) stamp: u64,
}

/// The sum of a lane's live records in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) records: u32,
    pub(super) items: u64,
    pub(super) bytes: u64,
    /// No record was accepted before that.
    pub(super) oldest: i64,
    /// No record has a lower stamp.
    pub(super) min_stamp: u64,
    /// No record has a higher stamp.
    pub(super) max_stamp: u64,
}

impl Summary {
    pub(super) const EMPTY: Self =
        Self { records: 0, items: 0, bytes: 0, oldest: i64::MAX, min_stamp: u64::MAX, max_stamp: 0 };

    pub(super) fn add(&mut self, slot: &Slot) {
        self.records += 1;
        self.items += u64::from(slot.items);
        self.bytes += u64::from(slot.len);
        self.oldest = self.oldest.min(slot.accepted);
        self.min_stamp = self.min_stamp.min(slot.stamp);
        self.max_stamp = self.max_stamp.max(slot.stamp);
    }

    /// Takes a record out; the bounds stay as they are.
    pub(super) fn remove(&mut self, slot: &Slot) {
        self.records = self.records.saturating_sub(1);
        self.items = self.items.saturating_sub(u64::from(slot.items));
        self.bytes = self.bytes.saturating_sub(u64::from(slot.len));
    }
}

/// The records of one segment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) slots: Vec<Slot>,
    pub(super) lanes: Vec<Bytes>,
    /// The stamps that sealed records of this segment replace.
    pub(super) replaced: Vec<u64>,
    /// How many records are copies of earlier ones.
    pub(super) copies: u32,
    numbers: HashMap<Bytes, u32>,
}

impl Index {
    /// Adds the record at `offset`, whose number is that of the next slot.
    pub(super) fn push(&mut self, header: &RecordHeader<'_>, offset: u32, first: u64) -> Result<Slot, Bad> {
        let lane = self.lane(header.lane);
        let kind = match header.kind {
            RecordKind::Chunk => SlotKind::Chunk,
            RecordKind::Sealed => SlotKind::Sealed,
        };
        if kind == SlotKind::Sealed {
            self.replaced.extend(decode_seqs(header.replaces)?);
        }
        let slot = Slot {
            kind,
            offset,
            len: header.record_len() as u32,
            lane,
            items: header.items,
            accepted: header.accepted,
            stamp: header.stamp,
        };
        self.copies += u32::from(slot.stamp != first + self.slots.len() as u64);
        self.slots.push(slot);
        Ok(slot)
    }

    /// Notes that the next `count` records cannot be read.
    pub(super) fn push_lost(&mut self, count: u32, offset: u32, first: u64) {
        for _ in 0..count {
            let stamp = first + self.slots.len() as u64;
            self.slots.push(Slot {
                kind: SlotKind::Lost,
                offset,
                len: 0,
                lane: u32::MAX,
                items: 0,
                accepted: 0,
                stamp,
            });
        }
    }

    fn lane(&mut self, key: &[u8]) -> u32 {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let (number, key) = (self.lanes.len() as u32, Bytes::copy_from_slice(key));
        self.lanes.push(key.clone());
        self.numbers.insert(key, number);
        number
    }

    /// The sums of the records for which `live` holds, in the order of [`Index::lanes`].
    pub(super) fn summaries(&self, live: impl Fn(u32) -> bool) -> Vec<Summary> {
        let mut summaries = vec![Summary::EMPTY; self.lanes.len()];
        for (number, slot) in self.slots.iter().enumerate() {
            if slot.kind != SlotKind::Lost && live(number as u32) {
                summaries[slot.lane as usize].add(slot);
            }
        }
        summaries
    }

    /// Bytes of memory, roughly.
    pub(super) fn memory(&self) -> usize {
        let lanes: usize = self.lanes.iter().map(|lane| lane.len() + 120).sum();
        self.slots.len() * size_of::<Slot>() + self.replaced.len() * 8 + lanes
    }

    /// The footer of a segment whose records end at `end`.
    pub(super) fn encode_footer(&self, first: u64, salt: u64, end: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.slots.len() * 10 + self.lanes.len() * 40 + TRAILER);
        self.encode_slots(first, &mut out);
        let slots_len = out.len();
        self.encode_lanes(&mut out);
        let lanes_len = out.len() - slots_len;
        let crcs = (crc32c(&out[..slots_len]), crc32c(&out[slots_len..]));
        let trailer = out.len();
        out.extend_from_slice(&end.to_le_bytes());
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&salt.to_le_bytes());
        for number in [slots_len as u32, lanes_len as u32, crcs.0, crcs.1, self.slots.len() as u32, self.copies, 0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32c(&out[trailer..]);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(TRAILER_MAGIC);
        out
    }

    fn encode_slots(&self, first: u64, out: &mut Vec<u8>) {
        let (mut end, mut accepted) = (0u64, 0i64);
        for (number, slot) in self.slots.iter().enumerate() {
            let own = slot.stamp == first + number as u64;
            let kind = match slot.kind {
                SlotKind::Lost => 0,
                SlotKind::Chunk => 1,
                SlotKind::Sealed => 2,
            };
            out.push(kind | u8::from(!own) << 2);
            if !own {
                put_varint(out, slot.stamp);
            }
            put_varint(out, u64::from(slot.offset).wrapping_sub(end));
            put_varint(out, u64::from(slot.len));
            put_varint(out, u64::from(slot.lane.wrapping_add(1)));
            put_varint(out, u64::from(slot.items));
            put_varint(out, zigzag(slot.accepted.wrapping_sub(accepted)));
            (end, accepted) = (u64::from(slot.offset) + u64::from(slot.len), slot.accepted);
        }
    }

    fn encode_lanes(&self, out: &mut Vec<u8>) {
        put_varint(out, self.lanes.len() as u64);
        for (lane, summary) in self.lanes.iter().zip(self.summaries(|_| true)) {
            put_varint(out, lane.len() as u64);
            out.extend_from_slice(lane);
            put_varint(out, u64::from(summary.records));
            put_varint(out, summary.items);
            put_varint(out, summary.bytes);
            put_varint(out, zigzag(summary.oldest));
            put_varint(out, summary.min_stamp);
            put_varint(out, summary.max_stamp);
        }
        let mut replaced = self.replaced.clone();
        replaced.sort_unstable();
        encode_seqs(&replaced, out);
    }
}

/// The last bytes of a closed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    /// Where the records end and the footer begins.
    pub(super) end: u64,
    pub(super) first: u64,
    pub(super) salt: u64,
    pub(super) count: u32,
    pub(super) copies: u32,
    slots_len: u32,
    lanes_len: u32,
    slots_crc: u32,
    lanes_crc: u32,
}

/// A segment's sums, without its single records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Overview {
    /// Each lane with the sum of its records, acked ones included.
    pub(super) lanes: Vec<(Bytes, Summary)>,
    /// The stamps that the segment's sealed records replace.
    pub(super) replaced: Vec<u64>,
}

impl Trailer {
    /// Reads the last bytes of a segment.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Bad> {
        let start = bytes.len().checked_sub(TRAILER).ok_or(Bad::Short)?;
        let bytes = &bytes[start..];
        if bytes[56..] != TRAILER_MAGIC[..] || u32_at(bytes, 52) != crc32c(&bytes[..52]) || u64_at(bytes, 8) > MAX_FIRST
        {
            return Err(Bad::Corrupt);
        }
        Ok(Self {
            end: u64_at(bytes, 0),
            first: u64_at(bytes, 8),
            salt: u64_at(bytes, 16),
            slots_len: u32_at(bytes, 24),
            lanes_len: u32_at(bytes, 28),
            slots_crc: u32_at(bytes, 32),
            lanes_crc: u32_at(bytes, 36),
            count: u32_at(bytes, 40),
            copies: u32_at(bytes, 44),
        })
    }

    /// Length of the footer without the trailer.
    pub(super) fn footer_len(&self) -> usize {
        self.slots_len as usize + self.lanes_len as usize
    }

    /// Checks the footer without its trailer and reads the part that does not grow with the number of records.
    pub(super) fn overview(&self, footer: &[u8]) -> Result<Overview, Bad> {
        let (slots, mut lanes) = footer.split_at_checked(self.slots_len as usize).ok_or(Bad::Short)?;
        if crc32c(slots) != self.slots_crc || crc32c(lanes) != self.lanes_crc {
            return Err(Bad::Corrupt);
        }
        let count = take_varint(&mut lanes)?;
        let mut overview = Overview { lanes: Vec::new(), replaced: Vec::new() };
        for _ in 0..count {
            let len = take_varint(&mut lanes)?;
            let (key, rest) = lanes.split_at_checked(len as usize).ok_or(Bad::Short)?;
            lanes = rest;
            let summary = Summary {
                records: take_varint(&mut lanes)? as u32,
                items: take_varint(&mut lanes)?,
                bytes: take_varint(&mut lanes)?,
                oldest: unzigzag(take_varint(&mut lanes)?),
                min_stamp: take_varint(&mut lanes)?,
                max_stamp: take_varint(&mut lanes)?,
            };
            overview.lanes.push((Bytes::copy_from_slice(key), summary));
        }
        overview.replaced = decode_seqs(lanes)?;
        Ok(overview)
    }

    /// Reads the whole footer.
    pub(super) fn index(&self, footer: &[u8]) -> Result<Index, Bad> {
        let overview = self.overview(footer)?;
        let mut bytes = &footer[..self.slots_len as usize];
        let lanes = overview.lanes.len() as u64;
        // A slot takes six bytes at least: a wrong count cannot ask for much memory.
        let mut slots = Vec::with_capacity((self.count as usize).min(bytes.len() / 6));
        let (mut end, mut accepted) = (0u64, 0i64);
        for number in 0..u64::from(self.count) {
            let flags = take_varint(&mut bytes)?;
            let kind = match flags & 3 {
                0 => SlotKind::Lost,
                1 => SlotKind::Chunk,
                2 => SlotKind::Sealed,
                _ => return Err(Bad::Corrupt),
            };
            let stamp = if flags & 4 == 0 { self.first + number } else { take_varint(&mut bytes)? };
            let offset = end.wrapping_add(take_varint(&mut bytes)?);
            let len = take_varint(&mut bytes)?;
            let lane = take_varint(&mut bytes)?;
            let items = take_varint(&mut bytes)?;
            accepted = accepted.wrapping_add(unzigzag(take_varint(&mut bytes)?));
            end = offset.wrapping_add(len);
            if kind != SlotKind::Lost && (lane == 0 || lane > lanes || end > self.end) {
                return Err(Bad::Corrupt);
            }
            let (offset, len, items) = (offset as u32, len as u32, items as u32);
            slots.push(Slot { kind, offset, len, lane: (lane as u32).wrapping_sub(1), items, accepted, stamp });
        }
        let lanes: Vec<Bytes> = overview.lanes.into_iter().map(|(lane, _)| lane).collect();
        Ok(Index { slots, lanes, replaced: overview.replaced, copies: self.copies, numbers: HashMap::new() })
    }
}
