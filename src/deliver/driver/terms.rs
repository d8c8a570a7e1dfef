//! What a tenant may send at present, and what becomes of what it may not: keys that are exchanged, telemetry that is held
//! or given up.

use super::outcome::Fate;
use super::{Auth, Sender, State};
use crate::deliver::client::{ClientError, Destination};
use crate::deliver::endpoint::EndpointState;
use crate::deliver::work::Work;
use crate::ledger::DropReason;
use crate::machine::Machine;
use crate::payload::Payload;
use crate::queue::Batch;
use crate::tenancy::{Hold, Tenant, TenantState};
use crate::types::{Chunk, Kind, Secret, UnixMillis};
use std::sync::Arc;
use tokio::time::Instant;

/// A tenant's key and site, and the addresses made for them.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) tenant: Arc<Tenant>,
    pub(super) key: Secret,
    to: Arc<Destination>,
}

/// What last went wrong for a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// When.
    pub at: UnixMillis,
    /// The path of the endpoint.
    pub endpoint: &'static str,
    /// Datadog's words with the status, or those of the network.
    pub words: String,
}

impl Sender {
    /// Whether nothing of a kind may be sent, though there is a key. What was meant for another organisation keeps what
    /// came after it waiting too: a lane stays in its order.
    pub(super) fn holds(&self, state: &State, kind: Kind, hold: Hold) -> bool {
        hold.paused || hold.before.is_some_and(|before| self.oldest(state, kind).is_some_and(|oldest| oldest < before))
    }

    /// Whether a payload may be sent there at this moment, as far as it is for the operator to say.
    pub(super) fn terms_allow(&self, state: &State, payload: &Payload, to: &Arc<Destination>) -> bool {
        let (Some(tenant), Some(bound)) = (self.tenant(), &state.bound) else { return false };
        let (key, hold) = tenant.terms();
        let leads_there = Arc::ptr_eq(&bound.tenant, &tenant) && Arc::ptr_eq(&bound.to, to);
        leads_there
            && key.as_ref() == Some(&bound.key)
            && !self.holds(state, payload.kind, hold)
            && state.purge.is_none_or(|before| payload.accepted >= before)
    }

    /// When the oldest item of a kind was accepted.
    fn oldest(&self, state: &State, kind: Kind) -> Option<UnixMillis> {
        let taken = state.backlog.all().map(Work::figures).filter(|lane| lane.kind == kind);
        taken.filter_map(|lane| lane.oldest).chain(self.queue.oldest(kind)).min()
    }

    /// Drops what was accepted before a time; gives how many items of what waits. What is under way is dropped when it
    /// comes back, unless Datadog has taken it.
    pub(in crate::deliver) fn purge(&self, before: UnixMillis) -> u64 {
        let mut state = self.lock();
        state.purge = state.purge.max(Some(before));
        let items = self.purge_held(&mut state);
        drop(state);
        self.queue.nudge();
        items
    }

    pub(super) fn purge_held(&self, state: &mut State) -> u64 {
        let Some(before) = state.purge else { return 0 };
        let mut items = 0;
        for work in state.backlog.take_older(before) {
            match &work {
                Work::Build(batch, _) => {
                    batch.chunks.iter().for_each(|chunk| self.purge_chunk(batch, chunk));
                    items += batch.chunks.iter().map(|chunk| u64::from(chunk.items)).sum::<u64>();
                }
                _ => {
                    if let Some(payload) = work.payload() {
                        self.settle(payload, Fate::Dropped(payload.items, DropReason::Purged));
                        items += u64::from(payload.items);
                    }
                }
            }
        }
        items
    }

    /// What is left of a batch that was just taken: some of it may have been on its way into the queue, or out of it, while
    /// that was purged.
    pub(super) fn without_purged(&self, state: &State, mut batch: Batch) -> Option<Batch> {
        let Some(before) = state.purge else { return Some(batch) };
        let (chunks, memory) = (std::mem::take(&mut batch.chunks), std::mem::take(&mut batch.memory));
        for (chunk, memory) in chunks.into_iter().zip(memory) {
            if chunk.accepted < before {
                self.purge_chunk(&batch, &chunk);
            } else {
                batch.chunks.push(chunk);
                batch.memory.push(memory);
            }
        }
        (!batch.chunks.is_empty()).then_some(batch)
    }

    fn purge_chunk(&self, batch: &Batch, chunk: &Chunk) {
        let items = u64::from(chunk.items);
        self.ledger.account(&self.queue.id, batch.kind).drop_items(items, DropReason::Purged);
        chunk.follow.iter().for_each(|follow| follow.dropped(chunk.items));
        batch.finalizer.finalize(items, None);
    }

    pub(super) fn tenant(&self) -> Option<Arc<Tenant>> {
        self.registry.get(self.queue.id.as_str())
    }

    /// The state that the tenant is shown in; none while there is no such tenant.
    pub(in crate::deliver) fn shown(&self) -> Option<TenantState> {
        self.tenant().map(|tenant| tenant.state())
    }

    /// What last went wrong.
    pub(in crate::deliver) fn last_error(&self) -> Option<LastError> {
        self.lock().last_error.clone()
    }

    pub(super) fn note(&self, state: &mut State, endpoint: &'static str, words: String) {
        state.last_error = Some(LastError { at: self.tools.machine.now(), endpoint, words });
    }

    pub(super) fn show_state(&self) {
        let Some(tenant) = self.tenant() else { return };
        let state = self.lock();
        let (key, hold) = tenant.terms();
        let shown = if key.is_none() || hold.paused {
            tenant.state_at_rest()
        } else if state.auth.is_refused() {
            TenantState::Unauthorized
        } else if hold.before.is_some() && self.turns(&state).into_iter().any(|kind| self.holds(&state, kind, hold)) {
            TenantState::Paused
        } else if state.backlog.all().next().is_none() {
            // With nothing to send, it waits for nothing.
            TenantState::Active
        } else if state.endpoints.iter().any(EndpointState::is_throttled) {
            TenantState::Throttled
        } else if state.endpoints.iter().any(|endpoint| !endpoint.is_open()) || !state.auth.may_send() {
            TenantState::Retrying
        } else {
            TenantState::Active
        };
        tenant.set_state(shown);
    }
}

impl State {
    /// Where a tenant's telemetry goes, with which key, and what of it is held; none without a key.
    pub(super) fn bind(
        &mut self,
        tenant: Option<Arc<Tenant>>,
        now: Instant,
        machine: &Machine,
    ) -> Result<Option<(Arc<Destination>, Secret, Hold)>, ClientError> {
        let terms = tenant.map(|tenant| (tenant.terms(), tenant));
        let Some(((Some(key), hold), tenant)) = terms else {
            self.bound = None;
            return Ok(None);
        };
        if let Some(bound) = self.bound.as_ref().filter(|b| b.key == key && Arc::ptr_eq(&b.tenant, &tenant)) {
            return Ok(Some((bound.to.clone(), key, hold)));
        }
        // Whatever was found out about the key before says nothing about this one.
        self.bound = None;
        self.auth = Auth::new(now, machine.chance());
        self.backlog.forgive();
        for doubt in std::mem::take(&mut self.doubts) {
            self.endpoints[doubt.endpoint as usize].unanswered(doubt.probe, now);
        }
        let to = Arc::new(Destination::new(&tenant.site, &key)?);
        self.bound = Some(Bound { tenant, key: key.clone(), to: to.clone() });
        Ok(Some((to, key, hold)))
    }
}
