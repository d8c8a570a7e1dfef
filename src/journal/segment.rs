//! A segment's state in memory: sums for each lane, and the set of acked records. No entry for each record.

use super::index::{Index, Slot, Summary};
use bytes::Bytes;
use std::collections::HashMap;

/// A set of record numbers, of which nothing is allocated until the first is put in.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Bitmap(Vec<u64>);

impl Bitmap {
    pub(super) fn contains(&self, number: u32) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// False when it was in already.
    pub(super) fn insert(&mut self, number: u32) -> bool {
        let word = number as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let bit = 1 << (number % 64);
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    /// The runs of numbers that are in: first and count.
    pub(super) fn runs(&self, count: u32) -> Vec<(u32, u32)> {
        runs((0..count).filter(|number| self.contains(*number)))
    }

    pub(super) fn memory(&self) -> usize {
        self.0.capacity() * 8
    }
}

/// Ascending numbers as runs: first and count.
pub(super) fn runs(numbers: impl IntoIterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == number => *count += 1,
            _ => runs.push((number, 1)),
        }
    }
    runs
}

/// A lane's index in [`LaneNames`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LaneId(u32);

/// The keys of lanes, each kept once.
#[derive(Debug, Default)]
pub(super) struct LaneNames {
    ids: HashMap<Bytes, LaneId>,
    keys: Vec<Bytes>,
}

impl LaneNames {
    pub(super) fn get(&self, key: &[u8]) -> Option<LaneId> {
        self.ids.get(key).copied()
    }

    pub(super) fn intern(&mut self, key: &[u8]) -> LaneId {
        if let Some(id) = self.get(key) {
            return id;
        }
        let (id, key) = (LaneId(self.keys.len() as u32), Bytes::copy_from_slice(key));
        self.keys.push(key.clone());
        self.ids.insert(key, id);
        id
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LaneId, &Bytes)> {
        self.keys.iter().enumerate().map(|(id, key)| (LaneId(id as u32), key))
    }
}

/// A segment of the log.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) salt: u64,
    /// How many records were written, lost and acked ones included.
    pub(super) count: u32,
    /// The file's length.
    pub(super) bytes: u64,
    /// How many records are acked or lost.
    pub(super) dead: u32,
    /// Bytes of live records.
    pub(super) live_bytes: u64,
    pub(super) acked: Bitmap,
    /// Sums of live records, by lane.
    pub(super) lanes: Vec<(LaneId, Summary)>,
    /// The records, for as long as they are not in a footer.
    pub(super) index: Option<Index>,
    /// It may be removed when so many rounds of syncing are complete: see `docs/decisions/journal.md`.
    pub(super) hold_until: u64,
    /// No record will be added.
    pub(super) closed: bool,
}

impl Segment {
    pub(super) fn new(salt: u64) -> Self {
        Self {
            salt,
            count: 0,
            bytes: 0,
            dead: 0,
            live_bytes: 0,
            acked: Bitmap::default(),
            lanes: Vec::new(),
            index: None,
            hold_until: 0,
            closed: false,
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead >= self.count
    }

    pub(super) fn is_live(&self, number: u32) -> bool {
        number < self.count && !self.acked.contains(number)
    }

    pub(super) fn lane(&self, id: LaneId) -> Option<&Summary> {
        let found = self.lanes.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(&self.lanes[found].1)
    }

    fn lane_mut(&mut self, id: LaneId) -> &mut Summary {
        let at = match self.lanes.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => at,
            Err(at) => {
                self.lanes.insert(at, (id, Summary::EMPTY));
                at
            }
        };
        &mut self.lanes[at].1
    }

    /// Counts one more record.
    pub(super) fn add(&mut self, slot: &Slot, lane: LaneId) {
        self.count += 1;
        self.live_bytes += u64::from(slot.len);
        self.lane_mut(lane).add(slot);
    }

    /// Marks a record as acked. False when it was already.
    pub(super) fn kill(&mut self, number: u32, slot: &Slot, lane: Option<LaneId>) -> bool {
        let new = number < self.count && self.acked.insert(number);
        if new {
            self.dead += 1;
            self.live_bytes = self.live_bytes.saturating_sub(u64::from(slot.len));
            if let Some(lane) = lane {
                self.lane_mut(lane).remove(slot);
            }
        }
        new
    }

    /// Takes what is live from the footer's sums, acked records not considered.
    pub(super) fn set_lanes(&mut self, lanes: impl Iterator<Item = (LaneId, Summary)>) {
        self.lanes = lanes.collect();
        self.live_bytes = self.lanes.iter().map(|(_, summary)| summary.bytes).sum();
        self.lanes.sort_unstable_by_key(|(id, _)| *id);
    }

    /// Bytes of memory, roughly.
    pub(super) fn memory(&self) -> usize {
        let index = self.index.as_ref().map_or(0, Index::memory);
        size_of::<Self>() + self.acked.memory() + self.lanes.capacity() * size_of::<(LaneId, Summary)>() + index
    }
}
