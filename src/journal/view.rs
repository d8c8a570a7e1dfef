//! The shared view of the log: its segments and their live records. The committer changes it in short, atomic steps;
//! readers look at it in between.

use super::disk::Disk;
use super::entry::{Backlog, Seq};
use super::format::{Bad, MAX_FIRST};
use super::index::{Index, Slot, SlotKind, Summary, TRAILER, Trailer};
use super::metrics::JournalMetrics;
use super::options::Figures;
use super::quarantine::is_media;
use super::scan::scan;
use super::segment::{LaneId, LaneNames, Segment};
use crate::types::UnixMillis;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The size of the cache of decoded footers, in bytes.
const CACHE_BYTES: usize = 32 << 20;

/// The log's state, and the disk that it is on.
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) metrics: JournalMetrics,
    view: Mutex<View>,
    /// Held while a footer is read, so that many readers of the same segment read it once. Several, by segment: one that
    /// waits for the disk does not keep all others waiting.
    footers: [Mutex<()>; 16],
}

impl Shared {
    pub(super) fn new(disk: Arc<dyn Disk>, view: View) -> Self {
        Self { disk, metrics: JournalMetrics::default(), view: Mutex::new(view), footers: Default::default() }
    }

    pub(super) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `then` with the view until it finds every index that it asks for; those that are missing are read in
    /// between, with the view unlocked.
    pub(super) fn with_indices<T>(
        &self,
        mut then: impl FnMut(&mut View, &Indices) -> Result<T, Missing>,
    ) -> io::Result<T> {
        let mut indices = Indices::default();
        loop {
            let Missing(first) = match then(&mut self.view(), &indices) {
                Ok(done) => return Ok(done),
                Err(missing) => missing,
            };
            let _reading =
                self.footers[first as usize % self.footers.len()].lock().unwrap_or_else(PoisonError::into_inner);
            let cached = self.view().cache.get(first);
            let index = match cached {
                Some(index) => index,
                None => {
                    let index = Arc::new(read_index(&*self.disk, first)?);
                    self.view().cache.put(first, index.clone());
                    index
                }
            };
            indices.0.insert(first, index);
        }
    }
}

/// Indices of closed segments that were read for one purpose.
#[derive(Debug, Default, Clone)]
pub(super) struct Indices(HashMap<u64, Arc<Index>>);

impl Indices {
    /// The index of a segment, which is in memory or must be read first.
    pub(super) fn of<'a>(&'a self, first: u64, segment: &'a Segment) -> Result<&'a Index, Missing> {
        segment.index.as_ref().or_else(|| self.0.get(&first).map(|index| &**index)).ok_or(Missing(first))
    }
}

/// The index of this segment must be read first.
#[derive(Debug)]
pub(super) struct Missing(u64);

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Position {
    /// The segment, by the sequence number of its first record.
    pub(super) segment: u64,
    pub(super) number: u32,
}

/// The contents of the log.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) segments: BTreeMap<u64, Segment>,
    pub(super) names: LaneNames,
    /// Where live records are that were copied forward: stamp to sequence number.
    pub(super) moved: HashMap<u64, u64>,
    /// The next record's sequence number.
    pub(super) next: u64,
    cache: IndexCache,
}

impl View {
    /// Where the live record of this stamp is.
    pub(super) fn locate(&self, stamp: u64) -> Option<Position> {
        let seq = self.moved.get(&stamp).copied().unwrap_or(stamp);
        let (&segment, state) = self.segments.range(..=seq).next_back()?;
        let number = u32::try_from(seq - segment).ok()?;
        state.is_live(number).then_some(Position { segment, number })
    }

    /// Those of these stamps that are of live records, in groups of one segment each.
    pub(super) fn by_segment(&self, stamps: &[u64]) -> Vec<Vec<u64>> {
        let mut groups: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for stamp in stamps {
            if let Some(position) = self.locate(*stamp) {
                groups.entry(position.segment).or_default().push(*stamp);
            }
        }
        groups.into_values().collect()
    }

    /// Takes these records out of the live ones, and returns the positions of those that were live.
    pub(super) fn kill(&mut self, stamps: &[u64], indices: &Indices) -> Result<Vec<Position>, Missing> {
        let mut positions: Vec<Position> = stamps.iter().filter_map(|stamp| self.locate(*stamp)).collect();
        positions.sort_unstable();
        positions.dedup();
        let positions = self.kill_positions(positions, indices)?;
        for stamp in stamps {
            self.moved.remove(stamp);
        }
        Ok(positions)
    }

