//! Reading a segment that has no footer, record by record: what recovery does after a crash.

use super::format::{Bad, RECORD_HEADER, RecordHeader, RecordKind, SEGMENT_HEADER, SegmentHeader, decode_seqs, u64_at};
use super::index::{Index, Slot, SlotKind, TRAILER, Trailer};
use super::segment::Bitmap;
use bytes::Bytes;
use memchr::memmem;

/// The most records that a segment of the usual size has room for. A larger number costs memory and is none of a segment.
const MOST: u32 = ((64 << 20) / RECORD_HEADER) as u32;

/// A part of a segment that could not be read, and the records that are missing there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) offset: u64,
    pub(super) len: u64,
    /// Which records it held, as far as that can be told.
    pub(super) missing: Vec<Missing>,
    /// How much `missing` can tell.
    pub(super) extent: Extent,
}

/// What is known of how many records a gap held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of them are known of: what comes after it, or the trailer, has the number.
    Counted,
    /// Nothing sound came after it: a write that a crash cut short, or more.
    Torn,
    /// The segment's salt is not known.
    Unreadable,
}

/// A record that is not where it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) number: u32,
    /// The footer or its own header, without the payload, say what it was.
    pub(super) known: Option<Known>,
}

/// What a missing record was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) stamp: u64,
    pub(super) lane: Bytes,
    pub(super) items: u32,
    /// The file ends before the record does.
    pub(super) short: bool,
}

/// What a segment's bytes turned out to hold.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) salt: u64,
    pub(super) index: Index,
    pub(super) gaps: Vec<Gap>,
    /// Where the last sound record ends.
    pub(super) end: u64,
}

/// Finds every sound record of a segment, whatever else is in the bytes. Errors only for a newer format.
pub(super) fn scan(bytes: &[u8], first: u64) -> Result<Scan, Bad> {
    let header = match SegmentHeader::decode(bytes) {
        Err(Bad::Newer(version)) => return Err(Bad::Newer(version)),
        Ok(header) if header.first == first => Some(header.salt),
        _ => None,
    };
    // Without the header, the trailer or the first record tell the salt.
    let trailer = Trailer::decode(bytes).ok().filter(|trailer| trailer.first == first);
    let record = || {
        let salt = bytes.get(SEGMENT_HEADER..SEGMENT_HEADER + RECORD_HEADER).map(|record| u64_at(record, 0))?;
        RecordHeader::decode(&bytes[SEGMENT_HEADER..], salt).ok().map(|_| salt)
    };
    let Some(salt) = header.or_else(|| trailer.map(|trailer| trailer.salt)).or_else(record) else {
        let (missing, extent) = (Vec::new(), Extent::Unreadable);
        let gap = Gap { offset: 0, len: bytes.len() as u64, missing, extent };
        let gaps = if bytes.is_empty() { Vec::new() } else { vec![gap] };
        return Ok(Scan { end: SEGMENT_HEADER.min(bytes.len()) as u64, gaps, ..Scan::default() });
    };
    let trailer = trailer.filter(|trailer| trailer.salt == salt);
    // It is behind the records, whose places it tells wrongly if bytes are missing or too many before it.
    let footer = trailer.and_then(|trailer| trailer.index(footer(bytes, &trailer)?).ok());
    let scanner = Scanner { bytes, first, salt, footer, most: MOST.max((bytes.len() / RECORD_HEADER) as u32) };
    Ok(scanner.run(trailer))
}

/// The footer before a trailer that ends the bytes.
fn footer<'a>(bytes: &'a [u8], trailer: &Trailer) -> Option<&'a [u8]> {
    let end = bytes.len().checked_sub(TRAILER)?;
    bytes.get(end.checked_sub(trailer.footer_len())?..end)
}

impl Gap {
    /// Takes out acked records and those that exist elsewhere, which are no loss. False when nothing is left to report.
    pub(super) fn forget(&mut self, mut is_no_loss: impl FnMut(&Missing) -> bool) -> bool {
        let told_of_none = self.missing.is_empty();
        self.missing.retain(|missing| !is_no_loss(missing));
        told_of_none || !self.missing.is_empty() || self.extent == Extent::Torn
    }

    /// Whether it is more than a crash leaves of an incomplete write.
    pub(super) fn is_loss(&self) -> bool {
        self.extent != Extent::Torn || !self.missing.is_empty()
    }

    /// [`forget`](Self::forget)s what an ack file names.
    pub(super) fn forget_acked(&mut self, acked: &Bitmap) -> bool {
        self.forget(|missing| acked.contains(missing.number))
    }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    first: u64,
    salt: u64,
    footer: Option<Index>,
    /// No record has a greater number.
    most: u32,
}

/// A gap whose end is not found yet.
struct Open {
    from: usize,
    /// What the headers in it say, in the order of their numbers.
    described: Vec<Missing>,
}

