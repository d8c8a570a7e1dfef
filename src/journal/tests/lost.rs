//! Records that a crash took from the middle of a segment, or a failed sync from its end.

use super::sim_disk::{Faults, SimDisk};
use crate::journal::entry::Draft;
use crate::journal::log::{Log, LogOptions};
use crate::journal::open::{Recovery, open};
use crate::journal::{Entry, Reader, Seq};
use crate::types::UnixMillis;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::Arc;

fn open_on(disk: &SimDisk) -> Log {
    recover(disk, false).0
}

fn recover(disk: &SimDisk, sync_each: bool) -> (Log, Recovery) {
    let options = LogOptions { sync_each, never_sync: false, segment_bytes: 1 << 20 };
    open(Arc::new(disk.clone()), options, StdRng::seed_from_u64(1)).unwrap()
}

fn append(log: &mut Log, payload: &str) -> u64 {
    log.commit(&[Draft::new(entry(payload), None).unwrap()]).unwrap()
}

fn append_in_place_of(log: &mut Log, payload: &str, stamps: [u64; 2]) {
    log.commit(&[Draft::new(entry(payload), Some(stamps.map(Seq).into())).unwrap()]).unwrap();
}

fn entry(payload: &str) -> Entry {
    Entry {
        lane: "a".into(),
        items: 1,
        accepted: UnixMillis(1),
        oldest: UnixMillis(1),
        head: "".into(),
        payload: payload.to_owned().into(),
    }
}

/// Closes the segment and has it get its footer.
fn close(log: &mut Log) {
    log.close_active();
    for _ in 0..3 {
        log.tick().unwrap();
        let disk = log.shared.disk.clone();
        if let Some(round) = log.rounds.begin(&disk) {
            log.complete(round.run()).unwrap();
        }
    }
}

#[test]
fn a_lost_record_does_not_keep_its_segment() {
    let disk = SimDisk::new(1);
    let mut log = open_on(&disk);
    let stamps = ["one", "two", "three"].map(|payload| append(&mut log, payload));
    drop(log);
    disk.with("0000000000000000.seg", |bytes| {
        let at = memchr::memmem::find(bytes, b"two").unwrap();
        bytes[at] ^= 1;
    });
    let mut log = open_on(&disk);
    assert_eq!(log.shared.view().figures().records, 2);
    close(&mut log);
    drop(log);
    let mut log = open_on(&disk);
    assert_eq!(log.shared.view().figures().records, 2);
    log.ack(vec![stamps[0], stamps[2]]);
    append(&mut log, "four");
    close(&mut log);
    close(&mut log);
    let figures = log.shared.view().figures();
    assert_eq!((figures.segments, figures.records), (1, 1), "the first segment is gone");
}

/// What is live, by payload.
fn live(log: &Log) -> Vec<String> {
    let mut reader = Reader::new("a".into(), Seq(0)..Seq(u64::MAX));
    let mut payloads = Vec::new();
    loop {
        let batch = reader.read(&log.shared, 1 << 20).unwrap();
        assert_eq!(batch.lost, []);
        payloads.extend(batch.records.iter().map(|record| String::from_utf8(record.entry.payload.to_vec()).unwrap()));
        if batch.end {
            return payloads;
        }
    }
}

/// A copy that a failed sync leads to says what the record replaces, too: never are both there.
#[test]
fn replaced_records_stay_out_after_failed_syncs() {
    let mut replaced = 0;
    for seed in 0..400 {
        let disk = SimDisk::new(seed);
        let mut log = open_on(&disk);
        let stamps = ["one", "two"].map(|payload| append(&mut log, payload));
        close(&mut log);
        append_in_place_of(&mut log, "both", stamps);
        disk.set_faults(Faults { sync_error_in: Some(1), ..Faults::default() });
        let round = log.rounds.begin(&log.shared.disk.clone()).unwrap();
        log.complete(round.run()).unwrap_err();
        disk.set_faults(Faults::default());
        log.rescue().unwrap();
        assert_eq!(live(&log), ["both"]);
        // As far as it comes.
        for _ in 0..seed % 4 {
            log.tick().unwrap();
            if let Some(round) = log.rounds.begin(&log.shared.disk.clone()) {
                log.complete(round.run()).unwrap();
            }
        }
        let durable = seed % 4 > 0;
        drop(log);
        if seed % 8 < 4 {
            disk.lose_power();
        } else {
            disk.kill();
        }
        let found = live(&open_on(&disk));
        let expected = found == ["both"] || !durable && found == ["one", "two"];
        assert!(expected, "seed {seed}: {found:?}");
        replaced += usize::from(found == ["both"]);
    }
    assert!((300..400).contains(&replaced), "{replaced}: the loss of power was never, or always, too early");
}

#[test]
fn an_incomplete_write_counts_only_if_answered() {
    for sync_each in [false, true] {
        let disk = SimDisk::new(1);
        let mut log = recover(&disk, sync_each).0;
        for payload in ["one", "two", "three"] {
            append(&mut log, payload);
        }
        drop(log);
        disk.with("0000000000000000.seg", |bytes| bytes.truncate(bytes.len() - 2));
        let (log, recovery) = recover(&disk, sync_each);
        assert_eq!((log.shared.view().figures().records, recovery.torn_bytes > 0), (2, true));
        let items: Vec<_> = recovery.lost.iter().map(|lost| lost.items).collect();
        assert_eq!(items, if sync_each { vec![] } else { vec![Some(1)] });
    }
}
