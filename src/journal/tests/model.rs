//! The real log on a simulated disk, against a model: any sequence of what can be asked of it, with errors, crashes of
//! the process and losses of power in between.

use super::sim_disk::{Faults, SimDisk};
use crate::journal::entry::Draft;
use crate::journal::log::{Log, LogOptions};
use crate::journal::open::open;
use crate::journal::sync::Round;
use crate::journal::{Entry, Reader, Record, Seq};
use crate::types::UnixMillis;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Clone)]
enum Op {
    Append {
        sizes: Vec<(u8, u16)>,
    },
    Seal {
        lane: u8,
        pick: u16,
        count: u8,
    },
    Ack {
        pick: u16,
        count: u8,
    },
    AckLane {
        lane: u8,
        count: u8,
    },
    WriteAcks,
    Tick,
    /// A whole round of syncing.
    Sync,
    BeginRound,
    FinishRound,
    Clean,
    MakeRoom,
    Read,
    Faults(Faults),
    Heal,
    /// The process dies.
    Kill,
    /// The machine does.
    PowerLoss,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let one_in = || prop::option::weighted(0.5, 2u32..6);
    let quota = prop::option::weighted(0.3, 2000usize..9000);
    let faults = (quota, prop::bool::weighted(0.1), one_in(), one_in(), any::<bool>());
    let op = prop_oneof![
        8 => prop::collection::vec((0u8..4, 0u16..400), 1..5).prop_map(|sizes| Op::Append { sizes }),
        2 => (0u8..4, any::<u16>(), 1u8..5).prop_map(|(lane, pick, count)| Op::Seal { lane, pick, count }),
        3 => (any::<u16>(), 1u8..9).prop_map(|(pick, count)| Op::Ack { pick, count }),
        3 => (0u8..4, 1u8..20).prop_map(|(lane, count)| Op::AckLane { lane, count }),
        2 => Just(Op::WriteAcks),
        4 => Just(Op::Tick),
        3 => Just(Op::Sync),
        1 => Just(Op::BeginRound),
        1 => Just(Op::FinishRound),
        3 => Just(Op::Clean),
        2 => Just(Op::MakeRoom),
        2 => Just(Op::Read),
        1 => faults.prop_map(|(quota, read_only, write_error_in, sync_error_in, reserves)| {
            Op::Faults(Faults { quota, read_only, write_error_in, sync_error_in, reserves, unreadable: 0..0 })
        }),
        2 => Just(Op::Heal),
        1 => Just(Op::Kill),
        2 => Just(Op::PowerLoss),
    ];
    prop::collection::vec(op, 1..120)
}

/// What is known of a record that was committed.
#[derive(Debug, Clone)]
struct Known {
    entry: Entry,
    sealed: bool,
    /// Survives a loss of power.
    durable: bool,
    /// The caller acked it, or it did not survive a crash.
    acked: bool,
    /// The ack is on disk: a process that dies does not bring it back.
    ack_written: bool,
    /// Nothing brings it back.
    ack_durable: bool,
    replaced_by: Option<u64>,
}

impl Known {
    fn is_live(&self) -> bool {
        !self.acked && self.replaced_by.is_none()
    }
}

struct World {
    disk: SimDisk,
    options: LogOptions,
    log: Log,
    known: BTreeMap<u64, Known>,
    /// Payloads of appends that failed: a crash may bring them back where taking them back failed, too.
    failed: Vec<(Entry, Vec<u64>)>,
    round: Option<(Round, Snapshot)>,
    unique: u64,
    seed: u64,
}

/// What a round makes durable.
struct Snapshot {
    /// Before this all records are on their way.
    next: u64,
    acked: Vec<u64>,
    sound: bool,
}

impl World {
    fn new(seed: u64, sync_each: bool, never_sync: bool) -> Self {
        let disk = SimDisk::new(seed);
        let options = LogOptions { sync_each, never_sync, segment_bytes: 2048 };
        let log = Self::open_log(&disk, &options, seed);
        Self { disk, options, log, known: BTreeMap::new(), failed: Vec::new(), round: None, unique: 0, seed }
    }

