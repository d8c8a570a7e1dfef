//! What is counted as damaged against what is missing, for thousands of random damages of a journal.

use super::sim_disk::SimDisk;
use crate::journal::disk::Disk;
use crate::journal::entry::Draft;
use crate::journal::format::{RecordHeader, SEGMENT_HEADER, SegmentHeader};
use crate::journal::index::{TRAILER, Trailer};
use crate::journal::log::{Log, LogOptions};
use crate::journal::open::{Recovery, open};
use crate::journal::view::{View, parse_name, segment_name};
use crate::journal::{Entry, Lost, Reader, Seq};
use crate::types::UnixMillis;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const LANES: u64 = 3;

fn lane(number: u64) -> String {
    format!("lane-{}", number % LANES)
}

/// How many items a record has says which record it is.
fn entry(number: u64, rng: &mut StdRng) -> Entry {
    let size = if rng.random_ratio(1, 10) { rng.random_range(600..1500) } else { rng.random_range(0..300) };
    Entry {
        lane: lane(number).into(),
        items: number as u32 + 1,
        accepted: UnixMillis(number as i64),
        oldest: UnixMillis(0),
        head: "h".repeat(rng.random_range(0..20)).into(),
        payload: (0..size).map(|_| rng.random()).collect::<Vec<u8>>().into(),
    }
}

fn reopen(disk: &SimDisk) -> (Log, Recovery) {
    let options = LogOptions { sync_each: false, never_sync: false, segment_bytes: 3000 };
    open(Arc::new(disk.clone()), options, StdRng::seed_from_u64(disk.list("").unwrap().len() as u64)).unwrap()
}

fn round(log: &mut Log) {
    log.tick().unwrap();
    if let Some(round) = log.rounds.begin(&log.shared.disk.clone()) {
        log.complete(round.run()).unwrap();
    }
}

/// A journal as a process leaves it that was ended in order or not, with much acked, and copies of what cleaning found.
fn journal(rng: &mut StdRng) -> SimDisk {
    let disk = SimDisk::new(rng.random());
    let mut log = reopen(&disk).0;
    let lives = rng.random_range(1..4);
    let mut next = 0;
    for life in 0..lives {
        for _ in 0..rng.random_range(5..40) {
            let drafts: Vec<Draft> =
                (0..rng.random_range(1..4)).map(|more| Draft::new(entry(next + more, rng), None).unwrap()).collect();
            assert_eq!(log.commit(&drafts).unwrap(), log.shared.view().next - drafts.len() as u64);
            next = log.shared.view().next;
            if rng.random_ratio(1, 3) {
                round(&mut log);
            }
            if rng.random_ratio(1, 3) {
                let from = rng.random_range(0..next);
                log.ack((from..next.min(from + rng.random_range(1..20))).collect());
            }
        }
        // Then cleaning finds something to do, after which the process may die before the originals are gone.
        if rng.random_ratio(1, 2) {
            round(&mut log);
            round(&mut log);
            log.ack((0..next).filter(|_| rng.random_ratio(6, 7)).collect());
            for _ in 0..rng.random_range(1..5) {
                log.clean().unwrap();
            }
        }
        let ended = rng.random_ratio(1, 2);
        if ended {
            log.close_active();
        }
        log.tick().unwrap();
        for _ in 0..if ended { 4 } else { 0 } {
            round(&mut log);
        }
        if life + 1 < lives {
            drop(log);
            log = reopen(&disk).0;
            next = log.shared.view().next;
        }
    }
    disk
}

/// All that can be read, by stamp: lane and items; and all that is told to be lost.
fn read(log: &Log) -> (BTreeMap<u64, u64>, Vec<Lost>) {
    let (mut records, mut lost) = (BTreeMap::new(), Vec::new());
    for number in 0..LANES {
        let mut reader = Reader::new(lane(number).into(), Seq(0)..Seq(u64::MAX));
        loop {
            let batch = reader.read(&log.shared, 2000).unwrap();
            for record in batch.records {
                assert_eq!(record.entry.lane, lane(number));
                assert_eq!(records.insert(record.seq.0, u64::from(record.entry.items)), None, "twice");
            }
            lost.extend(batch.lost);
            if batch.end {
                break;
            }
        }
    }
    (records, lost)
}

