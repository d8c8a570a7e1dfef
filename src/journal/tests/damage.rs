//! Bits that flip, at random places of every file.

use super::sim_disk::{Faults, SimDisk};
use crate::journal::disk::Disk;
use crate::journal::entry::Draft;
use crate::journal::log::{Log, LogOptions};
use crate::journal::open::{Recovery, open};
use crate::journal::view::parse_name;
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
    let (disk, mut log) = with_records(40);
    let mut live: BTreeMap<u64, Entry> = (0..40).map(|number| (number, entry(number))).collect();
    for stamp in [3, 4, 17, 39] {
        live.remove(&stamp);
        log.ack(vec![stamp]);
    }
    log.tick().unwrap();
    (disk, live)
}

fn with_records(count: u64) -> (SimDisk, Log) {
    let disk = SimDisk::new(1);
    let (mut log, _) = reopen(&disk);
    for number in 0..count {
        assert_eq!(log.commit(&[Draft::new(entry(number), None).unwrap()]).unwrap(), number);
        log.tick().unwrap();
        if let Some(round) = log.rounds.begin(&log.shared.disk.clone()) {
            log.complete(round.run()).unwrap();
        }
    }
    (disk, log)
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

/// The lines of the quarantine's account.
fn account(disk: &SimDisk) -> Vec<serde_json::Value> {
    let bytes = disk.with("quarantine/account.ndjson", |bytes| bytes.clone());
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect()
}

#[test]
fn cleaning_reports_unreadable_records() {
    let (disk, mut log) = with_records(400);
    log.ack((0..400).filter(|stamp| stamp % 20 != 0).collect());
    log.tick().unwrap();
    let damaged = 40;
    let text = format!("{damaged}:").repeat(20);
    let segment = log.shared.view().locate(damaged).unwrap().segment;
    disk.with(&format!("{segment:016x}.seg"), |bytes| {
        let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
        bytes[at] ^= 1;
    });
    while log.clean().unwrap() {
        log.tick().unwrap();
        if let Some(round) = log.rounds.begin(&log.shared.disk.clone()) {
            log.complete(round.run()).unwrap();
        }
    }
    let lost = std::mem::take(&mut log.lost);
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!((lost[0].seq, lost[0].records, lost[0].items), (Some(Seq(damaged)), Some(1), Some(damaged + 1)));
    let (records, more) = read(&log);
    assert_eq!(more, []);
    let expected: Vec<u64> = (0..400).filter(|stamp| stamp % 20 == 0 && *stamp != damaged).collect();
    assert_eq!(records.keys().copied().collect::<Vec<_>>(), expected);
    let lines = account(&disk);
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (&lines[0]["items"], &lines[0]["lane"]),
        (&(damaged + 1).into(), &format!("lane-{}", damaged % 3).into())
    );
    let copy = lines[0]["copy"].as_str().unwrap().trim_start_matches("/sim/");
    assert_eq!(disk.with(copy, |bytes| bytes.len() as u64), lost[0].bytes);
}

#[test]
fn a_bad_sector_costs_one_record() {
    let disk = SimDisk::new(3);
    let (mut log, _) = reopen(&disk);
    let mut ends = vec![32];
    for number in 0..6 {
        log.commit(&[Draft::new(entry(number), None).unwrap()]).unwrap();
        ends.push(log.shared.view().figures().bytes);
    }
    let bad = ends[3] + 70..ends[3] + 80;
    disk.set_faults(Faults { unreadable: bad.clone(), ..Faults::default() });
    let (records, lost) = read(&log);
    assert_eq!(records.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 4, 5]);
    assert_eq!(
        lost.iter().map(|lost| (lost.seq, lost.quarantined.clone())).collect::<Vec<_>>(),
        [(Some(Seq(3)), None)]
    );
    assert_eq!((&account(&disk)[0]["seq"], &account(&disk)[0]["copy"]), (&3.into(), &serde_json::Value::Null));
}

#[test]
fn a_bad_sector_does_not_prevent_start() {
    let (disk, live) = filled();
    // In every segment, where its first record is.
    disk.set_faults(Faults { unreadable: 40..41, ..Faults::default() });
    let (log, recovery) = reopen(&disk);
    let (records, lost) = read(&log);
    assert!(records.keys().all(|stamp| live.contains_key(stamp)));
    // The newest segment has no footer: nobody knows how many records there were.
    let (unknown, known): (Vec<_>, Vec<_>) = recovery.lost.iter().chain(&lost).partition(|lost| lost.records.is_none());
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    let newest = parse_name(unknown[0].file.file_name().unwrap().to_str().unwrap(), ".seg").unwrap();
    let missing = live.keys().filter(|stamp| **stamp < newest && !records.contains_key(stamp)).count();
    assert_eq!((known.len(), known.iter().all(|lost| lost.records == Some(1))), (missing, true));
    assert!(missing > 0);
}

proptest! {
    #[test]
    fn a_flipped_bit_costs_one_record(file: prop::sample::Index, at: prop::sample::Index, bit in 0u8..8) {
        let (disk, live) = filled();
        let names = disk.list("").unwrap();
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
        let name = disk.list("").unwrap().into_iter().map(|(name, _)| name).find(|name| name.ends_with(".seg")).unwrap();
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