impl Scanner<'_> {
    fn run(&self, trailer: Option<Trailer>) -> Scan {
        let mut at = SEGMENT_HEADER.min(self.bytes.len());
        let mut scan = Scan { salt: self.salt, end: at as u64, ..Scan::default() };
        let finder = memmem::Finder::new(&self.salt.to_le_bytes()).into_owned();
        let mut open: Option<Open> = None;
        while at < self.bytes.len() {
            let header = self.header(at, scan.index.slots.len() as u32);
            if let Some(header) = header.as_ref().filter(|header| header.payload(&self.bytes[at..]).is_ok()) {
                // Bytes may be missing as well as damaged.
                if open.is_some() || header.number > scan.index.slots.len() as u32 {
                    let open = open.take().unwrap_or(Open { from: at, described: Vec::new() });
                    self.close(&mut scan, open, at, header.number, Extent::Counted);
                }
                // Fails for a `replaces` that was encoded wrongly only, which `header` has seen to.
                let _ = scan.index.push(header, at as u32, self.first);
                at += header.record_len();
                scan.end = at as u64;
                continue;
            }
            let open = open.get_or_insert(Open { from: at, described: Vec::new() });
            if let Some(header) = header
                && open.described.last().is_none_or(|last| last.number < header.number)
            {
                open.described.push(self.described(&header, at));
            }
            let next = finder.find(&self.bytes[at + 1..]);
            at = next.map_or(self.bytes.len(), |found| at + 1 + found);
        }
        let slots = scan.index.slots.len() as u32;
        let count = trailer.map(|trailer| trailer.count.min(self.most));
        match (open, count) {
            // With all records there, what follows them is the footer, and no gap even where it is damaged.
            (_, Some(count)) if count <= slots => {}
            (Some(open), Some(count)) => self.close(&mut scan, open, self.bytes.len(), count, Extent::Counted),
            (Some(open), None) => {
                let end = open.described.last().map_or(slots, |last| last.number + 1);
                self.close(&mut scan, open, self.bytes.len(), end, Extent::Torn);
            }
            (None, _) => {}
        }
        scan
    }

    /// The header at this offset, if it can be that of the record with this number or a later one.
    fn header(&self, at: usize, number: u32) -> Option<RecordHeader<'_>> {
        let header = RecordHeader::decode(&self.bytes[at..], self.salt).ok()?;
        let later = (number..=self.most).contains(&header.number);
        let stamped = header.stamp <= self.first.saturating_add(u64::from(header.number));
        let replaces = header.kind != RecordKind::Sealed || decode_seqs(header.replaces).is_ok();
        (later && stamped && replaces).then_some(header)
    }

    fn described(&self, header: &RecordHeader<'_>, at: usize) -> Missing {
        let known = Known {
            stamp: header.stamp,
            lane: Bytes::copy_from_slice(header.lane),
            items: header.items,
            short: self.bytes.len() - at < header.record_len(),
        };
        Missing { number: header.number, known: Some(known) }
    }

    /// Ends a gap before the record with this number.
    fn close(&self, scan: &mut Scan, open: Open, to: usize, number: u32, extent: Extent) {
        let before = scan.index.slots.len() as u32;
        let mut described = open.described.into_iter().peekable();
        let mut missing = Vec::new();
        for number in before..number {
            while described.next_if(|described| described.number < number).is_some() {}
            let slot = self.footer.as_ref().and_then(|footer| Some((footer, footer.slots.get(number as usize)?)));
            match (described.next_if(|described| described.number == number), slot) {
                // It was lost when the footer was written, and reported then.
                (_, Some((_, Slot { kind: SlotKind::Lost, .. }))) => {}
                (Some(described), _) => missing.push(described),
                (None, slot) => {
                    let known = slot.and_then(|(footer, slot)| {
                        let lane = footer.lanes.get(slot.lane as usize)?.clone();
                        Some(Known { stamp: slot.stamp, lane, items: slot.items, short: false })
                    });
                    missing.push(Missing { number, known });
                }
            }
        }
        scan.index.push_lost(number.saturating_sub(before), open.from as u32, self.first);
        // Otherwise everything in it has been reported already.
        if before == number || !missing.is_empty() {
            let (offset, len) = (open.from as u64, (to - open.from) as u64);
            scan.gaps.push(Gap { offset, len, missing, extent });
        }
    }
}

/// Reads `bytes` as a segment file, the way recovery does: its footer, or record by record. For fuzzing: never
/// panics, whatever the bytes. Gives the number of sound records.
pub fn recover_bytes(bytes: &[u8]) -> usize {
    let first = SegmentHeader::decode(bytes).map_or(0, |header| header.first);
    let trailer = Trailer::decode(bytes).ok();
    let index = trailer.and_then(|trailer| trailer.index(footer(bytes, &trailer)?).ok());
    let sound = |index: &Index| index.slots.iter().filter(|slot| slot.kind != SlotKind::Lost).count();
    let scanned = scan(bytes, first).map_or(0, |scan| sound(&scan.index));
    index.map_or(scanned, |index| sound(&index).max(scanned))
}