/// A record as it was before the damage.
struct Before {
    segment: u64,
    /// Its description's bytes.
    head: Vec<u8>,
}

/// Where each live record was; for copies, where the copy was.
fn places(disk: &SimDisk, log: &Log) -> BTreeMap<u64, Before> {
    let mut places = BTreeMap::new();
    let found = log.shared.with_indices(|view, indices| {
        let mut found = Vec::new();
        for (first, segment) in &view.segments {
            let index = indices.of(*first, segment)?;
            found.extend(View::live(segment, index).map(|(_, slot)| (slot.stamp, *first, *slot)));
        }
        Ok(found)
    });
    for (stamp, segment, slot) in found.unwrap() {
        let head = disk.with(&segment_name(segment), |bytes| {
            let salt = SegmentHeader::decode(bytes).unwrap().salt;
            let bytes = &bytes[slot.offset as usize..];
            bytes[..RecordHeader::decode(bytes, salt).unwrap().head_len()].to_vec()
        });
        places.insert(stamp, Before { segment, head });
    }
    places
}

/// Whether what is left of a segment tells of a record whose it was and how much.
fn is_described(after: Option<&[u8]>, pristine: &[u8], before: &Before) -> bool {
    let Some(after) = after else { return false };
    let trailer = Trailer::decode(pristine).ok();
    if let Some(trailer) = &trailer {
        let footer = &pristine[trailer.end as usize..];
        if after.ends_with(footer) {
            return true;
        }
    }
    let salt_is_known = after.get(..SEGMENT_HEADER) == Some(&pristine[..SEGMENT_HEADER])
        || trailer.is_some() && after.ends_with(&pristine[pristine.len() - TRAILER..])
        || {
            let salt = SegmentHeader::decode(pristine).unwrap().salt;
            after.get(SEGMENT_HEADER..).is_some_and(|record| RecordHeader::decode(record, salt).is_ok())
        };
    salt_is_known && memchr::memmem::find(after, &before.head).is_some()
}

/// Damages a file in a random way, and says how.
fn damage(rng: &mut StdRng, disk: &SimDisk, name: &str) -> String {
    let what = rng.random_range(0..12);
    if what == 11 {
        disk.remove(name).unwrap();
        return format!("{name} removed");
    }
    let noise: Vec<u8> = (0..rng.random_range(1..900)).map(|_| rng.random()).collect();
    let (random, bit) = (rng.random_range(0.0..1.0), rng.random_range(0..8));
    disk.with(name, |bytes| {
        if bytes.is_empty() {
            return format!("{name} is empty");
        }
        let at = (random * bytes.len() as f64) as usize;
        let end = (at + noise.len()).min(bytes.len());
        let what = match what {
            0..3 => {
                bytes[at] ^= 1 << bit;
                "a bit flipped"
            }
            3..6 => {
                bytes[at..end].fill(0);
                "zeroed"
            }
            6 => {
                bytes[at..end].copy_from_slice(&noise[..end - at]);
                "noise"
            }
            7 | 8 => {
                bytes.truncate(at);
                "cut"
            }
            9 => {
                bytes.drain(at..end);
                "removed"
            }
            _ => {
                bytes.splice(at..at, noise);
                "noise inserted"
            }
        };
        format!("{name}: {what} {at}..{end}")
    })
}

/// Items by lane.
type Items = BTreeMap<String, u64>;

fn items_of(lost: &[Lost]) -> Items {
    let mut items = Items::new();
    for lost in lost {
        if let (Some(lane), Some(count)) = (&lost.lane, lost.items) {
            *items.entry(String::from_utf8(lane.to_vec()).unwrap()).or_default() += count;
        }
    }
    items
}