    /// Takes the records at these positions out of the live ones, and returns those that were live.
    pub(super) fn kill_positions(
        &mut self,
        mut positions: Vec<Position>,
        indices: &Indices,
    ) -> Result<Vec<Position>, Missing> {
        // All indices are there before anything is changed.
        let mut before = None;
        for position in &positions {
            if before.replace(position.segment) != Some(position.segment)
                && let Some(segment) = self.segments.get(&position.segment)
            {
                indices.of(position.segment, segment)?;
            }
        }
        let Self { segments, names, .. } = self;
        positions.retain(|position| {
            let Some(segment) = segments.get_mut(&position.segment) else { return false };
            let Ok(index) = indices.of(position.segment, segment) else { return false };
            let Some(slot) = index.slots.get(position.number as usize).copied() else { return false };
            let lane = index.lanes.get(slot.lane as usize).and_then(|lane| names.get(lane));
            segment.kill(position.number, &slot, lane)
        });
        Ok(positions)
    }

    /// Counts a record that was written to a segment whose index is in memory.
    pub(super) fn add(&mut self, segment: u64, slot: &Slot, lane: &[u8]) {
        let lane = self.names.intern(lane);
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.add(slot, lane);
        }
    }

    /// The segments with live records of a lane: their first sequence number, and what they hold of it.
    pub(super) fn holding(&self, lane: LaneId) -> impl Iterator<Item = (u64, &Summary)> {
        self.segments.iter().filter_map(move |(first, segment)| {
            segment.lane(lane).filter(|summary| summary.records > 0).map(|summary| (*first, summary))
        })
    }

    /// The live records of a segment, in the order of their numbers.
    pub(super) fn live<'a>(segment: &'a Segment, index: &'a Index) -> impl Iterator<Item = (u32, &'a Slot)> {
        let numbered = index.slots.iter().enumerate().map(|(number, slot)| (number as u32, slot));
        numbered.filter(|(number, slot)| slot.kind != SlotKind::Lost && segment.is_live(*number))
    }

    /// The sum of a lane's live records.
    pub(super) fn backlog(&self, lane: &[u8]) -> Option<Backlog> {
        let mut sum: Option<Backlog> = None;
        for (_, summary) in self.holding(self.names.get(lane)?) {
            add_up(&mut sum, summary);
        }
        sum
    }

    /// The same of all lanes that have live records.
    pub(super) fn backlogs(&self) -> Vec<(Bytes, Backlog)> {
        let mut sums: HashMap<LaneId, Option<Backlog>> = HashMap::new();
        for (id, summary) in self.segments.values().flat_map(|segment| &segment.lanes) {
            if summary.records > 0 {
                add_up(sums.entry(*id).or_default(), summary);
            }
        }
        let backlog = |(id, key): (LaneId, &Bytes)| Some((key.clone(), (*sums.get(&id)?)?));
        let mut all: Vec<_> = self.names.iter().filter_map(backlog).collect();
        all.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        all
    }

    /// The next record's sequence number.
    pub(super) fn next_seq(&self) -> Seq {
        Seq(self.next)
    }

    /// Totals of the log.
    pub(super) fn figures(&self) -> Figures {
        let mut figures = Figures { segments: self.segments.len(), memory: self.memory(), ..Figures::default() };
        for segment in self.segments.values() {
            figures.bytes += segment.bytes;
            figures.live_bytes += segment.live_bytes;
            figures.records += u64::from(segment.count - segment.dead);
        }
        figures
    }

    /// Forgets a segment.
    pub(super) fn remove(&mut self, first: u64) {
        self.segments.remove(&first);
        self.cache.remove(first);
    }

    /// Bytes of memory, roughly.
    pub(super) fn memory(&self) -> usize {
        let segments: usize = self.segments.values().map(Segment::memory).sum();
        segments + self.moved.capacity() * 17 + self.cache.bytes
    }
}

fn add_up(sum: &mut Option<Backlog>, summary: &Summary) {
    let sum = sum.get_or_insert(Backlog { records: 0, items: 0, bytes: 0, oldest: UnixMillis(i64::MAX) });
    sum.records += u64::from(summary.records);
    sum.items += summary.items;
    sum.bytes += summary.bytes;
    sum.oldest = sum.oldest.min(UnixMillis(summary.oldest));
}

