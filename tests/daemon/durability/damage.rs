//! A journal that a bad disk or a hand has damaged while no daemon ran.

use super::LOGS;
use super::load::{name, name_in, seed};
use crate::support::{FakeIntake, Home, Setup, until};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

type Names = BTreeSet<(String, u64)>;

const LIVES: u64 = 3;
const REQUESTS: u64 = 30;

/// A state directory whose journal has several segments, the last one as a crash leaves it, with one log a record:
/// those of `a` and `b` wait, those of `c` were delivered. Gives the names of what waits.
async fn journal() -> (Home, Names) {
    let fakeintake = FakeIntake::start();
    let (setup, home) = (setup(&fakeintake), Home::new());
    for tenant in ["a", "b"] {
        fakeintake.set_key(tenant, false).await;
    }
    let mut names = Names::new();
    for life in 0..LIVES {
        let daemon = setup.start_in(&home).await;
        for number in life * REQUESTS..(life + 1) * REQUESTS {
            for tenant in ["a", "b", "c"] {
                let log = json!({ "id": name(tenant, number), "message": "x".repeat(200) });
                daemon.post(tenant, LOGS, &json!([log])).await;
                if tenant != "c" {
                    names.insert((tenant.to_owned(), number));
                }
            }
        }
        daemon.wait_empty("c").await;
        if life + 1 < LIVES {
            daemon.stop().await;
        } else {
            daemon.kill();
        }
    }
    (home, names)
}

fn setup(fakeintake: &FakeIntake) -> Setup {
    Setup::new(fakeintake, &["a", "b", "c"])
}

fn copy(home: &Home) -> Home {
    let copy = Home::new();
    let journal = copy.state_dir().join("journal");
    fs::create_dir_all(&journal).unwrap();
    for extension in ["seg", "ack"] {
        for file in home.files("journal", extension) {
            fs::copy(&file, journal.join(file.file_name().unwrap())).unwrap();
        }
    }
    copy
}

/// Where the names of items stand in a segment.
fn places(bytes: &[u8]) -> Vec<(usize, (String, u64))> {
    let mut places = Vec::new();
    for at in 0..bytes.len().saturating_sub(2) {
        if &bytes[at..at + 2] == b"u~" {
            let end = (at + 40).min(bytes.len());
            let piece = String::from_utf8_lossy(&bytes[at..end]);
            if let Some((tenant, number)) = name_in(&piece) {
                places.push((at, (tenant.to_owned(), number)));
            }
        }
    }
    places
}

/// The items whose records damage of these bytes can touch.
fn touched(bytes: &[u8], damaged: &Range<usize>) -> Names {
    let places = places(bytes);
    let begin = places.partition_point(|(at, _)| *at <= damaged.start).saturating_sub(1);
    let end = places.partition_point(|(at, _)| *at < damaged.end);
    places[begin.min(end)..(end + 1).min(places.len())].iter().map(|(_, name)| name.clone()).collect()
}

/// Whether a segment has its index, which tells of every record whose it is, and how many items it has.
fn has_footer(file: &Path, whole: &[u8]) -> bool {
    let Some(trailer) = whole.len().checked_sub(64).filter(|at| whole.ends_with(b"dogsledi") && *at > 0) else {
        return false;
    };
    let begin = u64::from_le_bytes(whole[trailer..trailer + 8].try_into().unwrap()) as usize;
    fs::read(file).is_ok_and(|bytes| bytes.ends_with(&whole[begin..]))
}

/// Damages a file in a random way; gives what was done and the items that it can have cost.
fn damage(rng: &mut StdRng, file: &Path) -> (String, Names) {
    let mut bytes = fs::read(file).unwrap();
    let whole = bytes.clone();
    if bytes.is_empty() {
        return ("nothing".into(), Names::new());
    }
    let at = rng.random_range(0..bytes.len());
    let end = (at + rng.random_range(1..2000)).min(bytes.len());
    let (what, damaged) = match rng.random_range(0..10) {
        0..4 => {
            bytes[at] ^= 1 << rng.random_range(0..8);
            ("bit flipped", at..at + 1)
        }
        4..6 => {
            bytes[at..end].fill(0);
            ("zeroed", at..end)
        }
        6 => {
            bytes.truncate(at);
            ("cut", at..whole.len())
        }
        7 => {
            bytes.drain(at..end);
            ("part removed", at..end)
        }
        8 => {
            let noise: Vec<u8> = (at..end).map(|_| rng.random()).collect();
            bytes.splice(at..at, noise);
            ("noise inserted", at..at + 1)
        }
        _ => {
            fs::remove_file(file).unwrap();
            return (format!("{} removed", file.display()), touched(&whole, &(0..whole.len())));
        }
    };
    fs::write(file, bytes).unwrap();
    let cost = if file.extension().unwrap() == "seg" { touched(&whole, &damaged) } else { Names::new() };
    (format!("{}: {what} {damaged:?} of {}", file.display(), whole.len()), cost)
}

