//! The log as a state machine over a disk: no threads, no clock. Everything that changes the log is here and in
//! [`clean`](super::clean); the committer thread is its only user.

use super::acks::{Acks, Superseded};
use super::disk::DiskFile;
use super::entry::{Draft, Lost};
use super::format::{SEGMENT_HEADER, SegmentHeader};
use super::options::{Fsync, Options};
use super::segment::Segment;
use super::sync::Rounds;
use super::view::{Indices, Position, Shared, View, ack_name, segment_name};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::HashSet;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// The step in which space for a segment is reserved: writing costs less CPU then, and the file has few extents. Small
/// enough that a nearly empty journal takes little space.
const RESERVE: u64 = 8 << 20;

/// How the log works.
#[derive(Debug, Clone)]
pub(super) struct LogOptions {
    /// A group is synced before it counts as committed.
    pub(super) sync_each: bool,
    /// Nothing is ever synced.
    pub(super) never_sync: bool,
    /// The size at which a segment is closed, in bytes.
    pub(super) segment_bytes: u64,
}

impl LogOptions {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            sync_each: options.fsync == Fsync::Always,
            never_sync: options.fsync == Fsync::Never,
            segment_bytes: options.segment_bytes.min(1 << 30),
        }
    }
}

/// The log, and the work that is due on it.
pub(super) struct Log {
    pub(super) shared: Arc<Shared>,
    pub(super) options: LogOptions,
    pub(super) rounds: Rounds,
    pub(super) acks: Acks,
    /// The segment that is appended to.
    active: Option<Active>,
    /// The next record's sequence number.
    next: u64,
    /// Stamps of acked records that could not be taken out yet.
    kills: Vec<u64>,
    /// The same of what sealed records replace, with the stamp of each of those.
    replaced: Vec<(u64, Vec<u64>)>,
    /// Records that were copied forward, for as long as taking the originals out fails.
    originals: Vec<Position>,
    /// Closed segments without a footer, and the round of syncing that each waits for: a footer is the proof that all
    /// that it describes is durable.
    pub(super) footerless: Vec<(u64, u64)>,
    /// Segments that could not be synced, and the first of their records that may be lost.
    pub(super) doubtful: Vec<(u64, u32)>,
    /// Records that cleaning found unreadable.
    pub(super) lost: Vec<Lost>,
    salts: StdRng,
}

struct Active {
    first: u64,
    salt: u64,
    file: Arc<dyn DiskFile>,
    len: u64,
    count: u32,
    /// Up to where space was reserved; all there is after an attempt that failed.
    reserved: u64,
}

impl Active {
    /// Reserves space for what is to be written, and more. If that fails, so may the write, but it need not: less may
    /// do, and there are file systems that cannot reserve.
    fn reserve(&mut self, bytes: u64, segment_bytes: u64) {
        if self.len + bytes > self.reserved {
            self.reserved = (self.len + bytes + RESERVE).min(segment_bytes).max(self.len + bytes);
            if self.file.reserve(self.reserved).is_err() {
                let _ = self.file.truncate(self.len);
                self.reserved = u64::MAX;
            }
        }
    }
}

impl Log {
    pub(super) fn new(shared: Arc<Shared>, options: LogOptions, next: u64, salts: StdRng) -> Self {
        let rounds = Rounds::new(options.never_sync);
        Self {
            shared,
            options,
            rounds,
            acks: Acks::default(),
            active: None,
            next,
            kills: Vec::new(),
            replaced: Vec::new(),
            originals: Vec::new(),
            footerless: Vec::new(),
            doubtful: Vec::new(),
            lost: Vec::new(),
            salts,
        }
    }

    /// Writes a group as one; nothing of it is in the log after an error. Gives the first record's sequence number,
    /// the others follow. What sealed payloads replace is taken out in the same step.
    pub(super) fn commit(&mut self, drafts: &[Draft]) -> io::Result<u64> {
        let first = self.write(drafts)?;
        self.apply(drafts, |_| ());
        let sealed = (first..).zip(drafts).filter_map(|(seq, draft)| Some((seq, draft.replaces.as_ref()?)));
        self.replaced.extend(sealed.map(|(seq, replaces)| (seq, replaces.stamps.clone())));
        if !self.replaced.is_empty() {
            self.hold_active(2);
            self.replace();
        }
        Ok(first)
    }

