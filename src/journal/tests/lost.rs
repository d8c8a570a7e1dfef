//! Records that a crash took from the middle of a segment.

use super::sim_disk::SimDisk;
use crate::journal::Entry;
use crate::journal::entry::Draft;
use crate::journal::log::{Log, LogOptions};
use crate::journal::open::open;
use crate::types::UnixMillis;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::Arc;

fn open_on(disk: &SimDisk) -> Log {
    let options = LogOptions { sync_each: false, never_sync: false, segment_bytes: 1 << 20 };
    open(Arc::new(disk.clone()), options, StdRng::seed_from_u64(1)).unwrap().0
}

fn append(log: &mut Log, payload: &str) -> u64 {
    let entry = Entry {
        lane: "a".into(),
        items: 1,
        accepted: UnixMillis(1),
        oldest: UnixMillis(1),
        head: "".into(),
        payload: payload.to_owned().into(),
    };
    log.commit(&[Draft::new(entry, None).unwrap()]).unwrap()
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
fn a_record_that_is_lost_does_not_keep_its_segment_after_the_segment_has_a_footer() {
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
