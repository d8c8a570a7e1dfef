//! How much larger the files may be than what waits in them.

use super::sim_disk::SimDisk;
use crate::journal::Entry;
use crate::journal::disk::Disk;
use crate::journal::entry::Draft;
use crate::journal::log::{Log, LogOptions};
use crate::journal::open::open;
use crate::types::UnixMillis;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::BTreeSet;
use std::sync::Arc;

const SEGMENT: u64 = 20_000;
const RECORD: u64 = 200;
const RECORDS: u64 = 4_000;

fn draft() -> Draft {
    let entry = Entry {
        lane: "a".into(),
        items: 1,
        accepted: UnixMillis(1),
        oldest: UnixMillis(1),
        head: "".into(),
        payload: vec![b'x'; RECORD as usize - 61].into(),
    };
    Draft::new(entry, None).unwrap()
}

/// A round as the committer does it, until nothing is left to clean.
fn settle(log: &mut Log) {
    loop {
        let cleaned = log.clean().unwrap();
        for _ in 0..4 {
            log.tick().unwrap();
            let Some(round) = log.rounds.begin(&log.shared.disk.clone()) else { break };
            log.complete(round.run()).unwrap();
        }
        if !cleaned {
            return;
        }
    }
}

/// Bytes of all files, and of the records that wait.
fn sizes(disk: &SimDisk, log: &Log) -> (u64, u64) {
    let files = disk.list("").unwrap().iter().map(|(_, bytes)| bytes).sum();
    (files, log.shared.view().figures().records * RECORD)
}

/// Ack files of segments that are not there any more.
fn orphans(disk: &SimDisk) -> Vec<String> {
    let names: BTreeSet<String> = disk.list("").unwrap().into_iter().map(|(name, _)| name).collect();
    let segment = |name: &str| name.strip_suffix(".ack").map(|first| format!("{first}.seg"));
    let is_orphan = |name: &&String| segment(name).is_some_and(|segment| !names.contains(&segment));
    names.iter().filter(is_orphan).cloned().collect()
}

/// At most so much larger than what waits: a segment is cleaned when a quarter of it is live, footers and acks come on
/// top, and besides there are the segments that are never cleaned.
fn bound(waiting: u64) -> u64 {
    waiting * 44 / 10 + 4 * SEGMENT
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn files_stay_proportional_to_live_records(
        order in Just((0..RECORDS).collect::<Vec<u64>>()).prop_shuffle(), at_once in 10_usize..400
    ) {
        let disk = SimDisk::new(1);
        let options = LogOptions { sync_each: false, never_sync: false, segment_bytes: SEGMENT };
        let (mut log, _) = open(Arc::new(disk.clone()), options, StdRng::seed_from_u64(1)).unwrap();
        for _ in 0..RECORDS {
            log.commit(&[draft()]).unwrap();
        }
        settle(&mut log);
        for acked in order.chunks(at_once) {
            log.ack(acked.to_vec());
            settle(&mut log);
            let (files, waiting) = sizes(&disk, &log);
            prop_assert!(files <= bound(waiting), "{files} bytes of files, {waiting} wait");
            prop_assert_eq!(orphans(&disk), Vec::<String>::new());
        }
        prop_assert_eq!(disk.held_up(), 0, "segments that writing waited for to leave memory");
    }
}

#[test]
fn at_worst_a_quarter_of_segments_is_live() {
    let disk = SimDisk::new(1);
    let options = LogOptions { sync_each: false, never_sync: false, segment_bytes: SEGMENT };
    let (mut log, _) = open(Arc::new(disk.clone()), options, StdRng::seed_from_u64(1)).unwrap();
    for _ in 0..RECORDS {
        log.commit(&[draft()]).unwrap();
    }
    // 26 of every 97 to 100 records stay.
    log.ack((0..RECORDS).filter(|stamp| stamp % 50 >= 13).collect());
    settle(&mut log);
    let (files, waiting) = sizes(&disk, &log);
    let ratio = files as f64 / waiting as f64;
    assert!((3.5..4.4).contains(&ratio), "{ratio}: less than this is possible, or more");
    assert!(files <= bound(waiting));
    // Two less, and it is cleaned.
    log.ack((0..RECORDS).filter(|stamp| stamp % 50 == 0).collect());
    settle(&mut log);
    let (files, waiting) = sizes(&disk, &log);
    assert!(files <= waiting * 22 / 10 + 4 * SEGMENT, "{files} bytes of files, {waiting} wait");
    assert_eq!(orphans(&disk), Vec::<String>::new());
}