    /// Writes copies of the records at these positions, and takes the originals out in the same step.
    pub(super) fn commit_copies(
        &mut self,
        drafts: &[Draft],
        positions: &[Position],
        indices: &Indices,
    ) -> io::Result<()> {
        let first = self.write(drafts)?;
        let mut killed = false;
        self.apply(drafts, |view| {
            for (seq, draft) in (first..).zip(drafts) {
                if let Some(stamp) = draft.copy_of {
                    view.moved.insert(stamp, seq);
                }
            }
            killed = view.kill_positions(positions.to_vec(), indices).is_ok();
        });
        if !killed {
            // Its footer was written just now. Nothing is twice for readers, who go by stamps.
            self.originals.extend_from_slice(positions);
            self.kill();
        }
        self.hold_active(2);
        let copied = positions.iter().zip(drafts);
        let superseded =
            copied.filter_map(|(position, draft)| Some(Superseded { position: *position, by: draft.copy_of? }));
        self.hold_acks(superseded.collect());
        Ok(())
    }

    /// Takes records out. [`write_acks`](Self::write_acks) or [`tick`](Self::tick) writes the acks, and retries those
    /// that fail.
    pub(super) fn ack(&mut self, stamps: Vec<u64>) {
        self.kills.extend(stamps);
        self.kill();
    }

    /// Writes acks: a process that dies does not bring those records back.
    pub(super) fn write_acks(&mut self) -> io::Result<()> {
        self.acks.write(&self.shared, &mut self.rounds)
    }

    /// The consequences of earlier steps: acks are written, segments of which nothing is live removed,
    /// footers that could not be written tried again. Gives the first error; what failed is tried again next time.
    pub(super) fn tick(&mut self) -> io::Result<()> {
        self.kill();
        let removed = self.remove_dead();
        let acked = self.write_acks();
        let footers = self.write_footers();
        removed.and(acked).and(footers)
    }

    /// Closes the segment that is appended to, so that the next start finds it with a footer.
    pub(super) fn close_active(&mut self) {
        if let Some(active) = self.active.take() {
            if let Some(segment) = self.shared.view().segments.get_mut(&active.first) {
                segment.closed = true;
            }
            self.footerless.push((active.first, self.rounds.after(1)));
        }
    }

    /// Nothing is added to a segment that could not be synced, and it gets no footer: the next start looks at it
    /// record by record.
    pub(super) fn close_doubtful(&mut self, first: u64) {
        if self.active.as_ref().is_some_and(|active| active.first == first) {
            self.close_active();
        }
        self.footerless.retain(|(other, _)| *other != first);
    }

    fn kill(&mut self) {
        self.replace();
        let originals = std::mem::take(&mut self.originals);
        if self.shared.with_indices(|view, indices| view.kill_positions(originals.clone(), indices)).is_err() {
            self.originals = originals;
        }
        let mut out = std::mem::take(&mut self.kills);
        if out.is_empty() {
            return;
        }
        // A segment at a time: acks of many segments take no more memory than of one, and what is done for one segment is
        // not done again while the index of the next is read.
        let groups = self.shared.view().by_segment(&out);
        for group in groups {
            match self.shared.with_indices(|view, indices| view.kill(&group, indices)) {
                Ok(positions) => self.acks.add(positions),
                Err(_) => self.kills.extend(group),
            }
        }
        if !self.kills.is_empty() {
            let left: HashSet<u64> = self.kills.iter().copied().collect();
            out.retain(|stamp| !left.contains(stamp));
        }
        self.acks.release(&out);
    }

    /// Takes out the records that sealed ones replace. Recovery finds them replaced in any case.
    fn replace(&mut self) {
        for (by, stamps) in std::mem::take(&mut self.replaced) {
            match self.shared.with_indices(|view, indices| view.kill(&stamps, indices)) {
                Ok(positions) => {
                    self.hold_acks(positions.into_iter().map(|position| Superseded { position, by }).collect());
                }
                Err(_) => self.replaced.push((by, stamps)),
            }
        }
    }

    /// Keeps the segment that is appended to for so many rounds of syncing.
    fn hold_active(&mut self, rounds: u64) {
        if let Some(active) = &self.active {
            self.rounds.hold(&mut self.shared.view(), active.first, rounds);
        }
    }

