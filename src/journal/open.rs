//! Opening a log: what is in the directory becomes a [`View`], whatever a crash or a bad disk made of it.

use super::disk::Disk;
use super::entry::{Lost, Seq};
use super::format::{Bad, decode_acks};
use super::index::{Index, Overview, Slot, SlotKind, Trailer};
use super::log::{Log, LogOptions};
use super::quarantine::{account, copy};
use super::scan::{Extent, Gap, scan};
use super::segment::{Bitmap, Segment};
use super::view::{Position, Shared, View, ack_name, parse_name, read_footer, read_whole, segment_name};
use rand::rngs::StdRng;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tracing::warn;

/// What opening the journal found.
#[derive(Debug, Default, Clone)]
pub struct Recovery {
    /// Number of segments.
    pub segments: usize,
    /// Size of the segments on disk.
    pub bytes: u64,
    /// Records that are not acked.
    pub records: u64,
    /// Items in those records.
    pub items: u64,
    /// Segments that the last run did not close, and that were read record by record.
    pub scanned: usize,
    /// Bytes of incomplete writes that a crash left.
    pub torn_bytes: u64,
    /// What could not be read.
    pub lost: Vec<Lost>,
}

/// Why a log cannot be opened.
#[derive(Debug)]
pub(super) enum CannotOpen {
    Io(io::Error),
    Newer { file: PathBuf, version: u32 },
}