/// The name of a segment's file.
pub(super) fn segment_name(first: u64) -> String {
    format!("{first:016x}.seg")
}

/// The name of the file with a segment's acks.
pub(super) fn ack_name(first: u64) -> String {
    format!("{first:016x}.ack")
}

/// The segment or ack file that a name is of.
pub(super) fn parse_name<'a>(name: &'a str, extension: &str) -> Option<u64> {
    let stem: &'a str = name.strip_suffix(extension)?;
    if stem.len() == 16 { u64::from_str_radix(stem, 16).ok().filter(|first| *first <= MAX_FIRST) } else { None }
}

/// Reads the trailer and the footer of a segment; `None` if they are not sound.
pub(super) fn read_footer(disk: &dyn Disk, first: u64) -> io::Result<Option<(Trailer, Vec<u8>, u64)>> {
    match try_footer(disk, first) {
        Err(error) if is_media(&error) => Ok(None),
        read => read,
    }
}

fn try_footer(disk: &dyn Disk, first: u64) -> io::Result<Option<(Trailer, Vec<u8>, u64)>> {
    let file = disk.open(&segment_name(first))?;
    let len = file.len()?;
    let Some(at) = len.checked_sub(TRAILER as u64) else { return Ok(None) };
    let mut trailer = [0; TRAILER];
    file.read_at(&mut trailer, at)?;
    let Ok(trailer) = Trailer::decode(&trailer) else { return Ok(None) };
    let Some(begin) = at.checked_sub(trailer.footer_len() as u64) else { return Ok(None) };
    if trailer.first != first || trailer.end != begin {
        return Ok(None);
    }
    let mut footer = vec![0; trailer.footer_len()];
    file.read_at(&mut footer, begin)?;
    Ok(Some((trailer, footer, len)))
}

/// Reads a segment's index from its footer, or, where that is damaged, from its records.
fn read_index(disk: &dyn Disk, first: u64) -> io::Result<Index> {
    if let Some((trailer, footer, _)) = read_footer(disk, first)?
        && let Ok(index) = trailer.index(&footer)
    {
        return Ok(index);
    }
    let bytes = read_whole(disk, &segment_name(first))?;
    scan(&bytes, first).map(|scan| scan.index).map_err(|bad| match bad {
        Bad::Newer(_) | Bad::Corrupt | Bad::Short => io::ErrorKind::InvalidData.into(),
    })
}

/// Reads a whole file. Unreadable parts are zeros.
pub(super) fn read_whole(disk: &dyn Disk, name: &str) -> io::Result<Vec<u8>> {
    /// The smallest unit that a medium loses.
    const BLOCK: usize = 4096;
    let file = disk.open(name)?;
    let mut bytes = vec![0; file.len()? as usize];
    match file.read_at(&mut bytes, 0) {
        Err(error) if is_media(&error) => {}
        read => return read.map(|()| bytes),
    }
    for (at, block) in (0..).step_by(BLOCK).zip(bytes.chunks_mut(BLOCK)) {
        match file.read_at(block, at) {
            Err(error) if is_media(&error) => block.fill(0),
            read => read?,
        }
    }
    Ok(bytes)
}

/// The indices used last.
#[derive(Debug, Default)]
struct IndexCache {
    /// The one used last is at the back.
    entries: VecDeque<(u64, Arc<Index>)>,
    bytes: usize,
}

impl IndexCache {
    fn get(&mut self, first: u64) -> Option<Arc<Index>> {
        let at = self.entries.iter().position(|(key, _)| *key == first)?;
        let entry = self.entries.remove(at)?;
        let index = entry.1.clone();
        self.entries.push_back(entry);
        Some(index)
    }

    fn put(&mut self, first: u64, index: Arc<Index>) {
        self.remove(first);
        self.bytes += index.memory();
        self.entries.push_back((first, index));
        while self.bytes > CACHE_BYTES && self.entries.len() > 1 {
            if let Some((_, index)) = self.entries.pop_front() {
                self.bytes -= index.memory();
            }
        }
    }

    fn remove(&mut self, first: u64) {
        if let Some(at) = self.entries.iter().position(|(key, _)| *key == first)
            && let Some((_, index)) = self.entries.remove(at)
        {
            self.bytes -= index.memory();
        }
    }
}