    /// Acks of records that others replaced, or that were copied, must not be durable before those others are.
    fn hold_acks(&mut self, superseded: Vec<Superseded>) {
        let mut view = self.shared.view();
        for Superseded { position, .. } in &superseded {
            self.rounds.hold(&mut view, position.segment, 1);
        }
        self.acks.defer(self.rounds.after(1), superseded);
    }

    /// Writes and, if that is asked for, syncs a group at the end of the log.
    fn write(&mut self, drafts: &[Draft]) -> io::Result<u64> {
        let bytes: u64 = drafts.iter().map(|draft| draft.header(0, 0).record_len() as u64).sum();
        if self
            .active
            .as_ref()
            .is_some_and(|active| active.len + bytes > self.options.segment_bytes && active.count > 0)
        {
            self.close_active();
        }
        let mut heads = Vec::with_capacity(drafts.len() * 128);
        let active = match &mut self.active {
            Some(active) => active,
            None => {
                let active = self.create()?;
                heads.extend_from_slice(&SegmentHeader { first: active.first, salt: active.salt }.encode());
                self.active.insert(active)
            }
        };
        active.reserve(heads.len() as u64 + bytes, self.options.segment_bytes);
        let (seq, number, salt, before) = (self.next, active.count, active.salt, active.len);
        let mut ends = Vec::with_capacity(drafts.len());
        for (at, draft) in drafts.iter().enumerate() {
            draft.header(number + at as u32, seq + at as u64).encode(salt, &mut heads);
            ends.push(heads.len());
        }
        let mut parts = Vec::with_capacity(drafts.len() * 2);
        let mut begin = 0;
        for (draft, end) in drafts.iter().zip(ends) {
            parts.push(IoSlice::new(&heads[begin..end]));
            parts.push(IoSlice::new(&draft.entry.payload));
            begin = end;
        }
        let written = active.file.append(&mut parts);
        let done = match written {
            Ok(()) if self.options.sync_each => self.rounds.sync_now(&self.shared, &*active.file),
            written => written,
        };
        if let Err(error) = done {
            self.undo(before, drafts.len());
            return Err(error);
        }
        if !self.options.sync_each {
            self.rounds.written(segment_name(active.first), &active.file, number);
        }
        Ok(seq)
    }

