//! Copying live records to the end of the log: to free the space of segments that few records keep alive, and to get
//! away from a file that could not be synced.

use super::entry::Draft;
use super::fetch::{Damaged, Fetched, Wanted, fetch};
use super::log::Log;
use super::sync::RoundResult;
use super::view::{Indices, Missing, Position, View, parse_name};
use std::io;

/// The size of a group of copies, in bytes.
const GROUP_BYTES: u64 = 4 << 20;

impl Log {
    /// Frees the segment with the fewest live bytes, if more than half of the log is dead and at most a quarter of that
    /// segment is live. True if there was one.
    pub(super) fn clean(&mut self) -> io::Result<bool> {
        let Some(victim) = self.victim() else { return Ok(false) };
        self.copy_forward(victim, 0)?;
        Ok(true)
    }

    fn victim(&self) -> Option<u64> {
        let view = self.shared.view();
        let (mut bytes, mut live) = (0, 0);
        for segment in view.segments.values() {
            // Segments without live records are removed elsewhere.
            if !segment.is_dead() {
                bytes += segment.bytes;
                live += segment.live_bytes;
            }
        }
        if bytes <= 2 * live + 2 * self.options.segment_bytes {
            return None;
        }
        let eligible = view.segments.iter().filter(|(_, segment)| {
            segment.closed
                && !segment.is_dead()
                && segment.index.is_none()
                && segment.live_bytes <= segment.bytes / 4
                && self.rounds.is_done(segment.hold_until)
        });
        eligible.min_by_key(|(_, segment)| segment.live_bytes).map(|(first, _)| *first)
    }

    /// Takes note of a round of syncing. A segment that could not be synced is closed, and what was not durable in it
    /// is written to a new one: a second sync of the same file would say that all is well when it is not.
    pub(super) fn complete(&mut self, result: RoundResult) -> io::Result<()> {
        let Err(failed) = self.rounds.complete(result) else { return Ok(()) };
        for (name, from) in failed.files {
            if let Some(first) = parse_name(&name, ".seg") {
                self.close_doubtful(first);
                self.doubtful.push((first, from));
                self.rounds.doubtful = true;
            } else if let Some(first) = parse_name(&name, ".ack") {
                self.rewrite_acks(first);
            }
        }
        Err(failed.error)
    }

    /// Has all acks of a segment written again.
    fn rewrite_acks(&mut self, first: u64) {
        let view = self.shared.view();
        if let Some(segment) = view.segments.get(&first) {
            let positions = (0..segment.count).filter(|number| segment.acked.contains(*number));
            let positions = positions.map(|number| Position { segment: first, number });
            // The records that replaced them may not be durable yet.
            self.acks.add(positions.filter(|position| !self.acks.is_deferred(position)).collect());
        }
    }

    /// Writes records that may not be durable to a new segment.
    pub(super) fn rescue(&mut self) -> io::Result<()> {
        while let Some(&(first, from)) = self.doubtful.last() {
            self.copy_forward(first, from)?;
            self.doubtful.pop();
        }
        self.rounds.doubtful = false;
        Ok(())
    }

    /// Copies the live records of a segment, from a number on.
    fn copy_forward(&mut self, first: u64, from: u32) -> io::Result<()> {
        loop {
            let shared = self.shared.clone();
            let mut held = Indices::default();
            let wanted = shared.with_indices(|view, indices| {
                let wanted = want_live(view, indices, first, from)?;
                held = indices.clone();
                Ok(wanted)
            })?;
            if wanted.is_empty() {
                return Ok(());
            }
            let (fetched, lost) = fetch(&*shared.disk, &wanted, Damaged::Quarantine)?;
            if !lost.is_empty() {
                self.ack(lost.iter().filter_map(|lost| lost.seq).map(|seq| seq.0).collect());
                self.lost.extend(lost);
            }
            if fetched.is_empty() {
                continue;
            }
            let positions: Vec<Position> = fetched.iter().map(|fetched| fetched.position).collect();
            let drafts: Vec<Draft> = fetched.into_iter().map(Fetched::copy).collect();
            self.commit_copies(&drafts, &positions, &held)?;
        }
    }
}

/// The first live records of a segment from a number on, in the order of their numbers.
fn want_live(view: &mut View, indices: &Indices, first: u64, from: u32) -> Result<Vec<Wanted>, Missing> {
    let Some(segment) = view.segments.get(&first) else { return Ok(Vec::new()) };
    let index = indices.of(first, segment)?;
    let (mut wanted, mut bytes) = (Vec::new(), 0);
    for (number, slot) in View::live(segment, index).filter(|(number, _)| *number >= from) {
        bytes += u64::from(slot.len);
        if bytes > GROUP_BYTES && !wanted.is_empty() {
            break;
        }
        let lane = index.lanes.get(slot.lane as usize).cloned().unwrap_or_default();
        wanted.push(Wanted { position: Position { segment: first, number }, slot: *slot, lane, salt: segment.salt });
    }
    Ok(wanted)
}