/// What has come of a damaged journal.
struct Outcome {
    arrived: BTreeMap<(String, u64), usize>,
    /// Counted as dropped, as damaged.
    dropped: u64,
    /// Lines of the log that say so.
    told: Vec<Value>,
    quarantined: Vec<PathBuf>,
    torn: u64,
}

async fn deliver(home: &Home) -> Outcome {
    deliver_and_log(home).await.0
}

/// The same, and the daemon's log.
async fn deliver_and_log(home: &Home) -> (Outcome, String) {
    let fakeintake = FakeIntake::start();
    let daemon = setup(&fakeintake).start_in(home).await;
    for tenant in ["a", "b", "c"] {
        daemon.wait_empty(tenant).await;
        daemon.logs(tenant, [name(tenant, 1_000_000)]).await;
        daemon.wait_empty(tenant).await;
    }
    let scrape = daemon.scrape().await;
    scrape.assert_balanced();
    let mut arrived = BTreeMap::new();
    for tenant in ["a", "b", "c"] {
        for item in fakeintake.items(tenant, "logs").await {
            let text = item.item["id"].as_str().unwrap();
            let (of, number) = name_in(text).unwrap();
            assert_eq!(of, tenant, "crossed tenants");
            *arrived.entry((tenant.to_owned(), number)).or_default() += 1;
        }
        assert_eq!(arrived.remove(&(tenant.to_owned(), 1_000_000)), Some(1), "what comes after the damage arrives");
    }
    let outcome = Outcome {
        arrived,
        dropped: scrape.sum("dogsled_items_dropped_total", &[("reason", "damaged")]) as u64,
        told: daemon.log("damaged"),
        quarantined: home.files("journal/quarantine", "bin"),
        torn: daemon.log("journal opened")[0]["torn_bytes"].as_u64().unwrap(),
    };
    (outcome, daemon.log_text())
}

