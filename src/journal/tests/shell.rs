//! The journal as its callers see it, on real files.

use super::sim_disk::{Faults, SimDisk};
use crate::journal::{AppendError, Entry, Fsync, Health, Journal, OpenError, Options, Reader, Record, Seq};
use crate::types::UnixMillis;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn entry(lane: &str, payload: &str) -> Entry {
    Entry {
        lane: lane.to_owned().into(),
        items: 2,
        accepted: UnixMillis(1000),
        oldest: UnixMillis(900),
        head: "h".into(),
        payload: payload.to_owned().into(),
    }
}

fn open(dir: &Path, fsync: Fsync) -> Journal {
    let options = Options { fsync, segment_bytes: 4096, ..Options::new(dir) };
    Journal::open(options).unwrap().0
}

fn read_all(journal: &Journal, lane: &str) -> Vec<Record> {
    let mut reader = Reader::new(lane.to_owned().into(), Seq(0)..Seq(u64::MAX));
    let mut records = Vec::new();
    loop {
        let batch = journal.read(&mut reader, 1000).unwrap();
        assert_eq!(batch.lost, []);
        records.extend(batch.records);
        if batch.end {
            return records;
        }
    }
}

fn payloads(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.entry.payload.to_vec()).unwrap()).collect()
}

const INTERVAL: Fsync = Fsync::Interval(Duration::from_millis(10));

#[tokio::test]
async fn restarts_keep_appends_and_acks() {
    for fsync in [Fsync::Always, INTERVAL, Fsync::Never] {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), fsync);
        let mut seqs = Vec::new();
        for number in 0..100 {
            let entries = vec![entry("a", &format!("a{number}")), entry("b", &format!("b{number}"))];
            let range = journal.append(entries, |_| ()).await.unwrap();
            assert_eq!(range.end.0 - range.start.0, 2);
            seqs.push(range.start);
        }
        journal.ack(seqs.iter().copied().filter(|seq| seq.0 % 4 == 0));
        journal.flush().await;
        drop(journal);
        let (journal, recovery) = Journal::open(Options { fsync, ..Options::new(dir.path()) }).unwrap();
        assert_eq!((recovery.records, recovery.items, recovery.scanned, recovery.lost.len()), (150, 300, 0, 0));
        let odd: Vec<String> = (0..100).filter(|n| n % 2 == 1).map(|n| format!("a{n}")).collect();
        assert_eq!(payloads(&read_all(&journal, "a")), odd);
        assert_eq!(read_all(&journal, "b").len(), 100);
        let backlog = journal.backlog(b"a").unwrap();
        assert_eq!((backlog.records, backlog.items, backlog.oldest), (50, 100, UnixMillis(1000)));
    }
}

#[tokio::test]
async fn callers_are_answered_in_log_order() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(open(dir.path(), INTERVAL));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for _ in 0..50 {
        let (journal, seen) = (journal.clone(), seen.clone());
        tasks.push(tokio::spawn(async move {
            let told = seen.clone();
            let range = journal.append(vec![entry("a", "x")], move |range| told.lock().unwrap().push(range)).await;
            assert!(seen.lock().unwrap().contains(&range.unwrap()), "told before the answer");
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 50);
    assert!(seen.windows(2).all(|pair| pair[0].end == pair[1].start));
}

#[tokio::test]
async fn a_sealed_record_takes_the_place_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), INTERVAL);
    let range = journal.append(vec![entry("a", "1"), entry("a", "2"), entry("a", "3")], |_| ()).await.unwrap();
    let sealed = journal.seal(entry("a", "12"), vec![range.start, Seq(range.start.0 + 1)], |_| ()).await.unwrap();
    let left = |journal: &Journal| read_all(journal, "a").iter().map(|r| (r.seq, r.sealed)).collect::<Vec<_>>();
    let expected = [(Seq(2), false), (sealed, true)];
    assert_eq!(left(&journal), expected);
    drop(journal);
    assert_eq!(left(&open(dir.path(), INTERVAL)), expected);
}

#[tokio::test]
async fn scattered_records_are_read_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(Options { fsync: Fsync::Never, ..Options::new(dir.path()) }).unwrap();
    let mut expected = Vec::new();
    for number in 0..120u32 {
        expected.push(format!("a{number}"));
        // From next to each other to further apart than anything that is read at once.
        let between = "b".repeat(if number % 5 == 0 { 0 } else { 1 << (number / 6) });
        journal.append(vec![entry("a", &format!("a{number}")), entry("b", &between)], |_| ()).await.unwrap();
    }
    journal.append(vec![entry("a", &"a".repeat(600_000))], |_| ()).await.unwrap();
    expected.push("a".repeat(600_000));
    let mut reader = Reader::new("a".into(), Seq(0)..Seq(u64::MAX));
    let batch = journal.read(&mut reader, 1 << 20).unwrap();
    assert_eq!((payloads(&batch.records), batch.lost), (expected, vec![]));
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _journal = open(dir.path(), INTERVAL);
    let again = Journal::open(Options::new(dir.path())).unwrap_err();
    assert!(matches!(&again, OpenError::InUse(path) if path == dir.path()), "{again}");
}

#[tokio::test]
async fn segments_of_which_nothing_is_live_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), INTERVAL);
    for _ in 0..50 {
        let range = journal.append(vec![entry("a", &"x".repeat(1000))], |_| ()).await.unwrap();
        journal.ack([range.start]);
    }
    for _ in 0..4 {
        journal.flush().await;
    }
    let figures = journal.figures();
    assert!(figures.segments <= 2 && figures.records == 0, "{figures:?}");
}

/// Tells when it is dropped.
struct Told(std::sync::mpsc::Sender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.send(()).unwrap();
    }
}

