//! What the journal costs, beside the bare minimum on the same disk: a plain `write` of the same bytes for throughput, one
//! fsync for the answer time with `always`.
//!
//! `cargo bench --bench journal` prints one line a measurement. `DOGSLED_BENCH_DIR` is where the files go (a temporary
//! directory by default, which may be in memory), `DOGSLED_BENCH_MB` how much is written (2048).
//!
//! Not by criterion: what is measured is CPU time of the whole process and the behaviour of a disk over gigabytes.

// What clippy.toml forbids, measurements may do.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

#[path = "support/disk.rs"]
mod disk;

use disk::{forget, fsyncs};
use dogsled::journal::{Entry, Fsync, Journal, Options, Reader, Seq};
use dogsled::types::UnixMillis;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// What a request of 100 logs is.
const ENTRY: usize = 47 << 10;

/// Of the small records.
const SMALL: usize = 400;

fn entry(lane: &str, payload: &bytes::Bytes) -> Entry {
    Entry {
        lane: lane.to_owned().into(),
        items: 100,
        accepted: UnixMillis(1_700_000_000_000),
        oldest: UnixMillis(1_700_000_000_000),
        head: bytes::Bytes::new(),
        payload: payload.clone(),
    }
}

/// User and system time of this process, in seconds.
fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

/// Resident memory of this process, in MiB.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

fn report(what: &str, bytes: u64, begun: Instant, cpu_before: f64) {
    let (took, spent) = (begun.elapsed().as_secs_f64(), cpu() - cpu_before);
    let gigabytes = bytes as f64 / 1e9;
    println!("{what}: {:.0} MB/s, {:.2} CPU s/GB", gigabytes * 1e3 / took, spent / gigabytes);
}

fn plain_write(dir: &Path, payload: &[u8], total: u64) {
    let path = dir.join("plain");
    let mut file = File::create(&path).expect("the directory is writable");
    let (begun, before, mut written) = (Instant::now(), cpu(), 0);
    while written < total {
        file.write_all(payload).expect("there is space");
        written += payload.len() as u64;
    }
    report("plain write, not synced", written, begun, before);
    file.sync_all().expect("the disk works");
    report("plain write and one fsync", written, begun, before);
    fs::remove_file(path).expect("it is there");
}

