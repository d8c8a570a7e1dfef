//! Bits that flip, at random places of every file.

use super::sim_disk::SimDisk;
use crate::journal::disk::Disk;
use crate::journal::entry::Draft;
use crate::journal::log::{Log, LogOptions};
use crate::journal::open::{Recovery, open};
use crate::journal::{Entry, Lost, Reader, Seq, recover_bytes};
use crate::types::UnixMillis;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::Arc;

fn entry(number: u64) -> Entry {
    Entry {
        lane: format!("lane-{}", number % 3).into(),
        items: number as u32 + 1,
        accepted: UnixMillis(5),
        oldest: UnixMillis(5),
        head: "head".into(),
        payload: format!("{number}:").repeat(20).into(),
    }
}

fn reopen(disk: &SimDisk) -> (Log, Recovery) {
    let options = LogOptions { sync_each: true, never_sync: false, segment_bytes: 2500 };
    open(Arc::new(disk.clone()), options, StdRng::seed_from_u64(1)).unwrap()
}

/// Forty records in several segments, the last of which has no footer; some are acked.
fn filled() -> (SimDisk, BTreeMap<u64, Entry>) {
    let disk = SimDisk::new(1);
    let (mut log, _) = reopen(&disk);
    let mut live = BTreeMap::new();
    for number in 0..40 {
        let first = log.commit(&[Draft::new(entry(number), None).unwrap()]).unwrap();
        live.insert(first, entry(number));
        log.tick().unwrap();
        if let Some(round) = log.rounds.begin(&log.shared.disk.clone()) {
            log.complete(round.run()).unwrap();
        }
    }
    for stamp in [3, 4, 17, 39] {
        live.remove(&stamp);
        log.ack(vec![stamp]);
    }
    log.tick().unwrap();
    (disk, live)
}

/// All that can be read, and all that is told to be lost.
fn read(log: &Log) -> (BTreeMap<u64, Entry>, Vec<Lost>) {
    let (mut records, mut lost) = (BTreeMap::new(), Vec::new());
    for lane in 0..3 {
        let mut reader = Reader::new(format!("lane-{lane}").into(), Seq(0)..Seq(u64::MAX));
        loop {
            let batch = reader.read(&log.shared, 300).unwrap();
            records.extend(batch.records.into_iter().map(|record| (record.seq.0, record.entry)));
            lost.extend(batch.lost);
            if batch.end {
                break;
            }
        }
    }
    (records, lost)
}

proptest! {
    #[test]
    fn a_flipped_bit_costs_what_it_is_in_and_is_accounted_for(file: prop::sample::Index, at: prop::sample::Index, bit in 0u8..8) {
        let (disk, live) = filled();
        let names = disk.list().unwrap();
        let (name, len) = file.get(&names);
        let at = at.index(*len as usize);
        disk.with(name, |bytes| bytes[at] ^= 1 << bit);
        let (log, recovery) = reopen(&disk);
        let (records, lost) = read(&log);
        for (stamp, found) in &records {
            prop_assert_eq!(found, &entry(*stamp), "nothing is invented");
        }
        let missing: Vec<u64> = live.keys().filter(|stamp| !records.contains_key(stamp)).copied().collect();
        if name.ends_with(".ack") {
            prop_assert!(missing.is_empty(), "a lost ack makes a duplicate, no more: {:?}", missing);
            return Ok(());
        }
        prop_assert!(missing.len() <= 1, "one bit is in one record: {:?}", missing);
        prop_assert_eq!(records.keys().filter(|stamp| !live.contains_key(stamp)).count(), 0);
        let told: Vec<&Lost> = recovery.lost.iter().chain(&lost).collect();
        if let Some(stamp) = missing.first() {
            let torn = recovery.torn_bytes > 0;
            let one = told.iter().any(|lost| lost.records == Some(1) && lost.items.is_none_or(|i| i == stamp + 1));
            prop_assert!(one || torn, "{} is missing and not told of: {:?}", stamp, told);
        }
    }

    #[test]
    fn whatever_a_segment_holds_recovery_reads_it(noise in prop::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, cut: bool) {
        let (disk, _) = filled();
        let name = disk.list().unwrap().into_iter().map(|(name, _)| name).find(|name| name.ends_with(".seg")).unwrap();
        let before = disk.with(&name, |bytes| bytes.clone());
        let mut bytes = before.clone();
        let at = at.index(bytes.len());
        let end = if cut { bytes.len() } else { (at + noise.len()).min(bytes.len()) };
        bytes.splice(at..end, noise);
        prop_assert!(recover_bytes(&bytes) <= recover_bytes(&before));
        disk.with(&name, |file| *file = bytes);
        let (log, _) = reopen(&disk);
        for (stamp, found) in read(&log).0 {
            prop_assert_eq!(found, entry(stamp));
        }
    }
}
