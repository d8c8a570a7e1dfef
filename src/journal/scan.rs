//! Reading a segment that has no footer, record by record: what recovery does after a crash.

use super::format::{Bad, RECORD_HEADER, RecordHeader, SEGMENT_HEADER, SegmentHeader, u64_at};
use super::index::{Index, TRAILER, Trailer};
use super::segment::Bitmap;
use memchr::memmem;

/// A part of a segment that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) offset: u64,
    pub(super) len: u64,
    /// The number of the first record that is missing.
    pub(super) number: u32,
    /// How many records it held, if that can be told.
    pub(super) records: Option<u64>,
    /// The one record whose description was sound though its payload was not: lane and items.
    pub(super) known: Option<(Vec<u8>, u32)>,
    /// Nothing sound came after it: a write that a crash cut short.
    pub(super) torn: bool,
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
    let trailer = || Trailer::decode(bytes).ok().filter(|trailer| trailer.first == first).map(|trailer| trailer.salt);
    let record = || {
        let salt = bytes.get(SEGMENT_HEADER..SEGMENT_HEADER + RECORD_HEADER).map(|record| u64_at(record, 0))?;
        RecordHeader::decode(&bytes[SEGMENT_HEADER..], salt).ok().map(|_| salt)
    };
    let mut scan = Scan { end: SEGMENT_HEADER.min(bytes.len()) as u64, ..Scan::default() };
    let Some(salt) = header.or_else(trailer).or_else(record) else {
        if !bytes.is_empty() {
            scan.gap(bytes, 0, bytes.len(), None);
        }
        return Ok(scan);
    };
    scan.salt = salt;
    let trailer = Trailer::decode(bytes).ok().filter(|trailer| trailer.salt == salt);
    // In a file of this length. More would be none of this segment's, and cost memory.
    let most = (bytes.len() / RECORD_HEADER) as u32;
    let finder = memmem::Finder::new(&salt.to_le_bytes()).into_owned();
    let mut at = SEGMENT_HEADER.min(bytes.len());
    let mut gap_from = None;
    while at < bytes.len() {
        match scan.record(bytes, at, first, gap_from, most) {
            Some(len) => {
                gap_from = None;
                at += len;
                scan.end = at as u64;
            }
            None => {
                gap_from.get_or_insert(at);
                let next = finder.find(&bytes[at + 1..]);
                at = next.map_or(bytes.len(), |found| at + 1 + found);
            }
        }
    }
    let missing = trailer.map(|trailer| trailer.count.saturating_sub(scan.index.slots.len() as u32));
    // With all records there, what follows them is the footer, and no gap even where it is damaged.
    if let Some(from) = gap_from.filter(|_| missing != Some(0)) {
        scan.gap(bytes, from, bytes.len(), missing);
        scan.index.push_lost(missing.unwrap_or(0).min(most), from as u32, first);
    }
    Ok(scan)
}

impl Gap {
    /// What is acked is no loss. False when nothing else was in the gap.
    pub(super) fn forget_acked(&mut self, acked: &Bitmap) -> bool {
        let Some(records) = self.records.filter(|records| *records > 0) else { return true };
        let end = self.number.saturating_add(u32::try_from(records).unwrap_or(u32::MAX));
        let live = (self.number..end).filter(|number| !acked.contains(*number)).count();
        self.records = Some(live as u64);
        self.known.take_if(|_| acked.contains(self.number));
        live > 0
    }
}

impl Scan {
    /// Takes the record at `at` if it is sound, and closes the gap before it; the record's length.
    fn record(&mut self, bytes: &[u8], at: usize, first: u64, gap_from: Option<usize>, most: u32) -> Option<usize> {
        let header = RecordHeader::decode(&bytes[at..], self.salt).ok()?;
        header.payload(&bytes[at..]).ok()?;
        let expected = self.index.slots.len() as u32;
        let missing = header.number.checked_sub(expected)?;
        if missing > most || header.stamp > first + u64::from(header.number) {
            return None;
        }
        // Bytes may be missing as well as damaged.
        if gap_from.is_some() || missing > 0 {
            let from = gap_from.unwrap_or(at);
            self.gap(bytes, from, at, Some(missing));
            self.index.push_lost(missing, from as u32, first);
        }
        self.index.push(&header, at as u32, first).ok()?;
        Some(header.record_len())
    }

    fn gap(&mut self, bytes: &[u8], from: usize, to: usize, missing: Option<u32>) {
        let number = self.index.slots.len() as u32;
        let known = RecordHeader::decode(&bytes[from..], self.salt).ok().filter(|header| header.number == number);
        self.gaps.push(Gap {
            offset: from as u64,
            len: (to - from) as u64,
            number,
            records: missing.map(u64::from),
            known: known.map(|header| (header.lane.to_vec(), header.items)),
            torn: missing.is_none() && from >= SEGMENT_HEADER,
        });
    }
}

/// Reads `bytes` as a segment file, the way recovery does: its footer, or record by record. For fuzzing: never
/// panics, whatever the bytes. Gives the number of sound records.
pub fn recover_bytes(bytes: &[u8]) -> usize {
    let first = SegmentHeader::decode(bytes).map_or(0, |header| header.first);
    let footer = Trailer::decode(bytes).ok().and_then(|trailer| {
        let end = bytes.len() - TRAILER;
        let footer = bytes.get(end.checked_sub(trailer.footer_len())?..end)?;
        trailer.index(footer).ok()
    });
    let scanned = scan(bytes, first).map_or(0, |scan| scan.index.slots.len() - lost(&scan));
    footer.map_or(scanned, |index| index.slots.len().max(scanned))
}

fn lost(scan: &Scan) -> usize {
    scan.gaps.iter().filter_map(|gap| gap.records).sum::<u64>() as usize
}
