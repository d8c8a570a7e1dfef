//! Telemetry of several tenants and kinds in which every item has a name of its own, and what became of each.

use crate::support::{Arrived, Daemon, FakeIntake, now_ms};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// What one emitter has sent.
pub struct Emitter {
    pub tenant: String,
    next: u64,
    rng: StdRng,
    /// Names of items that were answered 202.
    pub accepted: BTreeSet<u64>,
    /// Names of items whose request was not answered: they may arrive or not.
    pub unanswered: BTreeSet<u64>,
}

/// The name of an item, found anywhere in it.
pub fn name_in(text: &str) -> Option<(&str, u64)> {
    let name = &text[text.find("u~")? + 2..];
    let (tenant, rest) = name.split_once('~')?;
    Some((tenant, rest.split_once('~')?.0.parse().ok()?))
}

/// How names are written into items.
pub fn name(tenant: &str, number: u64) -> String {
    format!("u~{tenant}~{number}~")
}

impl Emitter {
    pub fn new(tenant: &str, seed: u64) -> Self {
        let (accepted, unanswered) = Default::default();
        let rng = StdRng::seed_from_u64(seed);
        Self { tenant: tenant.into(), next: 0, rng, accepted, unanswered }
    }

    /// Posts one request of a random kind and size. False when the daemon does not answer.
    pub async fn post(&mut self, daemon: &Daemon) -> bool {
        let at = now_ms() / 1000;
        let kind = self.rng.random_range(0..4);
        let count = match self.rng.random_range(0..10) {
            _ if kind == 2 => 1,
            0 => self.rng.random_range(100..700),
            _ => self.rng.random_range(1..30),
        };
        let numbers = self.next..self.next + count;
        self.next += count;
        let names = numbers.clone().map(|number| name(&self.tenant, number));
        let (path, body) = match kind {
            0 => ("/api/v2/logs", names.map(|name| json!({ "message": "m", "id": name })).collect()),
            1 => {
                let points = json!([{ "timestamp": at, "value": 1.5 }]);
                let series: Vec<_> =
                    names.map(|name| json!({ "metric": "m", "type": 3, "points": points, "tags": [name] })).collect();
                ("/api/v2/series", json!({ "series": series }))
            }
            2 => ("/api/v1/events", json!({ "title": names.collect::<String>(), "text": "t" })),
            _ => {
                let check = |name| json!({ "check": "c", "status": 0, "host_name": "h", "message": name });
                ("/api/v1/check_run", names.map(check).collect::<Value>())
            }
        };
        match daemon.try_post(&self.tenant, path, body.to_string().into_bytes()).await {
            Some(answer) if answer.status == 202 => self.accepted.extend(numbers),
            Some(answer) => assert!([429, 503].contains(&answer.status), "{answer:?}"),
            None => {
                self.unanswered.extend(numbers);
                return false;
            }
        }
        true
    }
}

/// An item that arrived more than once: the requests that it came in, in order.
pub type Duplicates = BTreeMap<u64, Vec<Arrived>>;

/// Fails unless everything of the emitter that was answered 202 has arrived, and nothing else but what was not
/// answered. Gives what came more than once.
pub async fn assert_arrived(fakeintake: &FakeIntake, emitter: &Emitter) -> Duplicates {
    let mut arrivals: Duplicates = BTreeMap::new();
    for item in fakeintake.items(&emitter.tenant, "total").await {
        let text = item.item.to_string();
        let (tenant, number) = name_in(&text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(tenant, emitter.tenant, "crossed tenants: {text}");
        arrivals.entry(number).or_default().push(item);
    }
    let missing: Vec<_> = emitter.accepted.iter().filter(|number| !arrivals.contains_key(number)).collect();
    assert!(missing.is_empty(), "{}: {} were accepted and are missing: {missing:?}", emitter.tenant, missing.len());
    let unknown = |number: &&u64| !emitter.accepted.contains(number) && !emitter.unanswered.contains(number);
    let unknown: Vec<_> = arrivals.keys().filter(unknown).collect();
    assert!(unknown.is_empty(), "{}: refused and arrived all the same: {unknown:?}", emitter.tenant);
    arrivals.retain(|_, arrived| arrived.len() > 1);
    arrivals
}

/// A seed for a test's random numbers, shown so that a failure can be repeated with `DOGSLED_SEED`.
pub fn seed() -> u64 {
    static SHOWN: Mutex<()> = Mutex::new(());
    let given = std::env::var("DOGSLED_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    let _one_line = SHOWN.lock();
    eprintln!("DOGSLED_SEED={seed}");
    seed
}