#[test]
fn the_damage_account_matches_the_loss() {
    let seed: u64 = std::env::var("DOGSLED_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    let rounds: u64 = std::env::var("DOGSLED_DAMAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let (mut exact, mut with_missing) = (0, 0);
    for seed in seed..seed.wrapping_add(rounds) {
        let (known, missing) = damage_and_count(seed);
        exact += u64::from(known && missing);
        with_missing += u64::from(missing);
    }
    // About half of them; of so few as a third, the test would say little.
    assert!(exact * 3 > with_missing && exact > 0, "{exact} of {with_missing}: the damages are not those meant");
}

/// Whether all that is missing could be known, and whether anything was.
fn damage_and_count(seed: u64) -> (bool, bool) {
    let mut rng = StdRng::seed_from_u64(seed);
    let pristine = journal(&mut rng);
    let before = {
        let copy = pristine.fork(seed);
        let log = reopen(&copy).0;
        places(&copy, &log)
    };
    // Segments and ack files apart, since damaged acks bring back what was delivered, which is then no less live.
    let (damaged, only_acks) = (pristine.fork(seed), pristine.fork(seed));
    let mut done = Vec::new();
    for _ in 0..rng.random_range(1..4) {
        let names: Vec<String> = damaged.list("").unwrap().into_iter().map(|(name, _)| name).collect();
        let Some(name) = names.choose(&mut rng) else { continue };
        if name.ends_with(".ack") {
            let again: u64 = rng.random();
            done.push(damage(&mut StdRng::seed_from_u64(again), &damaged, name));
            damage(&mut StdRng::seed_from_u64(again), &only_acks, name);
        } else {
            done.push(damage(&mut rng, &damaged, name));
        }
    }
    let left: BTreeMap<u64, Vec<u8>> = damaged
        .list("")
        .unwrap()
        .into_iter()
        .filter_map(|(name, _)| Some((parse_name(&name, ".seg")?, damaged.with(&name, |bytes| bytes.clone()))))
        .collect();
    let before = {
        let log = reopen(&only_acks).0;
        let mut now = places(&only_acks, &log);
        now.extend(before);
        now
    };
    let expected = read(&reopen(&only_acks.fork(seed)).0).0;
    let (mut log, recovery) = reopen(&damaged);
    let (records, lost) = read(&log);
    let context = || format!("DOGSLED_SEED={seed} DOGSLED_DAMAGES=1: {done:?}: {:?} and {lost:?}", recovery.lost);
    for (stamp, items) in &records {
        assert_eq!(expected.get(stamp), Some(items), "{stamp} was not to be delivered: {}", context());
    }
    let missing: BTreeSet<u64> = expected.keys().copied().filter(|stamp| !records.contains_key(stamp)).collect();
    let mut missed = Items::new();
    for stamp in &missing {
        *missed.entry(lane(expected[stamp] - 1)).or_default() += expected[stamp];
    }
    let all: Vec<Lost> = recovery.lost.iter().chain(&lost).cloned().collect();
    let counted = items_of(&all);
    let known = missing.iter().all(|stamp| {
        let before = &before[stamp];
        let whole = pristine.with(&segment_name(before.segment), |bytes| bytes.clone());
        is_described(left.get(&before.segment).map(Vec::as_slice), &whole, before)
    });
    for (lane, items) in &counted {
        assert!(*items <= missed.get(lane).copied().unwrap_or(0), "{lane}: {counted:?}, {missed:?}: {}", context());
    }
    if known {
        assert_eq!(counted, missed, "{}", context());
    }
    // It is told once, though the process dies before it has done anything else.
    log.ack(lost.iter().filter_map(|lost| lost.seq).map(|seq| seq.0).collect());
    log.tick().unwrap();
    drop(log);
    let (log, recovery) = reopen(&damaged);
    let (again, lost) = read(&log);
    assert_eq!((recovery.lost, lost), (vec![], vec![]), "{done:?}");
    assert_eq!(again, records);
    (known, !missing.is_empty())
}
