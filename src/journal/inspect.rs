//! Read-only inspection of a journal.

use super::disk::{Disk, RealDisk};
use super::entry::{Backlog, Lost};
use super::fetch::{Damaged, Wanted, fetch};
use super::index::SlotKind;
use super::open::{CannotOpen, describe, find, forget_elsewhere, kill_lost, read_acks, resolve_copies};
use super::options::{Figures, OpenError};
use super::scan::Extent;
use super::view::{Position, Shared, View, parse_name, segment_name};
use bytes::Bytes;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of records that verification reads at a time.
const PIECE: u64 = 4 << 20;

/// What a journal holds.
#[derive(Debug)]
pub struct Inspection {
    /// Whether a process has it open, so that it was changing meanwhile.
    pub in_use: bool,
    /// Totals.
    pub figures: Figures,
    /// The segments in the order of the log.
    pub segments: Vec<InspectedSegment>,
    /// The lanes with live records.
    pub lanes: Vec<(Bytes, Backlog)>,
    /// Bytes of incomplete writes that a crash left at the end of segments.
    pub torn_bytes: u64,
    /// What cannot be read, acked records included.
    pub damaged: Vec<Lost>,
}

/// One segment file.
#[derive(Debug)]
pub struct InspectedSegment {
    /// The path of the file.
    pub path: PathBuf,
    /// The sequence number of its first record.
    pub first: u64,
    /// How many records it has.
    pub records: u32,
    /// How many of them are live.
    pub live: u32,
    /// Its length in bytes.
    pub bytes: u64,
    /// Bytes of live records.
    pub live_bytes: u64,
    /// Closed in order, with a footer.
    pub closed: bool,
}

/// While a process has the journal open, segments are removed between being found and being read; another look tells.
const ATTEMPTS: usize = 8;

/// Inspects the journal in a directory; with `verify`, reads every record and checks it. Takes no lock: a process may
/// have the journal open.
///
/// # Errors
/// See [`OpenError`]. Damage is no error.
pub fn inspect(dir: &Path, verify: bool) -> Result<Inspection, OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::unlocked(dir));
    let mut attempts = 0;
    loop {
        let in_use = RealDisk::is_in_use(dir);
        return match look(&disk, verify, in_use) {
            Ok(inspection) => Ok(inspection),
            Err(CannotOpen::Newer { file, version }) => Err(OpenError::Newer { path: file, version }),
            Err(CannotOpen::Io(error)) if in_use && error.kind() == io::ErrorKind::NotFound && attempts < ATTEMPTS => {
                attempts += 1;
                continue;
            }
            Err(CannotOpen::Io(source)) => Err(OpenError::Io { path: dir.into(), source }),
        };
    }
}

fn look(disk: &Arc<dyn Disk>, verify: bool, in_use: bool) -> Result<Inspection, CannotOpen> {
    let (shared, torn_bytes, mut damaged) = load(disk.clone(), in_use)?;
    if verify {
        let firsts: Vec<u64> = shared.view().segments.keys().copied().collect();
        for first in firsts {
            match unreadable(&shared, first) {
                // Nothing of it was live any more.
                Err(error) if in_use && error.kind() == io::ErrorKind::NotFound => {}
                found => damaged.extend(found?),
            }
        }
    }
    let view = shared.view();
    let segments = view.segments.iter().map(|(&first, segment)| InspectedSegment {
        path: shared.disk.path(&segment_name(first)),
        first,
        records: segment.count,
        live: segment.count - segment.dead,
        bytes: segment.bytes,
        live_bytes: segment.live_bytes,
        closed: segment.index.is_none(),
    });
    let (segments, mut lanes) = (segments.collect(), view.backlogs());
    lanes.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(Inspection { in_use, figures: view.figures(), segments, lanes, torn_bytes, damaged })
}

/// What opening would find, with nothing changed on disk.
fn load(disk: Arc<dyn Disk>, in_use: bool) -> Result<(Shared, u64, Vec<Lost>), CannotOpen> {
    let (mut view, mut torn_bytes) = (View::default(), 0);
    let (mut with_copies, mut replaced, mut gaps) = (Vec::new(), HashSet::new(), Vec::new());
    let names = disk.list("")?;
    let mut firsts: Vec<u64> = names.iter().filter_map(|(name, _)| parse_name(name, ".seg")).collect();
    firsts.sort_unstable();
    for first in firsts {
        let mut found = match find(&*disk, first) {
            // Removed by a process that has the journal open.
            Err(CannotOpen::Io(error)) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found?,
        };
        for gap in found.gaps {
            let torn = gap.extent == Extent::Torn;
            torn_bytes += if torn { gap.len } else { 0 };
            // What has no end in a journal in use is being written.
            if gap.is_loss() && !(torn && in_use) {
                gaps.push((first, gap));
            }
        }
        let lanes: Vec<_> = found.overview.lanes.iter().map(|(lane, sums)| (view.names.intern(lane), *sums)).collect();
        found.segment.set_lanes(lanes.into_iter());
        if found.copies {
            with_copies.push(first);
        }
        replaced.extend(found.overview.replaced);
        view.segments.insert(first, found.segment);
    }
    let shared = Shared::new(disk, view);
    kill_lost(&shared)?;
    for first in names.iter().filter_map(|(name, _)| parse_name(name, ".ack")) {
        match read_acks(&shared, first) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => read?,
        }
    }
    let copies = resolve_copies(&shared, &with_copies)?;
    let mut damaged = Vec::new();
    for (first, mut gap) in gaps {
        if forget_elsewhere(&mut gap, first, &shared.view(), &copies, &replaced, true) {
            damaged.extend(describe(&*shared.disk, first, &gap));
        }
    }
    let replaced: Vec<u64> = replaced.into_iter().collect();
    shared.with_indices(|view, indices| view.kill(&replaced, indices))?;
    Ok((shared, torn_bytes, damaged))
}

/// The records of a segment that are there and cannot be read.
fn unreadable(shared: &Shared, first: u64) -> io::Result<Vec<Lost>> {
    let (mut from, mut damaged) = (0, Vec::new());
    loop {
        let wanted = shared.with_indices(|view, indices| {
            let Some(segment) = view.segments.get(&first) else { return Ok(Vec::new()) };
            let index = indices.of(first, segment)?;
            let (mut wanted, mut bytes) = (Vec::new(), 0);
            for (number, slot) in (0..).zip(&index.slots).skip(from).filter(|(_, slot)| slot.kind != SlotKind::Lost) {
                bytes += u64::from(slot.len);
                if bytes > PIECE && !wanted.is_empty() {
                    break;
                }
                let lane = index.lanes.get(slot.lane as usize).cloned().unwrap_or_default();
                wanted.push(Wanted {
                    position: Position { segment: first, number },
                    slot: *slot,
                    lane,
                    salt: segment.salt,
                });
            }
            Ok(wanted)
        })?;
        let Some(last) = wanted.last() else { return Ok(damaged) };
        from = last.position.number as usize + 1;
        damaged.extend(fetch(&*shared.disk, &wanted, Damaged::Tell)?.1);
    }
}
