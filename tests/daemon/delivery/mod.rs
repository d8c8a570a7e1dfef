//! Delivery to Datadog as promised, on the real program and real sockets: what each answer leads to.

mod answers;
mod circuit;
mod dead_letters;
mod division;
mod full;
mod hold;
mod keys;
mod late;
mod limits;
mod order;
mod throttling;

use crate::support::{Arrived, FakeIntake};
use serde_json::Value;
use std::collections::BTreeMap;

const LOGS: &str = "/api/v2/logs";

/// How often each item's `id` has arrived.
fn ids(items: &[Arrived]) -> BTreeMap<u64, usize> {
    let mut ids = BTreeMap::new();
    for item in items {
        *ids.entry(item.item["id"].as_u64().unwrap()).or_default() += 1;
    }
    ids
}

/// Fails unless exactly these ids have arrived, each once.
async fn assert_each_once(fakeintake: &FakeIntake, tenant: &str, expected: impl IntoIterator<Item = u64>) {
    let arrived = ids(&fakeintake.items(tenant, "logs").await);
    let expected: BTreeMap<u64, usize> = expected.into_iter().map(|id| (id, 1)).collect();
    assert_eq!(arrived, expected);
}

/// The lines of a tenant's dead letters; none without a file.
fn dead_letters(daemon: &crate::support::Daemon, tenant: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(daemon.dead_letters(tenant)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
