//! The real queue, journal and delivery in a simulated world: virtual time, a disk that fails, a process that dies, and a
//! Datadog with every fault. All of it follows from a seed, so what was found once is found again.
//!
//! `plan` is what a seed makes of the world, `world` the lives of the process in it, `emitter` those who send telemetry,
//! `permission` what is done to tenants, `datadog` the other side with its `faults`, `invariants` what a sender must keep to, `oracle`
//! what became of each item and whether that is right; `machine` and `committer` stand in for the machine and its threads.
//!
//! `SIMULATION_SEED=n` runs that seed alone, `SIMULATION_SEEDS=n` so many; with `SIMULATION_TRACE=1` every event is told.

pub(crate) mod committer;
mod datadog;
mod emitter;
mod faults;
mod invariants;
pub(crate) mod machine;
mod oracle;
mod permission;
mod plan;
mod world;

use crate::journal::Fsync;
use std::cell::Cell;
use std::panic;
use std::sync::Once;
use tokio::runtime;
use world::World;

/// So many seeds are run usually.
const SEEDS: u64 = 7;

thread_local! {
    /// A task of the simulation has panicked, though the daemon goes on.
    static PANICKED: Cell<Option<String>> = const { Cell::new(None) };
}

/// Has panics of simulated tasks noted.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if machine::is_simulated() {
                PANICKED.set(Some(info.to_string()));
            }
            before(info);
        }));
    });
}

/// What came of a seed.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    trace: u64,
    accepted: usize,
    counts: Vec<(&'static str, u64)>,
}

/// Runs a seed.
///
/// # Panics
/// When something is not as it must be; the message tells the seed.
fn run(seed: u64) -> Outcome {
    watch_panics();
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let oracle = runtime.block_on(async {
        let _machine = machine::Simulated::begin(seed);
        let mut world = World::new(seed, dir.path());
        world.run().await;
        world.oracle.clone()
    });
    let mut oracle = oracle.lock().unwrap();
    if let Some(panicked) = PANICKED.take() {
        oracle.wrong(panicked);
    }
    assert!(
        oracle.wrong.is_empty(),
        "{}\nseed {seed}: {} things are wrong, the first: {}\nagain with SIMULATION_SEED={seed}",
        oracle.tail(),
        oracle.wrong.len(),
        oracle.wrong[0]
    );
    Outcome {
        trace: oracle.trace(),
        accepted: oracle.accepted_items(),
        counts: oracle.counts.clone().into_iter().collect(),
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn everything_accepted_arrives_whatever_fails() {
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let outcome = run(seed);
        eprintln!("seed {seed}: {outcome:?}");
    }
}

#[test]
fn a_seed_always_gives_the_same_world() {
    let first = run(6);
    assert_eq!(first, run(6));
    assert_ne!(first.trace, run(7).trace);
}
