//! The record of arrivals: all are counted, and items kept within a bound.

use super::decode::Texts;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Counts of one key and kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Requests of any outcome, interrupted ones included.
    pub attempts: u64,
    /// Requests that were accepted.
    pub requests: u64,
    /// Items in accepted requests.
    pub items: u64,
    /// Bytes of accepted bodies as sent.
    pub bytes_sent: u64,
    /// Bytes of accepted bodies once decompressed.
    pub bytes_decompressed: u64,
    /// Accepted requests by their content encoding.
    pub encodings: BTreeMap<String, u64>,
    /// The most items of one accepted request.
    pub max_items: u64,
    /// The most bytes of one accepted body as sent.
    pub max_bytes_sent: u64,
    /// The most bytes of one accepted body once decompressed.
    pub max_bytes_decompressed: u64,
    /// The most requests at one time.
    pub max_concurrent: u64,
    /// Requests refused, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Requests that came before a rate limit's refusal had allowed it.
    pub rate_limit_violations: u64,
    /// Logs accepted that Datadog would have cut.
    pub items_cut: u64,
    /// Requests now being handled.
    #[serde(skip)]
    concurrent: u64,
}

impl Counts {
    fn arrive(&mut self) {
        self.attempts += 1;
        self.concurrent += 1;
        self.max_concurrent = self.max_concurrent.max(self.concurrent);
    }

    fn accept(&mut self, arrival: &Arrival<'_>) {
        let (items, sent, decompressed) = (arrival.items, arrival.bytes_sent as u64, arrival.bytes_decompressed as u64);
        self.requests += 1;
        self.items += items;
        self.items_cut += arrival.items_cut;
        self.bytes_sent += sent;
        self.bytes_decompressed += decompressed;
        self.max_items = self.max_items.max(items);
        self.max_bytes_sent = self.max_bytes_sent.max(sent);
        self.max_bytes_decompressed = self.max_bytes_decompressed.max(decompressed);
        match self.encodings.get_mut(arrival.encoding) {
            Some(count) => *count += 1,
            None => drop(self.encodings.insert(arrival.encoding.to_owned(), 1)),
        }
    }
}

/// Counts of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct KeyCounts {
    /// Of all kinds together.
    pub total: Counts,
    /// Counts of each kind.
    pub kinds: BTreeMap<&'static str, Counts>,
}

/// Counts of everything that arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Received {
    /// By API key; requests without one are under `(none)`.
    pub keys: BTreeMap<String, KeyCounts>,
    /// The state of the recording.
    pub recording: Recording,
}

/// How much is recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Recording {
    /// Whether items are recorded at all.
    pub on: bool,
    /// The number of items kept.
    pub items: u64,
    /// Their size in memory, in bytes.
    pub bytes: usize,
    /// The bound on it.
    pub limit_bytes: usize,
    /// Items accepted and counted, but not held because the bound was reached.
    pub truncated_items: u64,
}

/// An item as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its position among all items that arrived.
    pub order: u64,
    /// The number of its request among all accepted ones.
    pub request: u64,
    /// When it arrived, in milliseconds since the epoch.
    pub at_ms: u64,
    /// The API key it came with.
    pub key: String,
    /// The kind of its endpoint.
    pub kind: &'static str,
    /// Its JSON text; converted from protobuf where that was sent.
    pub json: String,
}

/// One accepted request.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    pub(super) key: &'a str,
    pub(super) kind: &'static str,
    pub(super) encoding: &'a str,
    pub(super) items: u64,
    pub(super) items_cut: u64,
    pub(super) bytes_sent: usize,
    pub(super) bytes_decompressed: usize,
    pub(super) at_ms: u64,
    pub(super) texts: Option<Texts>,
}

/// A selection of keys and kinds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this key.
    pub key: Option<String>,
    /// Only this kind.
    pub kind: Option<String>,
}

impl Filter {
    fn key(&self, key: &str) -> bool {
        self.key.as_deref().is_none_or(|wanted| wanted == key)
    }