/// Whether acks are on disk.
fn acks_written(dir: &Path) -> bool {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().any(|path| path.extension().is_some_and(|e| e == "ack") && path.metadata().unwrap().len() > 0)
}

#[tokio::test]
async fn acks_are_written_before_the_next_group() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::open(Options::new(dir.path())).unwrap().0);
    let acked = journal.append(vec![entry("a", "1")], |_| ()).await.unwrap();
    let (told, tells) = std::sync::mpsc::channel();
    let (waiting, waits) = tokio::sync::oneshot::channel();
    let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
    let large = "x".repeat(10 << 20);
    let append = |payload: &str, then: Box<dyn FnOnce() + Send>| {
        let (journal, entries) = (journal.clone(), vec![entry("a", payload)]);
        tokio::spawn(async move { journal.append(entries, |_| then()).await.unwrap() })
    };
    let busy = append(
        "2",
        Box::new(move || {
            waiting.send(()).unwrap();
            goes_on.recv().unwrap();
        }),
    );
    waits.await.unwrap();
    // Two groups, which are there when the thread is free again.
    let ack = {
        let (journal, path) = (journal.clone(), dir.path().to_owned());
        move || {
            assert!(!acks_written(&path));
            journal.ack_holding([acked.start], Some(Box::new(Told(told))));
        }
    };
    let first = [append(&large, Box::new(ack)), append(&large, Box::new(|| ()))];
    let path = dir.path().to_owned();
    let second = append(
        &large,
        Box::new(move || {
            tells.try_recv().expect("let go before the second group");
            assert!(acks_written(&path));
        }),
    );
    tokio::task::yield_now().await;
    go_on.send(()).unwrap();
    for append in first.into_iter().chain([busy, second]) {
        append.await.unwrap();
    }
}

#[tokio::test]
async fn guards_are_released_on_a_failing_disk() {
    let disk = SimDisk::new(3);
    let options = Options { fsync: INTERVAL, ..Options::new("/sim") };
    let (journal, _) = Journal::open_on(Arc::new(disk.clone()), &options).unwrap();
    let range = journal.append(vec![entry("a", "x")], |_| ()).await.unwrap();
    disk.set_faults(Faults { read_only: true, ..Faults::default() });
    let (told, tells) = std::sync::mpsc::channel();
    journal.ack_holding([range.start], Some(Box::new(Told(told))));
    let told = tokio::task::spawn_blocking(move || tells.recv_timeout(Duration::from_secs(20)));
    told.await.unwrap().expect("it is let go");
    disk.set_faults(Faults::default());
    drop(journal);
    let (journal, recovery) = Journal::open_on(Arc::new(disk), &options).unwrap();
    assert_eq!(recovery.records, 0, "it was tried again");
    let (told, tells) = std::sync::mpsc::channel();
    journal.close();
    journal.ack_holding([range.start], Some(Box::new(Told(told))));
    tells.try_recv().expect("nothing is held once it is closed");
}

#[tokio::test]
async fn an_entry_beyond_the_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), INTERVAL);
    let refused = journal.append(vec![entry(&"l".repeat(256), "")], |_| ()).await;
    assert!(matches!(refused, Err(AppendError::TooLarge(_))), "{refused:?}");
    journal.close();
    assert!(matches!(journal.append(vec![entry("a", "")], |_| ()).await, Err(AppendError::Closed)));
}

#[tokio::test]
async fn a_full_disk_refuses_appends_and_recovers() {
    let disk = SimDisk::new(7);
    let options = Options { fsync: INTERVAL, segment_bytes: 20_000, ..Options::new("/sim") };
    let (journal, _) = Journal::open_on(Arc::new(disk.clone()), &options).unwrap();
    disk.set_faults(Faults { quota: Some(200_000), ..Faults::default() });
    let mut seqs = Vec::new();
    let refused = loop {
        match journal.append(vec![entry("a", &"x".repeat(5000))], |_| ()).await {
            Ok(range) => seqs.push(range.start),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::Full(_)), "{refused}");
    assert!(matches!(journal.health(), Health::Failing(AppendError::Full(_))));
    let there: Vec<Seq> = read_all(&journal, "a").iter().map(|record| record.seq).collect();
    assert_eq!(there, seqs);
    let kept = seqs.split_off(seqs.len() - 3);
    journal.ack(seqs);
    let recovered = async {
        while !matches!(journal.health(), Health::Fine) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), recovered).await.expect("segments were removed: there is space");
    let range = journal.append(vec![entry("a", "y")], |_| ()).await.unwrap();
    drop(journal);
    let (journal, _) = Journal::open_on(Arc::new(disk), &options).unwrap();
    let there: Vec<Seq> = read_all(&journal, "a").iter().map(|record| record.seq).collect();
    assert_eq!(there, [kept, vec![range.start]].concat());
}

/// Segments in a directory that are removed and not closed: their space is not free.
fn removed_but_open(dir: &Path) -> Vec<PathBuf> {
    let links =
        std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
    links.filter(|path| path.starts_with(dir) && path.to_string_lossy().ends_with(".seg (deleted)")).collect()
}

#[tokio::test]
async fn segments_that_were_removed_give_back_their_space() {
    for fsync in [Fsync::Always, INTERVAL, Fsync::Never] {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), fsync);
        for number in 0..200 {
            let range = journal.append(vec![entry("a", &format!("{number:0100}"))], |_| ()).await.unwrap();
            journal.ack([range.start]);
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while journal.figures().segments > 1 || !removed_but_open(dir.path()).is_empty() {
            assert!(std::time::Instant::now() < deadline, "still open: {:?}", removed_but_open(dir.path()));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