#[tokio::test]
async fn any_damage_leaves_the_rest_deliverable() {
    let mut rng = StdRng::seed_from_u64(seed());
    let (pristine, names) = journal().await;
    for _ in 0..25 {
        let home = copy(&pristine);
        let mut files = home.files("journal", "seg");
        let acks = home.files("journal", "ack");
        // Most of the time the segments, which is where the telemetry is.
        if rng.random_ratio(1, 4) && !acks.is_empty() {
            files = acks;
        }
        let mut done = Vec::new();
        let mut cost = Names::new();
        let mut spoiled = BTreeSet::new();
        for _ in 0..rng.random_range(1..3) {
            let file = files.choose(&mut rng).unwrap();
            spoiled.insert(file.file_name().unwrap());
            if file.exists() {
                let (what, costs) = damage(&mut rng, file);
                done.push(what);
                cost.extend(costs);
            }
        }
        let journal = home.state_dir().join("journal");
        let described = spoiled.iter().all(|name| {
            let whole = fs::read(pristine.state_dir().join("journal").join(name)).unwrap();
            has_footer(&journal.join(name), &whole)
        });
        let outcome = deliver(&home).await;
        let missing: Names = names.iter().filter(|name| !outcome.arrived.contains_key(name)).cloned().collect();
        let undamaged: Vec<_> = missing.difference(&cost).collect();
        assert!(undamaged.is_empty(), "{done:?}: not damaged and not delivered: {undamaged:?}");
        let twice: Vec<_> = outcome.arrived.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "{done:?}: {twice:?}");
        let missing = missing.len() as u64;
        let told = &outcome.told;
        assert!(outcome.dropped <= missing, "{done:?}: {} counted, {missing} missing: {told:?}", outcome.dropped);
        if described {
            assert_eq!(outcome.dropped, missing, "{done:?}: {told:?}");
        }
        let files_removed = done.iter().any(|what| what.ends_with(" removed"));
        if missing > outcome.dropped && !files_removed {
            assert!(!outcome.told.is_empty() || outcome.torn > 0, "{done:?}: {missing} missing, and not a word of it");
        }
        if outcome.dropped > 0 {
            assert!(!outcome.told.is_empty(), "{done:?}");
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_quarantines_and_counts_one_record() {
    let (pristine, names) = journal().await;
    let segments = pristine.files("journal", "seg");
    // The first has a footer, the last has none.
    for segment in [&segments[0], segments.last().unwrap()] {
        let home = copy(&pristine);
        let file = home.state_dir().join("journal").join(segment.file_name().unwrap());
        let mut bytes = fs::read(&file).unwrap();
        let (at, victim) = places(&bytes).into_iter().find(|(_, (tenant, _))| tenant == "b").unwrap();
        bytes[at + 60] ^= 4;
        fs::write(&file, &bytes).unwrap();
        let outcome = deliver(&home).await;
        let missing: Vec<_> = names.iter().filter(|name| !outcome.arrived.contains_key(name)).collect();
        assert_eq!((missing, outcome.dropped), (vec![&victim], 1));
        let told: Vec<_> = outcome.told.iter().filter(|line| line["tenant"] == "b").collect();
        assert_eq!((told.len(), &told[0]["items"], &told[0]["kind"]), (1, &json!(1), &json!("logs")));
        assert_eq!(told[0]["file"], json!(file));
        assert_eq!(outcome.quarantined.len(), 1);
        assert_eq!(told[0]["copy"], json!(outcome.quarantined[0]));
        let kept = fs::read(&outcome.quarantined[0]).unwrap();
        assert!(kept.windows(20).any(|window| window == &bytes[at + 50..at + 70]), "the copy has the damaged bytes");
    }
}

#[tokio::test]
async fn a_full_quarantine_still_counts_damage() {
    let (home, _) = journal().await;
    let full = home.state_dir().join("journal/quarantine");
    fs::create_dir_all(&full).unwrap();
    // It is as long and takes no space.
    fs::File::create(full.join("0000000000000000-ffffffff.bin")).unwrap().set_len(256 << 20).unwrap();
    let file = &home.files("journal", "seg")[0];
    let mut bytes = fs::read(file).unwrap();
    let of_b: Vec<usize> =
        places(&bytes).into_iter().filter(|(_, (tenant, _))| tenant == "b").map(|(at, _)| at).collect();
    for at in &of_b[..3] {
        bytes[at + 60] ^= 4;
    }
    fs::write(file, &bytes).unwrap();
    let (outcome, log) = deliver_and_log(&home).await;
    assert_eq!((outcome.dropped, outcome.quarantined.len()), (3, 1));
    let told: Vec<_> = outcome.told.iter().filter(|line| line["tenant"] == "b").collect();
    assert_eq!((told.len(), &told[0]["copy"]), (3, &Value::Null));
    assert_eq!(log.matches("the journal's quarantine is full").count(), 1, "{log}");
    assert_eq!(fs::read_to_string(full.join("account.ndjson")).unwrap().lines().count(), 3);
}

#[tokio::test]
async fn a_truncated_segment_is_reported() {
    let (home, names) = journal().await;
    let file = &home.files("journal", "seg")[0];
    let mut bytes = fs::read(file).unwrap();
    let salt = bytes[20..28].to_vec();
    // Every record begins with the segment's salt.
    let begins = (32..bytes.len() - 200).filter(|at| bytes[*at..*at + 8] == salt[..]).nth(20).unwrap();
    let cost = touched(&bytes, &(begins..bytes.len()));
    bytes.truncate(begins);
    fs::write(file, bytes).unwrap();
    let outcome = deliver(&home).await;
    let missing: Names = names.iter().filter(|name| !outcome.arrived.contains_key(name)).cloned().collect();
    assert!(!missing.is_empty() && missing.is_subset(&cost), "{missing:?}");
    let told: Vec<_> = outcome.told.iter().filter(|line| line["file"] == json!(file)).collect();
    assert_eq!((told.len(), &told[0]["records_at_most"]), (1, &json!(3 * REQUESTS - 20)));
}

#[tokio::test]
async fn foreign_files_are_left_alone() {
    let (home, names) = journal().await;
    let dir = home.state_dir().join("journal");
    fs::write(dir.join("notes.txt"), "mine").unwrap();
    fs::write(dir.join("zz.seg"), "mine").unwrap();
    fs::create_dir(dir.join("00000000deadbeef.seg")).unwrap();
    fs::create_dir(dir.join("00000000deadbeef.ack")).unwrap();
    fs::write(dir.join("0000000000aaaaaa.seg"), "").unwrap();
    fs::write(dir.join("0000000000aaaaab.ack"), "an ack file without its segment").unwrap();
    let outcome = deliver(&home).await;
    assert_eq!(outcome.arrived.into_keys().collect::<Names>(), names);
    assert_eq!(outcome.dropped, 0);
    for kept in ["notes.txt", "zz.seg", "00000000deadbeef.seg"] {
        assert!(dir.join(kept).exists(), "{kept}");
    }
}

#[tokio::test]
async fn a_newer_segment_is_named_and_untouched() {
    let (home, names) = journal().await;
    let newer = home.state_dir().join("journal").join("0000000000ffffff.seg");
    let mut header = [0; 32];
    header[..8].copy_from_slice(b"dogsledj");
    header[8..12].copy_from_slice(&2_u32.to_le_bytes());
    header[12..20].copy_from_slice(&0xff_ffff_u64.to_le_bytes());
    let sum = crc32c::crc32c(&header[..28]);
    header[28..].copy_from_slice(&sum.to_le_bytes());
    fs::write(&newer, header).unwrap();
    let fakeintake = FakeIntake::start();
    let mut daemon = setup(&fakeintake).spawn_in(&home);
    assert_eq!(daemon.wait_end().await.code(), Some(1));
    until("its word", async || daemon.log("newer dogsled").into_iter().next()).await;
    assert!(daemon.log_text().contains(newer.to_str().unwrap()), "{}", daemon.log_text());
    assert_eq!(fs::read(&newer).unwrap(), header);
    fs::remove_file(&newer).unwrap();
    assert_eq!(deliver(&home).await.arrived.into_keys().collect::<Names>(), names);
}