impl From<io::Error> for CannotOpen {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A segment as found.
pub(super) struct Found {
    pub(super) segment: Segment,
    pub(super) overview: Overview,
    /// It holds copies of earlier records.
    pub(super) copies: bool,
    /// The parts of it that could not be read.
    pub(super) gaps: Vec<Gap>,
    /// It had no sound footer: its index is in memory.
    pub(super) scanned: bool,
    /// Where the sound part ends, of a segment that was scanned.
    end: u64,
    bytes: Vec<u8>,
}

/// The disk holds at least so many segments: space is freed a segment at a time, and the newest stays.
const PARTS: u64 = 16;

/// The smallest size of a segment, however small the disk.
const SMALLEST: u64 = 1 << 20;

/// Opens the log. Damaged contents are no error.
pub(super) fn open(disk: Arc<dyn Disk>, mut options: LogOptions, salts: StdRng) -> Result<(Log, Recovery), CannotOpen> {
    if let Some(size) = disk.size() {
        options.segment_bytes = options.segment_bytes.min((size / PARTS).max(SMALLEST));
    }
    let (mut view, mut recovery) = (View::default(), Recovery::default());
    let names = disk.list("")?;
    let mut firsts: Vec<u64> = names.iter().filter_map(|(name, _)| parse_name(name, ".seg")).collect();
    firsts.sort_unstable();
    let mut next = 0;
    let (mut footerless, mut with_copies, mut replaced) = (Vec::new(), Vec::new(), HashSet::new());
    let mut gaps = Vec::new();
    for (at, &first) in firsts.iter().enumerate() {
        let found = find(&*disk, first)?;
        let name = segment_name(first);
        if !options.never_sync {
            // Writes of the last run may be in the page cache only; conclusions from them must not outlast them.
            disk.open(&name)?.sync()?;
        }
        let mut kept = true;
        for gap in found.gaps {
            let torn = gap.extent == Extent::Torn;
            if torn {
                recovery.torn_bytes += gap.len;
            }
            if gap.is_loss() {
                let bytes = &found.bytes[gap.offset as usize..(gap.offset + gap.len) as usize];
                let copy = copy(&*disk, &name, gap.offset, bytes);
                kept &= torn || copy.path.is_some();
                gaps.push((first, gap, copy));
            }
        }
        let Found { mut segment, overview, copies, scanned, end, .. } = found;
        next = next.max(first.saturating_add(u64::from(segment.count)));
        // Of a file that was cut, the records that are gone left no trace but their numbers.
        if let Some(following) = firsts.get(at + 1).filter(|following| scanned && **following > next) {
            warn!(
                file = %disk.path(&name).display(), records_at_most = following - next,
                "the end of a journal segment may be missing: the file is damaged, and the items lost with it cannot be counted or attributed to tenants"
            );
        }
        if segment.count == 0 {
            // An unreadable segment that could not be quarantined stays where it is.
            if kept {
                let _ = disk.remove(&name);
            }
            next = next.max(first.saturating_add(u64::from(!kept)));
            continue;
        }
        if scanned {
            recovery.scanned += 1;
            // Space may be reserved behind it even where there is nothing to be cut off.
            let _ = disk.open_or_create(&name)?.truncate(end);
            segment.bytes = end;
            footerless.push((first, 0));
        }
        let lanes: Vec<_> = overview.lanes.iter().map(|(lane, sums)| (view.names.intern(lane), *sums)).collect();
        segment.set_lanes(lanes.into_iter());
        if copies || !overview.replaced.is_empty() {
            with_copies.push(first);
        }
        replaced.extend(overview.replaced);
        view.segments.insert(first, segment);
    }
    if !options.never_sync {
        disk.sync_dir()?;
    }
    view.next = next;
    let ack_files: Vec<u64> = names.iter().filter_map(|(name, _)| parse_name(name, ".ack")).collect();
    let shared = Arc::new(Shared::new(disk.clone(), view));
    let mut log = Log::new(shared.clone(), options, next, salts);
    log.footerless = footerless;
    kill_lost(&shared)?;
    for first in ack_files {
        if shared.view().segments.contains_key(&first) {
            if !log.options.never_sync {
                disk.open(&ack_name(first))?.sync()?;
            }
            read_acks(&shared, first)?;
        } else {
            // The segment's removal may not be durable yet.
            let round = log.rounds.after(1);
            log.acks.forget(first, round, ack_name(first));
        }
    }
    let copies = resolve_copies(&shared, &with_copies)?;
    let short_is_lost = !log.options.sync_each;
    for (first, mut gap, copy) in gaps {
        if !forget_elsewhere(&mut gap, first, &shared.view(), &copies, &replaced, short_is_lost) {
            continue;
        }
        for lost in describe(&*disk, first, &gap) {
            let lost = Lost { quarantined: copy.path.clone(), ..lost };
            if copy.is_new {
                account(&*disk, &lost);
            }
            recovery.lost.push(lost);
        }
    }
    // What they are copies of is taken out on disk, too, and they stay until that is durable.
    log.acks.add(copies.originals);
    log.ack(replaced.into_iter().collect());
    for first in with_copies {
        log.rounds.hold(&mut shared.view(), first, 2);
    }
    // The committer retries what fails here.
    let _ = log.tick();
    let view = shared.view();
    recovery.segments = view.segments.len();
    for segment in view.segments.values() {
        recovery.bytes += segment.bytes;
        recovery.records += u64::from(segment.count - segment.dead);
        recovery.items += segment.lanes.iter().map(|(_, summary)| summary.items).sum::<u64>();
    }
    drop(view);
    Ok((log, recovery))
}

/// Reads a segment's footer, or else all of it.
pub(super) fn find(disk: &dyn Disk, first: u64) -> Result<Found, CannotOpen> {
    if let Some((trailer, footer, len)) = read_footer(disk, first)?
        && let Ok(overview) = trailer.overview(&footer)
    {
        return Ok(with_footer(&trailer, overview, len));
    }
    let name = segment_name(first);
    let bytes = read_whole(disk, &name)?;
    let scan = scan(&bytes, first).map_err(|bad| match bad {
        Bad::Newer(version) => CannotOpen::Newer { file: disk.path(&name), version },
        Bad::Short | Bad::Corrupt => CannotOpen::Io(io::ErrorKind::InvalidData.into()),
    })?;
    let mut segment = Segment::new(scan.salt);
    segment.count = scan.index.slots.len() as u32;
    segment.bytes = bytes.len() as u64;
    segment.closed = true;
    let lanes = scan.index.lanes.iter().cloned().zip(scan.index.summaries(|_| true)).collect();
    let overview = Overview { lanes, replaced: scan.index.replaced.clone() };
    let copies = scan.index.copies > 0;
    // Records that the footer's trailer counts and that are gone leave nothing behind them: the file may be cut there.
    let end = scan.end;
    segment.index = Some(scan.index);
    let mut gaps = scan.gaps;
    if !gaps.is_empty() {
        let acked = acked(disk, first, scan.salt, segment.count)?;
        gaps.retain_mut(|gap| gap.forget_acked(&acked));
    }
    Ok(Found { segment, overview, copies, gaps, scanned: true, end, bytes })
}

fn with_footer(trailer: &Trailer, overview: Overview, len: u64) -> Found {
    let mut segment = Segment::new(trailer.salt);
    segment.count = trailer.count;
    segment.bytes = len;
    segment.closed = true;
    let copies = trailer.copies > 0;
    Found { segment, overview, copies, gaps: Vec::new(), scanned: false, end: trailer.end, bytes: Vec::new() }
}

/// Takes out of a gap records that exist elsewhere, were replaced, or were never answered. False when that
/// leaves nothing to be told.
pub(super) fn forget_elsewhere(
    gap: &mut Gap,
    first: u64,
    view: &View,
    copies: &Copies,
    replaced: &HashSet<u64>,
    short_is_lost: bool,
) -> bool {
    gap.forget(|missing| {
        let own = first + u64::from(missing.number);
        let (stamp, short) = missing.known.as_ref().map_or((own, false), |known| (known.stamp, known.short));
        let elsewhere = copies.stamps.contains(&stamp) || replaced.contains(&stamp) || view.locate(stamp).is_some();
        // Where every write is synced before it is answered, one that is not whole was not.
        elsewhere || short && !short_is_lost
    }) && gap.is_loss()
}

/// What is known of a part of a segment that cannot be read: one for each record that is known, and one for the others.
pub(super) fn describe(disk: &dyn Disk, first: u64, gap: &Gap) -> Vec<Lost> {
    let unknown = Lost {
        file: disk.path(&segment_name(first)),
        offset: gap.offset,
        bytes: gap.len,
        records: None,
        seq: None,
        lane: None,
        items: None,
        quarantined: None,
    };
    let known = gap.missing.iter().filter_map(|missing| missing.known.as_ref()).map(|known| Lost {
        records: Some(1),
        seq: Some(Seq(known.stamp)),
        lane: Some(known.lane.clone()),
        items: Some(u64::from(known.items)),
        ..unknown.clone()
    });
    let mut lost: Vec<Lost> = known.collect();
    let others = gap.missing.len() - lost.len();
    if others > 0 || lost.is_empty() {
        let records = (gap.extent != Extent::Unreadable).then_some(others as u64);
        lost.push(Lost { records, ..unknown });
    }
    lost
}

/// The record numbers that a segment's ack file names; none without a file.
fn acked(disk: &dyn Disk, first: u64, salt: u64, count: u32) -> io::Result<Bitmap> {
    let bytes = match read_whole(disk, &ack_name(first)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    let mut acked = Bitmap::default();
    for (from, run) in decode_acks(salt, &bytes) {
        for number in from..from.saturating_add(run).min(count) {
            acked.insert(number);
        }
    }
    Ok(acked)
}

/// Takes out what a segment's ack file names.
pub(super) fn read_acks(shared: &Shared, first: u64) -> io::Result<()> {
    let Some((salt, count)) = shared.view().segments.get(&first).map(|s| (s.salt, s.count)) else { return Ok(()) };
    let acked = acked(&*shared.disk, first, salt, count)?;
    let positions = acked.runs(count).into_iter().flat_map(|(from, run)| from..from + run);
    let positions: Vec<Position> = positions.map(|number| Position { segment: first, number }).collect();
    if !positions.is_empty() {
        shared.with_indices(|view, indices| view.kill_positions(positions.clone(), indices))?;
    }
    Ok(())
}

/// Counts records that a scan did not find as dead, be it this time or before the segment got its footer. Before acks
/// are read: those may name such records, too.
pub(super) fn kill_lost(shared: &Shared) -> io::Result<()> {
    let found = |segment: &Segment| segment.lanes.iter().map(|(_, sums)| u64::from(sums.records)).sum::<u64>();
    let view = shared.view();
    let gappy = view.segments.iter().filter(|(_, segment)| found(segment) < u64::from(segment.count));
    let gappy: Vec<u64> = gappy.map(|(first, _)| *first).collect();
    drop(view);
    for first in gappy {
        shared.with_indices(|view, indices| {
            let Some(segment) = view.segments.get(&first) else { return Ok(()) };
            let index = indices.of(first, segment)?;
            let lost = numbered(index).filter(|(_, slot)| slot.kind == SlotKind::Lost);
            let lost: Vec<(u32, Slot)> = lost.map(|(number, slot)| (number, *slot)).collect();
            if let Some(segment) = view.segments.get_mut(&first) {
                for (number, slot) in lost {
                    segment.kill(number, &slot, None);
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn numbered(index: &Index) -> impl Iterator<Item = (u32, &Slot)> {
    index.slots.iter().enumerate().map(|(number, slot)| (number as u32, slot))
}

/// What is there of copies of earlier records.
pub(super) struct Copies {
    /// Where the others are of records that are there more than once.
    pub(super) originals: Vec<Position>,
    /// The stamps of all copies.
    stamps: HashSet<u64>,
}

/// Where a record and copies of it are there, because a crash came between copying and removing, the last copy counts.
pub(super) fn resolve_copies(shared: &Shared, segments: &[u64]) -> io::Result<Copies> {
    let mut last: HashMap<u64, Position> = HashMap::new();
    let mut superseded: HashSet<Position> = HashSet::new();
    for &first in segments {
        let copies: Vec<(u64, u32)> = shared.with_indices(|view, indices| {
            let Some(segment) = view.segments.get(&first) else { return Ok(Vec::new()) };
            let copied =
                |(number, slot): &(u32, &Slot)| slot.kind != SlotKind::Lost && slot.stamp != first + u64::from(*number);
            Ok(numbered(indices.of(first, segment)?)
                .filter(copied)
                .map(|(number, slot)| (slot.stamp, number))
                .collect())
        })?;
        for (stamp, number) in copies {
            let before = match last.insert(stamp, Position { segment: first, number }) {
                Some(position) => Some(position),
                None => shared.view().locate(stamp),
            };
            superseded.extend(before);
        }
    }
    let mut originals: Vec<Position> = superseded.into_iter().collect();
    originals.sort_unstable();
    shared.with_indices(|view, indices| view.kill_positions(originals.clone(), indices))?;
    let mut view = shared.view();
    for (&stamp, position) in &last {
        if view.segments.get(&position.segment).is_some_and(|segment| segment.is_live(position.number)) {
            view.moved.insert(stamp, position.segment + u64::from(position.number));
        }
    }
    Ok(Copies { originals, stamps: last.into_keys().collect() })
}