    fn kind(&self, kind: &str) -> bool {
        self.kind.as_deref().is_none_or(|wanted| wanted == kind)
    }
}

/// The counts and the recorded items.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) recording: bool,
    limit_bytes: usize,
    state: Mutex<State>,
    /// Notified of every change of the counts.
    changed: watch::Sender<()>,
    waiting: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    keys: BTreeMap<String, KeyCounts>,
    batches: Vec<Batch>,
    bytes: usize,
    items: u64,
    held: u64,
    truncated: u64,
    requests: u64,
    /// Incremented by a reset, so that requests begun before it are not counted after it.
    generation: u64,
}

#[derive(Debug)]
struct Batch {
    first: u64,
    request: u64,
    at_ms: u64,
    key: String,
    kind: &'static str,
    texts: Texts,
}

impl Records {
    pub(super) fn new(limit_bytes: Option<usize>) -> Self {
        Self {
            recording: limit_bytes.is_some(),
            limit_bytes: limit_bytes.unwrap_or_default(),
            state: Mutex::default(),
            changed: watch::Sender::new(()),
            waiting: AtomicU64::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request as being handled until the guard is dropped.
    pub(super) fn begin<'a>(&'a self, key: &'a str, kind: &'static str) -> InFlight<'a> {
        let mut state = self.state();
        state.each(key, kind, Counts::arrive);
        let generation = state.generation;
        drop(state);
        self.wake();
        InFlight { records: self, key, kind, generation }
    }

    /// Counts and records an accepted request.
    pub(super) fn accept(&self, mut arrival: Arrival<'_>) {
        let texts = arrival.texts.take();
        let mut state = self.state();
        state.requests += 1;
        let (first, request) = (state.items, state.requests);
        state.items += arrival.items;
        state.each(arrival.key, arrival.kind, |counts| counts.accept(&arrival));
        if let Some(texts) = texts.filter(|texts| texts.len() > 0) {
            if state.bytes + texts.bytes() > self.limit_bytes {
                state.truncated += texts.len() as u64;
            } else {
                state.bytes += texts.bytes();
                state.held += texts.len() as u64;
                let key = arrival.key.to_owned();
                state.batches.push(Batch { first, request, at_ms: arrival.at_ms, key, kind: arrival.kind, texts });
            }
        }
        drop(state);
        self.wake();
    }

    /// Counts a refused request.
    pub(super) fn refuse(&self, key: &str, kind: &'static str, status: u16) {
        self.state().each(key, kind, |counts| *counts.refused.entry(status).or_default() += 1);
    }

    /// Counts a request that came too early for a rate limit.
    pub(super) fn violation(&self, key: &str, kind: &'static str) {
        self.state().each(key, kind, |counts| counts.rate_limit_violations += 1);
    }

    /// The counts that `filter` selects.
    pub(super) fn received(&self, filter: &Filter) -> Received {
        let state = self.state();
        let keys = state.keys.iter().filter(|(key, _)| filter.key(key)).map(|(key, counts)| {
            let mut counts = counts.clone();
            counts.kinds.retain(|kind, _| filter.kind(kind));
            (key.clone(), counts)
        });
        let recording = Recording {
            on: self.recording,
            items: state.held,
            bytes: state.bytes,
            limit_bytes: self.limit_bytes,
            truncated_items: state.truncated,
        };
        Received { keys: keys.collect(), recording }
    }

    /// The recorded items from `from` on, in the order of their arrival.
    pub(super) fn items(&self, filter: &Filter, from: u64, limit: usize) -> Vec<Item> {
        let state = self.state();
        let batches = state.batches.iter().filter(|batch| filter.key(&batch.key) && filter.kind(batch.kind));
        let items = batches.flat_map(|batch| {
            batch.texts.iter().zip(batch.first..).map(|(json, order)| Item {
                order,
                request: batch.request,
                at_ms: batch.at_ms,
                key: batch.key.clone(),
                kind: batch.kind,
                json: json.to_owned(),
            })
        });
        items.filter(|item| item.order >= from).take(limit).collect()
    }