    fn open_log(disk: &SimDisk, options: &LogOptions, seed: u64) -> Log {
        open(Arc::new(disk.clone()), options.clone(), StdRng::seed_from_u64(seed)).unwrap().0
    }

    fn entry(&mut self, lane: u8, size: u16) -> Entry {
        self.unique += 1;
        let id = format!("{}:", self.unique);
        Entry {
            lane: vec![b'a' + lane].into(),
            items: u32::from(size) % 7 + 1,
            accepted: UnixMillis(self.unique as i64),
            oldest: UnixMillis(-1),
            head: id.clone().into(),
            payload: id.into_bytes().into_iter().cycle().take(usize::from(size)).collect::<Vec<_>>().into(),
        }
    }

    fn live(&self) -> Vec<u64> {
        self.known.iter().filter(|(_, known)| known.is_live()).map(|(stamp, _)| *stamp).collect()
    }

    fn commit(&mut self, entries: Vec<Entry>, replaces: Option<Vec<u64>>) {
        // What could not be synced is dealt with before anything is added, as the committer does.
        if self.log.rescue().is_err() {
            return;
        }
        let seqs = replaces.as_ref().map(|stamps| stamps.iter().map(|stamp| Seq(*stamp)).collect::<Vec<_>>());
        let drafts: Vec<Draft> = entries.iter().map(|e| Draft::new(e.clone(), seqs.clone()).unwrap()).collect();
        match self.log.commit(&drafts) {
            Err(_) => {
                let replaces = replaces.unwrap_or_default();
                self.failed.extend(entries.into_iter().map(|entry| (entry, replaces.clone())));
            }
            Ok(first) => {
                for (stamp, entry) in (first..).zip(entries) {
                    let known = Known {
                        entry,
                        sealed: replaces.is_some(),
                        durable: self.options.sync_each,
                        acked: false,
                        ack_written: false,
                        ack_durable: false,
                        replaced_by: None,
                    };
                    assert!(self.known.get(&stamp).is_none_or(|old| !old.durable), "{stamp} was used before");
                    self.known.insert(stamp, known);
                }
                for stamp in replaces.into_iter().flatten() {
                    self.known.get_mut(&stamp).unwrap().replaced_by = Some(first);
                }
            }
        }
    }

    fn ack(&mut self, stamps: Vec<u64>) {
        for stamp in &stamps {
            self.known.get_mut(stamp).unwrap().acked = true;
        }
        self.log.ack(stamps);
    }

    fn tick(&mut self) {
        if self.log.tick().is_ok() {
            self.acks_written();
        }
    }

    fn acks_written(&mut self) {
        for known in self.known.values_mut() {
            known.ack_written |= known.acked;
        }
    }

    fn begin(&mut self) {
        if self.round.is_some() {
            return;
        }
        let snapshot = Snapshot {
            next: self.log.shared.view().next,
            acked: self.known.iter().filter(|(_, known)| known.ack_written).map(|(stamp, _)| *stamp).collect(),
            sound: self.log.doubtful.is_empty(),
        };
        let disk = self.log.shared.disk.clone();
        self.round = self.log.rounds.begin(&disk).map(|round| (round, snapshot));
    }

    fn finish(&mut self) {
        let Some((round, snapshot)) = self.round.take() else { return };
        let done = self.log.complete(round.run());
        if done.is_err() || !snapshot.sound {
            // Acks have to be written again.
            for known in self.known.values_mut().filter(|known| !known.ack_durable) {
                known.ack_written = false;
            }
            return;
        }
        for (_, known) in self.known.range_mut(..snapshot.next) {
            known.durable = true;
        }
        for stamp in snapshot.acked {
            self.known.get_mut(&stamp).unwrap().ack_durable = true;
        }
    }