async fn appends(dir: &Path, fsync: Fsync, payload: &bytes::Bytes, total: u64, acked: bool) {
    let (journal, _) = Journal::open(Options { fsync, ..Options::new(dir) }).expect("the directory is writable");
    let journal = Arc::new(journal);
    let (begun, before) = (Instant::now(), cpu());
    let each = total / 16 / payload.len() as u64;
    let tasks: Vec<_> = (0..16)
        .map(|lane| {
            let (journal, payload) = (journal.clone(), payload.clone());
            tokio::spawn(async move {
                let lane = format!("tenant-{lane}");
                for _ in 0..each {
                    let range = journal.append(vec![entry(&lane, &payload)], |_| ()).await.expect("there is space");
                    if acked {
                        journal.ack([range.start]);
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    report(&format!("appends of 47 KB, {fsync:?}, acked {acked}"), each * 16 * payload.len() as u64, begun, before);
    journal.close();
    clear(dir);
}

fn clear(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_file() {
            fs::remove_file(entry.path()).expect("it is ours");
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

async fn latency(dir: &Path, payload: &bytes::Bytes) {
    let one = median(fsyncs(dir, payload.len()).expect("the disk works"));
    for callers in [1, 16, 256] {
        let options = Options { fsync: Fsync::Always, ..Options::new(dir) };
        let journal = Arc::new(Journal::open(options).expect("the directory is writable").0);
        let tasks: Vec<_> = (0..callers)
            .map(|_| {
                let (journal, payload) = (journal.clone(), payload.slice(..1000));
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    for _ in 0..50 {
                        let begun = Instant::now();
                        journal.append(vec![entry("a", &payload)], |_| ()).await.expect("there is space");
                        times.push(begun.elapsed());
                    }
                    times
                })
            })
            .collect();
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.expect("no panic"));
        }
        println!("answer p50 with always, {callers} callers: {:?}; one fsync: {one:?}", median(times));
        journal.close();
        clear(dir);
    }
}

fn read_back(journal: &Journal, lane: &str) -> u64 {
    let mut reader = Reader::new(lane.to_owned().into(), Seq(0)..Seq(u64::MAX));
    let mut bytes = 0;
    loop {
        let batch = journal.read(&mut reader, 4 << 20).expect("files can be opened");
        bytes += batch.records.iter().map(|record| record.entry.payload.len() as u64).sum::<u64>();
        if batch.end {
            return bytes;
        }
    }
}

async fn backlog(dir: &Path, total: u64, size: usize) {
    let payload = bytes::Bytes::from(vec![b'x'; size]);
    let options = || Options { fsync: Fsync::Never, ..Options::new(dir) };
    let (journal, _) = Journal::open(options()).expect("the directory is writable");
    let records = total / size as u64;
    for first in (0..records).step_by(1000) {
        let entries = (first..first + 1000).map(|n| entry(&format!("tenant-{}", n % 50), &payload)).collect();
        journal.append(entries, |_| ()).await.expect("there is space");
    }
    // Some acked, here and there, as a crash finds it.
    journal.ack((0..records).step_by(97).map(Seq));
    journal.flush().await;
    drop(journal);
    let before = resident();
    let begun = Instant::now();
    let (journal, recovery) = Journal::open(options()).expect("it was open before");
    let (took, figures) = (begun.elapsed(), journal.figures());
    println!(
        "open with {} records of {size} bytes, {:.1} GB: {took:?}, RSS {:.0} MiB (before: {before:.0}), state {:.2} bytes/record",
        recovery.records,
        recovery.bytes as f64 / 1e9,
        resident(),
        figures.memory as f64 / recovery.records as f64
    );
    for cold in [false, true] {
        let state = if cold { "nothing of it in the page cache" } else { "from the page cache" };
        if cold {
            forget(dir).expect("Linux has it");
        }
        let (begun, before) = (Instant::now(), cpu());
        report(&format!("reading one lane of 50 back, {state}"), read_back(&journal, "tenant-7"), begun, before);
        if cold {
            forget(dir).expect("Linux has it");
        }
        let (begun, before) = (Instant::now(), cpu());
        let bytes = thread::scope(|scope| {
            let lanes = (0..50).map(|n| format!("tenant-{n}"));
            let threads: Vec<_> = lanes.map(|lane| scope.spawn(|| read_back(&journal, &{ lane }))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        report(&format!("reading all 50 lanes at once, {state}"), bytes, begun, before);
    }
    println!("RSS after reading: {:.0} MiB", resident());
    drop(journal);
    clear(dir);
}

fn main() {
    let megabytes = std::env::var("DOGSLED_BENCH_MB").ok().and_then(|mb| mb.parse().ok()).unwrap_or(2048);
    let total: u64 = megabytes * 1_000_000;
    let base = std::env::var_os("DOGSLED_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let dir = base.join(format!("dogsled-bench-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("the directory is writable");
    let payload: bytes::Bytes = (0..ENTRY).map(|at| (at * 31 % 251) as u8).collect::<Vec<_>>().into();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    runtime.block_on(async {
        if std::env::var_os("DOGSLED_BENCH_BACKLOG").is_some() {
            backlog(&dir, total, SMALL).await;
            backlog(&dir, total, ENTRY).await;
        } else {
            plain_write(&dir, &payload, total);
            for acked in [false, true] {
                appends(&dir, Fsync::Interval(Duration::from_millis(200)), &payload, total, acked).await;
            }
            appends(&dir, Fsync::Never, &payload, total, false).await;
            appends(&dir, Fsync::Always, &payload, total / 4, false).await;
            plain_write(&dir, &payload, total);
            latency(&dir, &payload).await;
        }
    });
    let _ = fs::remove_dir_all(dir);
}
