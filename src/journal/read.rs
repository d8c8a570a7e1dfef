//! Reading a lane's backlog in the order of acceptance, a piece at a time.

use super::entry::{Lost, Record, Seq};
use super::fetch::{Damaged, Wanted, fetch};
use super::index::SlotKind;
use super::view::{Indices, Missing, Shared, View};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;

/// The most records that a reader knows in advance.
const WINDOW: usize = 16 << 10;

/// The most segments that a piece is read from. While it is looked for, the indices of all are in memory, and with
/// small records an index takes a tenth of its segment's size.
const SEGMENTS: usize = 2;

/// A segment may be removed or cleaned between a look at it and its being opened; another look tells.
const ATTEMPTS: usize = 8;

/// Where the reading of a lane has got to. Holds no file and no lock; may be kept for as long as one likes.
#[derive(Debug, Clone)]
pub struct Reader {
    lane: Bytes,
    /// Everything before this has been read.
    from: u64,
    to: u64,
    /// Stamps of the next records.
    window: VecDeque<u64>,
}

/// A piece of a lane's backlog.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order of acceptance.
    pub records: Vec<Record>,
    /// Records that should be among them and cannot be read. They are out of the journal already.
    pub lost: Vec<Lost>,
    /// Nothing else was live in the reader's range.
    pub end: bool,
}

impl Reader {
    /// A reader of the live records of a lane with these sequence numbers. Records that are appended later and fall
    /// in the range are read, too.
    pub fn new(lane: Bytes, range: Range<Seq>) -> Self {
        Self { lane, from: range.start.0, to: range.end.0, window: VecDeque::new() }
    }

    /// The key of its lane.
    pub fn lane(&self) -> &Bytes {
        &self.lane
    }

    /// All live records before this one were read.
    pub fn position(&self) -> Seq {
        Seq(self.window.front().copied().unwrap_or(self.from))
    }

    /// Reads on: at least one record if there is one, and then up to `max_bytes`.
    pub(super) fn read(&mut self, shared: &Shared, max_bytes: u64) -> io::Result<Batch> {
        let mut attempts = 0;
        loop {
            match self.attempt(shared, max_bytes) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempts < ATTEMPTS => attempts += 1,
                read => return read,
            }
        }
    }

    fn attempt(&mut self, shared: &Shared, max_bytes: u64) -> io::Result<Batch> {
        loop {
            if self.window.is_empty() && !shared.with_indices(|view, indices| self.look_ahead(view, indices))? {
                return Ok(Batch { end: true, ..Batch::default() });
            }
            let (taken, wanted) = shared.with_indices(|view, indices| self.plan(view, indices, max_bytes))?;
            if !wanted.is_empty() {
                let (fetched, lost) = fetch(&*shared.disk, &wanted, Damaged::Quarantine)?;
                self.window.drain(..taken);
                let records = fetched.into_iter().map(|fetched| fetched.record).collect();
                return Ok(Batch { records, lost, end: false });
            }
            // All records of the window have been acked meanwhile.
            self.window.drain(..taken);
        }
    }

    /// Fills the window with the next live records' stamps. False if there are none.
    ///
    /// Records are in their segments in order, except copies, which are in later segments than their stamps say: the
    /// window ends where the first of the segments that overlap in it does, so what it holds is complete.
    fn look_ahead(&mut self, view: &mut View, indices: &Indices) -> Result<bool, Missing> {
        let Some(lane) = view.names.get(&self.lane) else { return Ok(false) };
        let mut found: Vec<(u64, u64, u64)> = view
            .holding(lane)
            .filter(|(_, summary)| summary.max_stamp >= self.from && summary.min_stamp < self.to)
            .map(|(first, summary)| (summary.min_stamp.max(self.from), summary.max_stamp, first))
            .collect();
        found.sort_unstable();
        let Some(&(_, mut last, _)) = found.first() else { return Ok(false) };
        for &(min, max, _) in &found {
            if min <= last {
                last = last.min(max);
            }
        }
        let mut window = Vec::new();
        for &(_, _, first) in found.iter().filter(|(min, ..)| *min <= last) {
            let Some(segment) = view.segments.get(&first) else { continue };
            let index = indices.of(first, segment)?;
            let Some(lane) = index.lanes.iter().position(|key| *key == self.lane) else { continue };
            let range = self.from..=last.min(self.to.saturating_sub(1));
            let of_lane = (0..).zip(&index.slots).filter(|(_, slot)| slot.lane == lane as u32);
            let live = of_lane.filter(|(number, _)| segment.is_live(*number));
            window.extend(live.map(|(_, slot)| slot.stamp).filter(|stamp| range.contains(stamp)));
        }
        window.sort_unstable();
        if window.len() > WINDOW {
            window.truncate(WINDOW);
            last = window[WINDOW - 1];
        }
        self.from = last.saturating_add(1);
        self.window = window.into();
        if self.window.is_empty() { self.look_ahead(view, indices) } else { Ok(true) }
    }

    /// Where the next records are, and how many of the window that makes.
    fn plan(&self, view: &mut View, indices: &Indices, max_bytes: u64) -> Result<(usize, Vec<Wanted>), Missing> {
        let (mut wanted, mut bytes, mut taken) = (Vec::new(), 0, 0);
        let mut segments = Vec::with_capacity(SEGMENTS);
        for stamp in &self.window {
            let position = view.locate(*stamp);
            if let Some(position) = position
                && let Some(segment) = view.segments.get(&position.segment)
            {
                if !segments.contains(&position.segment) {
                    if segments.len() == SEGMENTS {
                        break;
                    }
                    segments.push(position.segment);
                }
                let index = indices.of(position.segment, segment)?;
                let slot = index.slots.get(position.number as usize).filter(|slot| slot.kind != SlotKind::Lost);
                if let Some(slot) = slot {
                    bytes += u64::from(slot.len);
                    if bytes > max_bytes && !wanted.is_empty() {
                        break;
                    }
                    wanted.push(Wanted { position, slot: *slot, lane: self.lane.clone(), salt: segment.salt });
                }
            }
            taken += 1;
        }
        Ok((taken, wanted))
    }
}
