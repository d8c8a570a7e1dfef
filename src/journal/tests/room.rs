//! Disks that have no room, or that may not be written for a while.

use super::sim_disk::{Faults, SimDisk};
use crate::journal::disk::Disk;
use crate::journal::{AppendError, Entry, Fsync, Health, Journal, Options, Reader, Seq};
use crate::types::UnixMillis;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

fn entry(payload: String) -> Entry {
    Entry {
        lane: "a".into(),
        items: 1,
        accepted: UnixMillis(1000),
        oldest: UnixMillis(900),
        head: "h".into(),
        payload: payload.into(),
    }
}

fn there(journal: &Journal) -> Vec<Seq> {
    let mut reader = Reader::new("a".into(), Seq(0)..Seq(u64::MAX));
    let mut seqs = Vec::new();
    loop {
        let batch = journal.read(&mut reader, 1 << 20).unwrap();
        assert_eq!(batch.lost, []);
        seqs.extend(batch.records.iter().map(|record| record.seq));
        if batch.end {
            return seqs;
        }
    }
}

async fn until_fine(journal: &Journal) {
    let fine = async {
        while !matches!(journal.health(), Health::Fine) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), fine).await.expect("it goes on by itself");
}

const MODES: [Fsync; 3] = [Fsync::Always, Fsync::Interval(Duration::from_millis(10)), Fsync::Never];

#[tokio::test]
async fn acks_free_a_disk_of_one_segment() {
    for fsync in MODES {
        let disk = SimDisk::new(7);
        // Of all that the journal is opened on it may have a small part.
        let options = Options { fsync, ..Options::new("/sim") };
        let (journal, _) = Journal::open_on(Arc::new(disk.clone()), &options).unwrap();
        disk.set_faults(Faults { quota: Some(500_000), ..Faults::default() });
        let mut last = None;
        for _ in 0..3 {
            let mut seqs = Vec::new();
            let refused = loop {
                match journal.append(vec![entry("x".repeat(5000))], |_| ()).await {
                    Ok(range) => seqs.push(range.start),
                    Err(error) => break error,
                }
            };
            assert!(matches!(refused, AppendError::Full(_)), "{refused}");
            assert!(seqs.len() > 40 && seqs.first().copied() > last, "{fsync:?}: {last:?}, then {seqs:?}");
            assert_eq!(there(&journal), seqs);
            // Somebody else takes the rest: not even an ack can be written.
            let _ = disk.open_or_create("filler").unwrap().append(&mut [IoSlice::new(&[0; 10_000])]);
            last = seqs.last().copied();
            journal.ack(seqs);
            until_fine(&journal).await;
        }
        let range = journal.append(vec![entry("y".into())], |_| ()).await.unwrap();
        drop(journal);
        let (journal, recovery) = Journal::open_on(Arc::new(disk), &options).unwrap();
        assert_eq!((there(&journal), recovery.lost), (vec![range.start], vec![]));
    }
}

#[tokio::test]
async fn a_read_only_disk_refuses_reads_and_recovers() {
    for fsync in MODES {
        let disk = SimDisk::new(7);
        let options = Options { fsync, segment_bytes: 20_000, ..Options::new("/sim") };
        let (journal, _) = Journal::open_on(Arc::new(disk.clone()), &options).unwrap();
        let mut seqs = Vec::new();
        for _ in 0..12 {
            seqs.push(journal.append(vec![entry("x".repeat(5000))], |_| ()).await.unwrap().start);
        }
        disk.set_faults(Faults { read_only: true, ..Faults::default() });
        let refused = journal.append(vec![entry("y".into())], |_| ()).await.unwrap_err();
        assert!(matches!(refused, AppendError::ReadOnly(_)), "{refused}");
        assert!(matches!(journal.health(), Health::Failing(AppendError::ReadOnly(_))));
        assert_eq!(there(&journal), seqs);
        let rest = seqs.split_off(9);
        journal.ack(seqs.clone());
        let acked = async {
            while there(&journal) != rest {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), acked).await.expect("what is acked is not read again");
        // Nobody can write down what was acked meanwhile: a process that begins now has it again.
        let (again, _) = Journal::open_on(Arc::new(disk.fork(1)), &options).unwrap();
        assert_eq!(there(&again), [seqs, rest.clone()].concat());

        disk.set_faults(Faults::default());
        until_fine(&journal).await;
        let range = journal.append(vec![entry("y".into())], |_| ()).await.unwrap();
        journal.flush().await;
        drop(journal);
        let (journal, _) = Journal::open_on(Arc::new(disk), &options).unwrap();
        assert_eq!(there(&journal), [rest, vec![range.start]].concat());
    }
}