    fn create(&mut self) -> io::Result<Active> {
        let name = segment_name(self.next);
        let disk = &self.shared.disk;
        let file = match disk.create(&name) {
            // Left by an attempt that failed: there is no such segment.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove(&name)?;
                disk.create(&name)?
            }
            created => created?,
        };
        self.rounds.dir_changed();
        Ok(Active { first: self.next, salt: self.salts.random(), file, len: 0, count: 0, reserved: 0 })
    }

    /// Undoes a group that could not be written or synced.
    fn undo(&mut self, before: u64, records: usize) {
        let Some(active) = self.active.take() else { return };
        if active.count == 0 {
            // If it cannot be removed, `create` does it.
            let _ = self.shared.disk.remove(&segment_name(active.first));
            return;
        }
        let cut = active.file.truncate(before).is_ok();
        if cut && !self.options.sync_each {
            self.active = Some(active);
            return;
        }
        // After a failed sync nobody knows what of the file is on disk, nor whether a crash brings back what was cut:
        // nothing is added to it, and its numbers are not used again.
        self.next += records as u64;
        self.active = Some(active);
        self.close_active();
    }

    /// Makes a group that was written visible, and does `then` in the same step.
    fn apply(&mut self, drafts: &[Draft], then: impl FnOnce(&mut View)) {
        let Some(active) = &mut self.active else { return };
        let mut view = self.shared.view();
        let segment = view.segments.entry(active.first).or_insert_with(|| Segment::new(active.salt));
        let mut index = segment.index.take().unwrap_or_default();
        if active.count == 0 {
            active.len = SEGMENT_HEADER as u64;
        }
        for draft in drafts {
            let header = draft.header(active.count, self.next);
            // Fails for a `replaces` that was encoded wrongly only.
            if let Ok(slot) = index.push(&header, active.len as u32, active.first) {
                view.add(active.first, &slot, &draft.entry.lane);
            }
            active.len += header.record_len() as u64;
            active.count += 1;
            self.next += 1;
        }
        view.next = self.next;
        if let Some(segment) = view.segments.get_mut(&active.first) {
            segment.bytes = active.len;
            segment.index = Some(index);
        }
        then(&mut view);
    }

    /// Writes the footers of closed segments that have none.
    fn write_footers(&mut self) -> io::Result<()> {
        let due = self.footerless.iter().filter(|(_, round)| self.rounds.is_done(*round));
        let due: Vec<u64> = due.map(|(first, _)| *first).collect();
        for first in due {
            let footer = {
                let view = self.shared.view();
                let segment = view.segments.get(&first);
                segment
                    .and_then(|s| s.index.as_ref().map(|i| (i.encode_footer(first, s.salt, s.bytes), s.bytes, s.count)))
            };
            if let Some((footer, end, count)) = footer {
                let name = segment_name(first);
                let file = self.shared.disk.open_or_create(&name)?;
                if let Err(error) = file.append(&mut [IoSlice::new(&footer)]) {
                    // Half a footer does no harm, but it takes space.
                    let _ = file.truncate(end);
                    return Err(error);
                }
                let len = end + footer.len() as u64;
                // What is reserved beyond, which would be kept for as long as the segment is.
                let _ = file.truncate(len);
                self.rounds.written(name, &file, count);
                let mut view = self.shared.view();
                if let Some(segment) = view.segments.get_mut(&first) {
                    segment.bytes = len;
                    segment.index = None;
                }
            }
            self.footerless.retain(|(other, _)| *other != first);
        }
        Ok(())
    }

    /// Removes the segments of which nothing is live, except the newest: its numbers must not be used again.
    fn remove_dead(&mut self) -> io::Result<()> {
        let dead: Vec<u64> = {
            let view = self.shared.view();
            let newest = view.segments.keys().next_back().copied();
            let removable = |first: u64, segment: &Segment| {
                segment.closed && segment.is_dead() && self.rounds.is_done(segment.hold_until) && Some(first) != newest
            };
            view.segments
                .iter()
                .filter(|(first, segment)| removable(**first, segment))
                .map(|(first, _)| *first)
                .collect()
        };
        dead.into_iter().try_for_each(|first| self.remove(first))
    }

    fn remove(&mut self, first: u64) -> io::Result<()> {
        let name = segment_name(first);
        let disk = &self.shared.disk;
        let open = self.rounds.file(&name).or_else(|| disk.open(&name).ok());
        match disk.remove(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.shared.view().remove(first);
        self.rounds.removed(&name);
        if let Some(file) = open {
            disk.close(file);
        }
        self.footerless.retain(|(other, _)| *other != first);
        // The acks go when the segment is gone for good, or it would come back without them.
        self.acks.forget(first, self.rounds.after(1), ack_name(first));
        Ok(())
    }

    /// Frees space on a full disk: the newest segment, if nothing in it is live, and what cleaning frees.
    pub(super) fn make_room(&mut self) -> io::Result<()> {
        let newest = {
            let view = self.shared.view();
            let newest = view.segments.last_key_value();
            newest.filter(|(_, s)| s.is_dead() && self.rounds.is_done(s.hold_until)).map(|(first, _)| *first)
        };
        if let Some(first) = newest {
            // Of the next one there is the name, which needs no space, and says to the next start which numbers were used.
            self.create()?;
            self.active = None;
            self.remove(first)?;
        }
        self.clean().map(|_| ())
    }

    /// Whether nothing is left to retry or to sync.
    pub(super) fn is_settled(&self) -> bool {
        let left =
            self.kills.len() + self.replaced.len() + self.originals.len() + self.footerless.len() + self.doubtful.len();
        left == 0 && self.acks.is_settled() && !self.rounds.is_wanted()
    }

    /// Whether a write would succeed, tried on a file of its own.
    pub(super) fn probe(&mut self) -> io::Result<()> {
        const NAME: &str = "probe";
        let disk = &self.shared.disk;
        let file = disk.open_or_create(NAME)?;
        let written = file.append(&mut [IoSlice::new(&[0; 1 << 16])]);
        disk.remove(NAME)?;
        written
    }
}
