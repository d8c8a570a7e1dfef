//! What a tenant may send at present: keys that are exchanged, telemetry that an operator holds or purges.

use super::client::Destination;
use super::endpoint::EndpointState;
use super::job::{Job, Step};
use super::outcome::Fate;
use super::sender::{Sender, SenderState};
use crate::ledger::DropReason;
use crate::payload::Payload;
use crate::queue::{Batch, LaneId};
use crate::tenancy::{Hold, Recipients, TenantState};
use crate::types::{Chunk, UnixMillis};
use std::sync::Arc;

impl Sender {
    /// Whether nothing of a lane may be sent, although there is a key.
    pub(super) fn holds(&self, state: &SenderState, lane: LaneId, hold: &Hold) -> bool {
        hold.paused
            || !hold.recipients.contains(lane.generation)
                && self.oldest(state, lane).is_some_and(|oldest| hold.awaits_decision(lane.generation, oldest))
    }

    /// Whether a payload may be sent there at this moment, as far as operators and keys decide it.
    pub(super) fn is_permitted(&self, state: &SenderState, payload: &Payload, to: &Arc<Destination>) -> bool {
        let (Some(tenant), Some(bound)) = (self.tenant(), &state.bound) else { return false };
        let (key, hold) = tenant.terms();
        let leads_there = Arc::ptr_eq(&bound.tenant, &tenant) && Arc::ptr_eq(&bound.to, to);
        leads_there
            && key.as_ref() == Some(&bound.key)
            && !self.holds(state, payload.lane(), &hold)
            && !state.purge.includes(payload.generation, payload.accepted)
    }

    /// Whether there are items, and none of them may be sent.
    fn holds_all(&self, state: &SenderState, hold: &Hold) -> bool {
        let lanes = self.turns(state);
        !lanes.is_empty() && lanes.into_iter().all(|lane| self.holds(state, lane, hold))
    }

    /// When the oldest item of a lane was accepted.
    fn oldest(&self, state: &SenderState, lane: LaneId) -> Option<UnixMillis> {
        let taken = state.backlog.all().map(Job::figures).filter(|figures| figures.lane == lane);
        taken.filter_map(|figures| figures.oldest).chain(self.queue.oldest(lane)).min()
    }

    /// Drops items that were accepted before a time, none of the spared recipients; returns how many of the waiting ones. Those
    /// in flight are dropped when they come back, unless Datadog has taken them.
    pub(super) fn purge(&self, before: UnixMillis, spared: Option<&Recipients>) -> u64 {
        let mut state = self.lock();
        state.purge.add(before, spared);
        let items = self.purge_waiting(&mut state);
        drop(state);
        self.queue.nudge();
        items
    }

    pub(super) fn purge_waiting(&self, state: &mut SenderState) -> u64 {
        let mut items = 0;
        for job in state.backlog.take_purged(&state.purge) {
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
        if state.purge.is_empty() {
            return Some(batch);
        }
        let (chunks, memory) = (std::mem::take(&mut batch.chunks), std::mem::take(&mut batch.memory));
        for (chunk, memory) in chunks.into_iter().zip(memory) {
            if state.purge.includes(chunk.generation, chunk.accepted) {
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
        self.ledger.account(&self.queue.id, batch.lane.kind).drop_items(items, DropReason::Purged);
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
        } else if self.holds_all(&state, &hold) {
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
