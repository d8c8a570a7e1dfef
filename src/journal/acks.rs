//! The files beside the segments that say which records are acked.

use super::disk::DiskFile;
use super::format::{ACK_ENTRY, encode_ack};
use super::segment::runs;
use super::sync::Rounds;
use super::view::{Position, Shared, ack_name};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io::{self, IoSlice};
use std::sync::Arc;

/// Acks on their way to disk.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Record numbers to be written, by segment.
    waiting: BTreeMap<u64, Vec<u32>>,
    /// Acks that wait for a round of syncing, or for the record that replaced theirs to be acked as well.
    deferred: VecDeque<(u64, Vec<Superseded>)>,
    /// Files of segments that were removed, to go when a round is complete.
    obsolete: VecDeque<(u64, String)>,
}

/// A record that was superseded, by a copy of it or by a record that replaces it.
#[derive(Debug)]
pub(super) struct Superseded {
    pub(super) position: Position,
    /// The stamp of the record that superseded it.
    pub(super) by: u64,
}

impl Acks {
    pub(super) fn add(&mut self, positions: Vec<Position>) {
        for position in positions {
            self.waiting.entry(position.segment).or_default().push(position.number);
        }
    }

    /// Adds them when the round is complete.
    pub(super) fn defer(&mut self, round: u64, superseded: Vec<Superseded>) {
        self.deferred.push_back((round, superseded));
    }

    /// These records were acked. The records that they superseded need not wait until they are durable, nor should
    /// they: if their segment cannot be synced, a power failure may lose them and their acks, and keep the others.
    pub(super) fn release(&mut self, stamps: &[u64]) {
        if self.deferred.is_empty() {
            return;
        }
        let stamps: HashSet<u64> = stamps.iter().copied().collect();
        let out = |superseded: &mut Superseded| stamps.contains(&superseded.by);
        let due = self.deferred.iter_mut().flat_map(|(_, all)| all.extract_if(.., out));
        let due: Vec<Position> = due.map(|superseded| superseded.position).collect();
        self.add(due);
    }

    /// Whether an ack waits for a round.
    pub(super) fn is_deferred(&self, position: &Position) -> bool {
        self.deferred.iter().any(|(_, all)| all.iter().any(|superseded| superseded.position == *position))
    }

    /// A segment was removed: its acks need not be written, and their file goes when the round is complete.
    pub(super) fn forget(&mut self, segment: u64, round: u64, name: String) {
        self.waiting.remove(&segment);
        self.obsolete.push_back((round, name));
    }

    /// Whether everything due is written.
    pub(super) fn is_settled(&self) -> bool {
        self.waiting.is_empty() && self.deferred.is_empty() && self.obsolete.is_empty()
    }

    /// Writes the acks that are due. Those that cannot be written stay and are tried again.
    pub(super) fn write(&mut self, shared: &Shared, rounds: &mut Rounds) -> io::Result<()> {
        while let Some(all) = pop_due(&mut self.deferred, rounds) {
            self.add(all.into_iter().map(|superseded| superseded.position).collect());
        }
        while let Some(name) = pop_due(&mut self.obsolete, rounds) {
            rounds.removed(&name);
            // One that stays is removed by the next start.
            let _ = shared.disk.remove(&name);
        }
        while let Some(mut entry) = self.waiting.first_entry() {
            let segment = *entry.key();
            let salt = shared.view().segments.get(&segment).map(|state| state.salt);
            // Otherwise it was removed since, which made the acks of its copies due.
            if let Some(salt) = salt {
                // After a crash a segment may have the name of one that was lost.
                self.obsolete.retain(|(_, name)| *name != ack_name(segment));
                entry.get_mut().sort_unstable();
                let mut bytes = Vec::new();
                for (first, count) in runs(entry.get().iter().copied()) {
                    encode_ack(salt, first, count, &mut bytes);
                }
                append(shared, rounds, segment, &bytes)?;
            }
            entry.remove();
        }
        Ok(())
    }
}

/// The first in the queue, if its round is complete.
fn pop_due<T>(queue: &mut VecDeque<(u64, T)>, rounds: &Rounds) -> Option<T> {
    if rounds.is_done(queue.front()?.0) { queue.pop_front().map(|(_, due)| due) } else { None }
}

/// Appends entries to a segment's ack file: all or nothing.
fn append(shared: &Shared, rounds: &mut Rounds, segment: u64, entries: &[u8]) -> io::Result<()> {
    let name = ack_name(segment);
    let file: Arc<dyn DiskFile> = match rounds.file(&name) {
        Some(file) => file,
        None => shared.disk.open_or_create(&name)?,
    };
    let len = file.len()?;
    if len == 0 {
        rounds.dir_changed();
    }
    let whole = len - len % ACK_ENTRY as u64;
    if whole != len {
        file.truncate(whole)?;
    }
    if let Err(error) = file.append(&mut [IoSlice::new(entries)]) {
        // If that fails, too, the next attempt does it.
        let _ = file.truncate(whole);
        return Err(error);
    }
    rounds.written(name, &file, 0);
    Ok(())
}
