//! What all listeners feed: the aggregation, behind one lock that is taken once for a batch of datagrams.

use super::metrics::Handles;
use crate::aggregate::{Aggregator, Counts, Options, Source, TenantFigures};
use crate::ingest::Door;
use crate::machine::Machine;
use crate::types::TenantId;
use crate::wire::Part;
use crate::wire::dogstatsd::Reason;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What decides about lines, and may change while the daemon runs.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub options: Options,
    /// By listener.
    pub sources: Vec<Source>,
}

/// What all listeners feed.
#[derive(Debug)]
pub struct Hub {
    state: Mutex<State>,
    door: Arc<Door>,
    machine: Machine,
    pub(super) handles: Handles,
    listeners: Vec<ListenerFigures>,
}

#[derive(Debug)]
struct State {
    aggregator: Aggregator,
    sources: Vec<Source>,
    totals: Counts,
}

/// One listener, and what the kernel dropped of it.
#[derive(Debug)]
pub(super) struct ListenerFigures {
    pub name: String,
    pub tenant: Option<TenantId>,
    pub kernel_drops: AtomicU64,
}

/// A packet as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    pub bytes: &'a [u8],
    /// Whether the kernel cut it, so that its last line is not to be trusted.
    pub is_cut: bool,
}

/// What the status tells.
#[derive(Debug, Clone)]
pub struct Status {
    /// Name of each listener, its own tenant, and how many datagrams the kernel dropped of it.
    pub listeners: Vec<(String, Option<TenantId>, u64)>,
    /// Lines so far.
    pub lines: u64,
    /// What was not taken so far, by reason, with the beginning of a line of the open bucket.
    pub errors: Vec<(Reason, u64, Option<String>)>,
    /// Contexts at present.
    pub contexts: u32,
    /// The tenants' contexts, with the names that have most of them.
    pub tenants: Vec<TenantFigures>,
}

impl Hub {
    pub(super) fn new(rules: Rules, door: Arc<Door>, machine: Machine, listeners: Vec<ListenerFigures>) -> Self {
        let aggregator = Aggregator::new(rules.options, machine.now().seconds());
        let state = State { aggregator, sources: rules.sources, totals: Counts::default() };
        Self { state: Mutex::new(state), door, machine, handles: Handles::new(), listeners }
    }

    /// Takes the packets of one listener.
    pub(super) fn take<'a>(&self, listener: usize, packets: impl Iterator<Item = Packet<'a>>) {
        let registry = self.door.registry();
        let knows = |tenant: &str| registry.get(tenant).is_some();
        let now = self.machine.now().seconds();
        let mut state = self.lock();
        let State { aggregator, sources, .. } = &mut *state;
        let Some(source) = sources.get(listener) else { return };
        for Packet { bytes, is_cut } in packets {
            if !is_cut {
                aggregator.take(bytes, source, now, &knows);
                continue;
            }
            let whole = memchr::memrchr(b'\n', bytes).map_or(0, |end| end + 1);
            aggregator.take(&bytes[..whole], source, now, &knows);
            aggregator.refuse(Reason::Truncated, &bytes[whole..]);
        }
    }

    /// Counts what was not taken for another reason than its lines.
    pub(super) fn refuse(&self, reason: Reason) {
        self.lock().aggregator.refuse(reason, b"");
    }

    /// Asks anew whose each line is, since a tenant has gone.
    pub(super) fn forget_tenants(&self) {
        self.lock().aggregator.forget_spellings();
    }

    /// Counts datagrams that the kernel dropped.
    pub(super) fn dropped(&self, listener: usize, datagrams: u64) {
        self.handles.kernel_drops.increment(datagrams);
        if let Some(listener) = self.listeners.get(listener) {
            listener.kernel_drops.fetch_add(datagrams, Ordering::Relaxed);
        }
    }

    /// Closes the bucket whose time has passed; counts.
    pub(super) fn tick(&self) {
        let mut state = self.lock();
        state.aggregator.roll(self.machine.now().seconds());
        self.count(&mut state);
    }

    /// Writes some contexts of the closed bucket. Gives what is to be sent by now, and whether that is all.
    pub(super) fn advance(&self, contexts: u32) -> (Vec<Part>, bool) {
        let mut state = self.lock();
        let is_done = state.aggregator.advance(contexts);
        let parts = if is_done { state.aggregator.take_parts() } else { state.aggregator.take_full_parts() };
        (parts, is_done)
    }

    /// Closes the open bucket and gives all that there is.
    pub(super) fn finish(&self) -> Vec<Part> {
        let mut state = self.lock();
        state.aggregator.finish(self.machine.now().seconds());
        self.count(&mut state);
        state.aggregator.take_parts()
    }

    pub(super) fn apply(&self, rules: Rules) {
        let mut state = self.lock();
        let is_other_source = state.sources.iter().zip(&rules.sources).any(|(one, other)| one != other);
        if is_other_source {
            state.aggregator.forget_spellings();
        }
        state.sources = rules.sources;
        state.aggregator.configure(rules.options);
    }

    pub(super) fn door(&self) -> &Arc<Door> {
        &self.door
    }

    pub(super) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// What the status tells, with so many names of each tenant.
    pub fn status(&self, names: usize) -> Status {
        let mut state = self.lock();
        self.count(&mut state);
        let State { aggregator, totals, .. } = &*state;
        let counted = Reason::ALL.into_iter().zip(totals.errors).filter(|(_, count)| *count > 0);
        Status {
            listeners: self
                .listeners
                .iter()
                .map(|one| (one.name.clone(), one.tenant.clone(), one.kernel_drops.load(Ordering::Relaxed)))
                .collect(),
            lines: totals.lines,
            errors: counted
                .map(|(reason, count)| (reason, count, aggregator.example(reason).map(str::to_owned)))
                .collect(),
            contexts: aggregator.contexts(),
            tenants: aggregator.figures(names),
        }
    }

    fn count(&self, state: &mut State) {
        let counts = state.aggregator.take_counts();
        self.handles.count(&counts, state.aggregator.contexts());
        state.totals.add(&counts);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
