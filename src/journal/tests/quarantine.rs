//! How much is set aside of what is damaged, and what becomes of more.

use crate::journal::disk::{Disk, RealDisk};
use crate::journal::entry::Lost;
use crate::journal::quarantine::set_aside;
use crate::journal::{Entry, Journal, Options, Reader, Seq};
use crate::types::UnixMillis;
use std::fs::{self, File};
use std::path::Path;

fn lost(offset: u64) -> Lost {
    Lost {
        file: "file".into(),
        offset,
        bytes: 10,
        records: Some(1),
        seq: None,
        lane: None,
        items: Some(3),
        quarantined: None,
    }
}

fn lines(dir: &Path) -> usize {
    fs::read_to_string(dir.join("quarantine/account.ndjson")).map_or(0, |text| text.lines().count())
}

/// A file that is as long and takes no space.
fn sparse(dir: &Path, name: &str, len: u64) {
    fs::create_dir_all(dir.join("quarantine")).unwrap();
    File::create(dir.join("quarantine").join(name)).unwrap().set_len(len).unwrap();
}

#[test]
fn copies_end_at_their_size() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::unlocked(dir.path());
    let most = disk.size().map_or(256 << 20, |size| (size / 16).min(256 << 20));
    sparse(dir.path(), "0000000000000000-00000000.bin", most - 15);
    assert!(set_aside(&disk, "0000000000000001.seg", lost(1), &[7; 10]).quarantined.is_some());
    assert_eq!(set_aside(&disk, "0000000000000001.seg", lost(2), &[7; 10]).quarantined, None);
    assert_eq!(lines(dir.path()), 2);
    // The first one again, at another start, takes no more room and is not told of twice.
    assert!(set_aside(&disk, "0000000000000001.seg", lost(1), &[7; 10]).quarantined.is_some());
    assert_eq!(lines(dir.path()), 2);
    // Somebody has looked at it, and deleted it.
    fs::remove_file(dir.path().join("quarantine/0000000000000000-00000000.bin")).unwrap();
    assert!(set_aside(&disk, "0000000000000001.seg", lost(3), &[7; 10]).quarantined.is_some());
    assert_eq!(lines(dir.path()), 3);
}

#[test]
fn copies_end_at_their_number() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::unlocked(dir.path());
    for number in 0..4095 {
        sparse(dir.path(), &format!("0000000000000000-{number:08x}.bin"), 1);
    }
    assert!(set_aside(&disk, "0000000000000001.seg", lost(1), &[7; 10]).quarantined.is_some());
    assert_eq!(set_aside(&disk, "0000000000000001.seg", lost(2), &[7; 10]).quarantined, None);
    assert_eq!(lines(dir.path()), 2);
}

#[test]
fn the_account_ends_at_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::unlocked(dir.path());
    sparse(dir.path(), "account.ndjson", (16 << 20) - 300);
    for offset in 0..100 {
        assert!(set_aside(&disk, "0000000000000001.seg", lost(offset), &[7; 10]).quarantined.is_some());
    }
    let len = fs::metadata(dir.path().join("quarantine/account.ndjson")).unwrap().len();
    assert!(len > (16 << 20) - 300 && len <= 16 << 20, "{len}");
}

#[tokio::test]
async fn an_unreadable_segment_stays_without_room() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path());
    let (journal, _) = Journal::open(options.clone()).unwrap();
    let text = |text: &'static str| text.into();
    let (accepted, oldest) = (UnixMillis(1), UnixMillis(1));
    let entry = Entry { lane: text("a"), items: 1, accepted, oldest, head: text(""), payload: text("payload") };
    journal.append(vec![entry], |_| ()).await.unwrap();
    drop(journal);
    let segment = dir.path().join("0000000000000000.seg");
    let noise = vec![9; fs::metadata(&segment).unwrap().len() as usize];
    fs::write(&segment, &noise).unwrap();
    sparse(dir.path(), "0000000000000000-0000ffff.bin", 256 << 20);
    for _ in 0..2 {
        let (journal, recovery) = Journal::open(options.clone()).unwrap();
        assert_eq!((recovery.lost.len(), &recovery.lost[0].quarantined), (1, &None));
        assert_eq!(fs::read(&segment).unwrap(), noise);
        assert!(journal.next_seq() > Seq(0), "the file's name is taken");
        drop(journal);
    }
    fs::remove_file(dir.path().join("quarantine/0000000000000000-0000ffff.bin")).unwrap();
    let (journal, recovery) = Journal::open(options).unwrap();
    assert_eq!(fs::read(recovery.lost[0].quarantined.as_ref().unwrap()).unwrap(), noise);
    assert!(!segment.exists());
    assert!(journal.read(&mut Reader::new("a".into(), Seq(0)..Seq(9)), 10).unwrap().end);
}
