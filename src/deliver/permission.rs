//! What a tenant may send at present: keys that are exchanged, telemetry that an operator holds or purges.

use super::client::Destination;
use super::endpoint::EndpointState;
use super::job::{Job, Step};
use super::outcome::Fate;
use super::sender::{Sender, SenderState};
use crate::ledger::DropReason;
use crate::payload::Payload;
use crate::queue::Batch;
use crate::tenancy::{Hold, TenantState};
use crate::types::{Chunk, Kind, UnixMillis};
use std::sync::Arc;

impl Sender {
    /// Whether nothing of a kind may be sent, although there is a key. Items meant for another organisation hold up those
    /// behind them too: a lane stays in order.
    pub(super) fn holds(&self, state: &SenderState, kind: Kind, hold: Hold) -> bool {
        hold.paused || hold.before.is_some_and(|before| self.oldest(state, kind).is_some_and(|oldest| oldest < before))
    }

    /// Whether a payload may be sent there at this moment, as far as operators and keys decide it.
    pub(super) fn is_permitted(&self, state: &SenderState, payload: &Payload, to: &Arc<Destination>) -> bool {
        let (Some(tenant), Some(bound)) = (self.tenant(), &state.bound) else { return false };
        let (key, hold) = tenant.terms();
        let leads_there = Arc::ptr_eq(&bound.tenant, &tenant) && Arc::ptr_eq(&bound.to, to);
        leads_there
            && key.as_ref() == Some(&bound.key)
            && !self.holds(state, payload.kind, hold)
            && state.purge.is_none_or(|before| payload.accepted >= before)
    }

    /// When the oldest item of a kind was accepted.
    fn oldest(&self, state: &SenderState, kind: Kind) -> Option<UnixMillis> {
        let taken = state.backlog.all().map(Job::figures).filter(|lane| lane.kind == kind);
        taken.filter_map(|lane| lane.oldest).chain(self.queue.oldest(kind)).min()
    }

    /// Drops items that were accepted before a time; returns how many of the waiting ones. Those in flight are dropped when
    /// they come back, unless Datadog has taken them.
    pub(super) fn purge(&self, before: UnixMillis) -> u64 {
        let mut state = self.lock();
        state.purge = state.purge.max(Some(before));
        let items = self.purge_waiting(&mut state);
        drop(state);
        self.queue.nudge();
        items
    }

    pub(super) fn purge_waiting(&self, state: &mut SenderState) -> u64 {
        let Some(before) = state.purge else { return 0 };
        let mut items = 0;
        for job in state.backlog.take_older(before) {
            items += job.figures().items;
            match (&job.step, job.payload()) {
                (Step::Build(batch, _), _) => batch.chunks.iter().for_each(|chunk| self.purge_chunk(batch, chunk)),
                (_, Some(payload)) => self.finalize(payload, Fate::Dropped(payload.items, DropReason::Purged)),
                (_, None) => {}
            }
        }
        items
    }

    /// A batch that was just taken, without the chunks that were on their way into the queue, or out of it, when it was
    /// purged; none if nothing is left.
    pub(super) fn without_purged(&self, state: &SenderState, mut batch: Batch) -> Option<Batch> {
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

    /// The state that the tenant is shown in; none while there is no such tenant.
    pub(super) fn shown(&self) -> Option<TenantState> {
        self.tenant().map(|tenant| tenant.state())
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
        } else if state.backlog.is_empty() {
            // With nothing to send, it waits for nothing.
            TenantState::Active
        } else if state.endpoints.iter().any(EndpointState::is_throttled) {
            TenantState::Throttled
        } else if state.endpoints.iter().any(|endpoint| !endpoint.is_flowing()) || !state.auth.may_send() {
            TenantState::Retrying
        } else {
            TenantState::Active
        };
        tenant.set_state(shown);
    }
}