    fn read(&self) -> BTreeMap<u64, Record> {
        let mut all = BTreeMap::new();
        for lane in 0..4 {
            let mut reader = Reader::new(vec![b'a' + lane].into(), Seq(0)..Seq(u64::MAX));
            let mut last = None;
            loop {
                let batch = reader.read(&self.log.shared, 700).unwrap();
                assert_eq!(batch.lost, []);
                for record in batch.records {
                    assert_eq!(record.entry.lane[0], b'a' + lane);
                    assert!(last < Some(record.seq), "{:?} after {last:?}", record.seq);
                    last = Some(record.seq);
                    all.insert(record.seq.0, record);
                }
                if batch.end {
                    break;
                }
            }
        }
        all
    }

    /// What is read and what is summed up is what is live.
    fn check(&self) {
        let read = self.read();
        assert_eq!(read.keys().copied().collect::<Vec<_>>(), self.live());
        for (stamp, record) in &read {
            let known = &self.known[stamp];
            assert_eq!((&record.entry, record.sealed), (&known.entry, known.sealed));
        }
        let view = self.log.shared.view();
        for lane in 0..4 {
            let sums = read.values().filter(|record| record.entry.lane[0] == b'a' + lane);
            let (records, items) = sums.fold((0, 0), |(n, i), r| (n + 1, i + u64::from(r.entry.items)));
            let backlog = view.backlog(&[b'a' + lane]);
            assert_eq!(backlog.map_or((0, 0), |backlog| (backlog.records, backlog.items)), (records, items));
        }
        let live: u64 = view.backlogs().iter().map(|(_, backlog)| backlog.bytes).sum();
        assert_eq!(view.figures().live_bytes, live);
    }

    /// Something that replaced it is there, or was acked.
    fn superseded(&self, known: &Known, read: &BTreeMap<u64, Record>) -> bool {
        known.replaced_by.is_some_and(|by| {
            read.contains_key(&by) || self.known[&by].acked || self.superseded(&self.known[&by], read)
        })
    }