    /// The attempts and accepted items that `filter` selects.
    pub(super) fn tally(&self, filter: &Filter) -> (u64, u64) {
        let state = self.state();
        let keys = state.keys.iter().filter(|(key, _)| filter.key(key));
        let kinds = keys.flat_map(|(_, counts)| &counts.kinds).filter(|(kind, _)| filter.kind(kind));
        kinds.fold((0, 0), |(attempts, items), (_, counts)| (attempts + counts.attempts, items + counts.items))
    }

    /// Waits until [`Records::tally`] has at least `attempts` and `items`.
    pub(super) async fn reached(&self, filter: &Filter, attempts: u64, items: u64) {
        let mut changed = self.changed.subscribe();
        let _waiting = Waiting::new(&self.waiting);
        loop {
            let (attempted, arrived) = self.tally(filter);
            if attempted >= attempts && arrived >= items {
                return;
            }
            // The sender lives as long as `self`.
            let _ = changed.changed().await;
        }
    }

    fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.changed.send_replace(());
        }
    }

    /// Clears counts and items.
    pub(super) fn reset(&self) {
        let mut state = self.state();
        let generation = state.generation + 1;
        *state = State { generation, ..State::default() };
    }
}

impl State {
    fn each(&mut self, key: &str, kind: &'static str, mut with: impl FnMut(&mut Counts)) {
        if !self.keys.contains_key(key) {
            self.keys.insert(key.to_owned(), KeyCounts::default());
        }
        if let Some(counts) = self.keys.get_mut(key) {
            with(&mut counts.total);
            with(counts.kinds.entry(kind).or_default());
        }
    }
}

/// A request being handled.
pub(super) struct InFlight<'a> {
    records: &'a Records,
    key: &'a str,
    kind: &'static str,
    generation: u64,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut state = self.records.state();
        if state.generation == self.generation {
            state.each(self.key, self.kind, |counts| counts.concurrent -= 1);
        }
        drop(state);
        self.records.wake();
    }
}

/// A waiter for a change.
struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival<'a>(key: &'a str, items: &[&str]) -> Arrival<'a> {
        let mut texts = Texts::default();
        items.iter().for_each(|item| texts.push(item));
        Arrival {
            key,
            kind: "logs",
            encoding: "identity",
            items: items.len() as u64,
            items_cut: 0,
            bytes_sent: 1,
            bytes_decompressed: 1,
            at_ms: 1,
            texts: Some(texts),
        }
    }

    #[test]
    fn a_full_record_still_counts() {
        let records = Records::new(Some(40));
        for _ in 0..3 {
            records.accept(arrival("k", &["{}", "[]"]));
        }
        let received = records.received(&Filter::default());
        let held = Recording { on: true, items: 4, bytes: 40, limit_bytes: 40, truncated_items: 2 };
        assert_eq!(received.recording, held);
        assert_eq!(received.keys["k"].total.items, 6);
        let items = records.items(&Filter::default(), 1, 2);
        assert_eq!(items.iter().map(|item| (item.order, &*item.json)).collect::<Vec<_>>(), [(1, "[]"), (2, "{}")]);
    }

    #[test]
    fn a_reset_is_not_counted_into() {
        let records = Records::new(None);
        let old = records.begin("k", "logs");
        records.reset();
        let new = records.begin("k", "logs");
        drop(old);
        let both = records.begin("k", "logs");
        assert_eq!(records.received(&Filter::default()).keys["k"].total.max_concurrent, 2);
        drop((new, both));
        assert_eq!(records.received(&Filter::default()).keys["k"].total.concurrent, 0);
    }

    #[tokio::test]
    async fn waiting_honours_its_filter() {
        let records = Records::new(None);
        let filter = Filter { key: Some("k".into()), kind: Some("logs".into()) };
        records.accept(arrival("other", &["{}"]));
        let reached = records.reached(&filter, 0, 1);
        let mut reached = std::pin::pin!(reached);
        let early = tokio::time::timeout(std::time::Duration::ZERO, &mut reached).await;
        assert!(early.is_err());
        records.accept(arrival("k", &["{}"]));
        reached.await;
    }
}