    fn crash(&mut self, power: bool) {
        self.round = None;
        self.disk.set_faults(Faults::default());
        if power {
            self.disk.lose_power();
        } else {
            self.disk.kill();
        }
        self.seed += 1;
        self.log = Self::open_log(&self.disk, &self.options, self.seed);
        let read = self.read();
        for (stamp, record) in &read {
            match self.known.get(stamp) {
                Some(known) if known.entry == record.entry => {
                    assert_eq!(record.sealed, known.sealed);
                    let gone = if power { known.ack_durable } else { known.ack_written };
                    assert!(!gone, "{stamp} was acked and is back");
                    if let Some(sealed) = known.replaced_by {
                        assert!(!read.contains_key(&sealed), "{stamp} is there with {sealed}, which replaced it");
                    }
                }
                _ => {
                    let failed = self.failed.iter().find(|(entry, _)| *entry == record.entry);
                    let (_, replaces) = failed.unwrap_or_else(|| panic!("{stamp} was never appended"));
                    for replaced in replaces {
                        if let Some(known) = self.known.get_mut(replaced) {
                            known.replaced_by = Some(*stamp);
                        }
                    }
                    let (entry, sealed) = (record.entry.clone(), record.sealed);
                    let known = Known {
                        entry,
                        sealed,
                        durable: false,
                        acked: false,
                        ack_written: false,
                        ack_durable: false,
                        replaced_by: None,
                    };
                    self.known.insert(*stamp, known);
                }
            }
        }
        for (stamp, known) in &self.known {
            let survives = known.durable || !power;
            let superseded = self.superseded(known, &read);
            assert!(!survives || known.acked || superseded || read.contains_key(stamp), "{stamp} is lost: {known:?}");
        }
        // Sequence numbers of what never became durable are used again.
        let next = self.log.shared.view().next;
        self.known.retain(|stamp, _| *stamp < next);
        for (stamp, known) in &mut self.known {
            let there = read.contains_key(stamp);
            known.acked = !there;
            known.ack_written = known.ack_durable;
            known.durable &= there;
            // What is concluded from what was found must not outlast it: opening makes it durable.
            known.durable |= there && !self.options.never_sync;
            if there || known.replaced_by.is_some_and(|by| by >= next) {
                known.replaced_by = None;
            }
            // What was replaced is not acked, but as live as what replaced it.
            known.acked &= known.replaced_by.is_none();
        }
        self.check();
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append { sizes } => {
                let entries = sizes.iter().map(|(lane, size)| self.entry(*lane, *size)).collect();
                self.commit(entries, None);
            }
            Op::Seal { lane, pick, count } => {
                let live = self.live();
                let replaces = window(&live, *pick, *count);
                if !replaces.is_empty() {
                    let entry = self.entry(*lane, *pick % 300);
                    self.commit(vec![entry], Some(replaces));
                }
            }
            Op::Ack { pick, count } => self.ack(window(&self.live(), *pick, *count)),
            Op::AckLane { lane, count } => {
                let live = self.live();
                let of_lane = live.into_iter().filter(|stamp| self.known[stamp].entry.lane[0] == b'a' + lane);
                let stamps = of_lane.take(usize::from(*count)).collect();
                self.ack(stamps);
            }
            Op::WriteAcks => {
                if self.log.write_acks().is_ok() {
                    self.acks_written();
                }
            }
            Op::Tick => self.tick(),
            Op::Sync => {
                self.tick();
                self.begin();
                self.finish();
                let _ = self.log.rescue();
            }
            Op::BeginRound => self.begin(),
            Op::FinishRound => self.finish(),
            Op::Clean => {
                if self.log.doubtful.is_empty() {
                    let _ = self.log.clean();
                }
            }
            Op::MakeRoom => {
                if self.log.doubtful.is_empty() {
                    let _ = self.log.make_room();
                }
            }
            Op::Read => self.check(),
            Op::Faults(faults) => self.disk.set_faults(faults.clone()),
            Op::Heal => self.disk.set_faults(Faults::default()),
            Op::Kill => self.crash(false),
            Op::PowerLoss if self.options.never_sync => self.crash(false),
            Op::PowerLoss => self.crash(true),
        }
    }
}

fn window(live: &[u64], pick: u16, count: u8) -> Vec<u64> {
    let begin = if live.is_empty() { 0 } else { usize::from(pick) % live.len() };
    live.iter().skip(begin).take(usize::from(count)).copied().collect()
}

proptest! {
    #[test]
    fn nothing_durable_is_lost_and_nothing_acked_returns(ops in ops(), seed: u64, mode in 0u8..3) {
        let mut world = World::new(seed, mode == 1, mode == 2);
        for op in &ops {
            world.apply(op);
        }
        world.disk.set_faults(Faults::default());
        world.check();
        world.crash(mode != 2);
    }
}

/// A copy in a segment that cannot be synced is gone after a loss of power, and its ack with it.
#[test]
fn acking_a_copy_acks_the_original() {
    let faults = Faults { sync_error_in: Some(2), reserves: false, ..Faults::default() };
    let append = |lane, count| Op::Append { sizes: vec![(lane, 0); count] };
    let ack = Op::Ack { pick: 27621, count: 3 };
    let mut world = World::new(12431269370038839588, false, false);
    let failing = [append(1, 1), append(2, 2), Op::BeginRound, Op::AckLane { lane: 1, count: 1 }, Op::Faults(faults)];
    let copied = [append(0, 4), Op::Sync, append(0, 1), Op::Sync, append(0, 2), ack, Op::Sync, Op::Heal, Op::Sync];
    for op in failing.iter().chain(&copied).chain(&[append(0, 1), Op::PowerLoss]) {
        world.apply(op);
    }
}
