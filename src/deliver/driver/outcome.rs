//! What an outcome leads to: answers, failures, items that have come to their end.

use super::super::auth::Change;
use super::super::backlog::{Flight, Tried};
use super::super::client::Validity;
use super::super::dead_letter::Reason;
use super::super::judge::{self, Answer, Verdict};
use super::super::work::{KeyRefused, Landed, Work};
use super::{Doubt, STUCK, Sender, State, VALIDATE};
use crate::ledger::DropReason;
use crate::payload::Payload;
use crate::types::{Endpoint, Kind, Secret};
use std::sync::Arc;
use tokio::time::Instant;
use tracing::{error, info, warn};

/// How items ended.
pub(super) enum Fate {
    /// With Datadog; so many of them were late.
    Delivered { late: u32 },
    /// All on disk, with Datadog's reason.
    DeadLetters,
    /// So many of them were given up.
    Dropped(u32, DropReason),
}

impl Sender {
    pub(super) fn land(&self, id: u64, landed: Landed) {
        let now = Instant::now();
        let mut state = self.lock();
        let Some(flight) = state.backlog.end(id) else { return };
        self.landed(&mut state, now, &flight, landed);
    }

    fn landed(&self, state: &mut State, now: Instant, flight: &Flight, landed: Landed) {
        match landed {
            Landed::Thinned { payload, expired, then } => {
                self.settle(&payload, Fate::Dropped(expired, DropReason::Expired));
                self.landed(state, now, flight, *then);
            }
            Landed::Answered { payload, answer, late } => {
                self.answered(state, now, flight, payload, &answer, late);
            }
            Landed::Unanswered { payload, error } => {
                let endpoint = payload.kind.endpoint();
                if let Some(follow) = &payload.follow {
                    follow.attempted(error.as_str());
                }
                self.failed(state, now, endpoint, flight, &error);
                state.hold(Work::Send(payload), flight.place, None, flight.tried);
            }
            Landed::Built { built, expired } => {
                let Some(work) = &flight.work else { return };
                if let Some(payload) = work.payload().filter(|_| expired > 0) {
                    self.settle(payload, Fate::Dropped(expired, DropReason::Expired));
                }
                let known = &mut state.endpoints[work.kind().endpoint() as usize];
                known.unanswered(flight.probe, now);
                if let Work::Build(..) = work {
                    built.payloads.iter().chain(&built.oversized).for_each(|payload| known.built(payload));
                }
                state.hold_built(built, flight.place);
            }
            Landed::Buried { payload, reason } => {
                self.settle(&payload, Fate::DeadLetters);
                warn!(
                    tenant = %self.queue.id, kind = %payload.kind, items = payload.items, status = reason.status,
                    file = %self.tools.dead_letters.path(&self.queue.id).display(),
                    "items were refused and are kept as dead letters: {}", reason.words
                );
            }
            Landed::Stuck { work, error } => {
                error!(tenant = %self.queue.id, kind = %work.kind(), "a payload is kept and tried again: {error}");
                state.endpoints[work.kind().endpoint() as usize].unanswered(flight.probe, now);
                state.hold(work, flight.place, Some(now + STUCK), flight.tried);
            }
            Landed::Unsent { payload } => {
                state.endpoints[payload.kind.endpoint() as usize].unanswered(flight.probe, now);
                state.hold(Work::Send(payload), flight.place, None, flight.tried);
            }
            Landed::Loaded => {}
            // A key that has been exchanged meanwhile concerns nobody any more.
            Landed::Validated(key, validity) if state.bound.as_ref().is_some_and(|bound| bound.key == key) => {
                self.validated(state, now, key, &validity);
            }
            Landed::Validated(..) => {}
        }
    }

    fn answered(
        &self,
        state: &mut State,
        now: Instant,
        flight: &Flight,
        payload: Arc<Payload>,
        answer: &Answer,
        late: u32,
    ) {
        let endpoint = payload.kind.endpoint();
        let known = &mut state.endpoints[endpoint as usize];
        known.learn(answer, now);
        let reason = || Reason { status: Some(answer.status), words: answer.words.clone() };
        let verdict = judge::judge(answer, payload.encoding);
        if let Some(follow) = &payload.follow {
            follow.attempted(format!("{} {}", answer.status, answer.words).trim_end());
        }
        if matches!(verdict, Verdict::TooLarge | Verdict::Malformed | Verdict::WrongEncoding | Verdict::Refused) {
            known.refused(flight.probe);
        }
        if !matches!(verdict, Verdict::Delivered | Verdict::Retry) {
            self.note(state, endpoint.path(), format!("{} {}", answer.status, answer.words).trim_end().to_owned());
        }
        let known = &mut state.endpoints[endpoint as usize];
        match verdict {
            Verdict::Delivered => {
                known.delivered(flight.probe);
                self.settle(&payload, Fate::Delivered { late });
            }
            Verdict::Retry => {
                let words = format!("{} {}", answer.status, answer.words);
                self.failed(state, now, endpoint, flight, &words);
                state.hold(Work::Send(payload), flight.place, None, flight.tried);
            }
            Verdict::Throttled => {
                if known.is_open() {
                    let wait = answer.wait.map(|wait| wait.as_secs_f64());
                    info!(tenant = %self.queue.id, endpoint = endpoint.path(), wait, "rate limited; waiting");
                }
                known.throttled(flight.probe, now, answer.wait, &self.rules.get().backoff, self.chance());
                state.hold(Work::Send(payload), flight.place, None, flight.tried);
            }
            Verdict::TooLarge => {
                known.too_large(&payload);
                if payload.items > 1 {
                    state.hold(Work::Halve { suspect: payload.suspect, payload }, flight.place, None, Tried::default());
                } else {
                    state.hold(Work::Bury(payload, reason()), flight.place, None, Tried::default());
                }
            }
            Verdict::Malformed if !payload.suspect && !flight.tried.malformed => {
                // A 400 may be the intake's own trouble (a slow upload was answered so): once more.
                let later = now + self.rules.get().backoff.wait(1, self.chance());
                state.hold(Work::Send(payload), flight.place, Some(later), Tried { malformed: true, ..flight.tried });
            }
            Verdict::Malformed if payload.items > 1 => {
                state.hold(Work::Halve { payload, suspect: true }, flight.place, None, Tried::default());
            }
            Verdict::Malformed | Verdict::Refused => {
                state.hold(Work::Bury(payload, reason()), flight.place, None, Tried::default())
            }
            Verdict::WrongEncoding => {
                let encodings = self.tools.builder.get().encodings(payload.kind);
                let at = encodings.iter().position(|encoding| *encoding == payload.encoding);
                match at.and_then(|at| encodings.get(at + 1)) {
                    Some(next) => {
                        known.encodings_refused = known.encodings_refused.max(at.unwrap_or_default() + 1);
                        warn!(
                            tenant = %self.queue.id, kind = %payload.kind, refused = payload.encoding.name(),
                            instead = next.name(), "the encoding is refused: {}", answer.words
                        );
                        state.hold(Work::Reencode(payload, *next), flight.place, None, Tried::default());
                    }
                    None => state.hold(Work::Bury(payload, reason()), flight.place, None, Tried::default()),
                }
            }
            // The contract of this endpoint asks for an application key, which no tenant has: with a good API key,
            // this refusal is final (docs.datadoghq.com/api/latest/events).
            Verdict::Unauthorized if payload.kind == Kind::EventV2 && flight.tried.forbidden => {
                known.refused(flight.probe);
                state.hold(Work::Bury(payload, reason()), flight.place, None, Tried::default());
            }
            Verdict::Unauthorized => {
                state.auth.doubt(now);
                let words = format!("{} {}", answer.status, answer.words);
                state.doubts.push(Doubt { endpoint, probe: flight.probe, words });
                let tried = Tried { forbidden: payload.kind == Kind::EventV2, ..flight.tried };
                state.hold(Work::Send(payload), flight.place, None, tried);
            }
        }
    }

    /// Items of a payload have come to their end: counted, told to who follows them, and no more in the journal.
    pub(super) fn settle(&self, payload: &Payload, fate: Fate) {
        let account = self.ledger.account(&self.queue.id, payload.kind);
        let follow = payload.follow.as_ref();
        let items = match fate {
            Fate::Delivered { late } => {
                account.deliver(u64::from(payload.items), u64::from(late));
                follow.inspect(|follow| follow.delivered(payload.items));
                payload.items
            }
            Fate::DeadLetters => {
                account.dead_letter(u64::from(payload.items));
                follow.inspect(|follow| follow.dead_lettered(payload.items));
                payload.items
            }
            Fate::Dropped(items, reason) => {
                account.drop_items(u64::from(items), reason);
                follow.inspect(|follow| follow.dropped(items));
                items
            }
        };
        payload.finalizer.finalize(u64::from(items), Some(Box::new(self.settling.begin())));
    }

    pub(super) fn failed(&self, state: &mut State, now: Instant, endpoint: Endpoint, flight: &Flight, words: &str) {
        self.note(state, endpoint.path(), words.to_owned());
        let known = &mut state.endpoints[endpoint as usize];
        if known.is_open() {
            warn!(tenant = %self.queue.id, endpoint = endpoint.path(), "submission failed; trying again: {words}");
        }
        known.failed(flight.probe, now, &self.rules.get().backoff, self.chance());
    }

    fn validated(&self, state: &mut State, now: Instant, key: Secret, validity: &Validity) {
        let interval = self.rules.get().validate_interval;
        let change = state.auth.checked(validity, now, interval, &self.rules.get().backoff, self.chance());
        if change == Change::None {
            return;
        }
        for Doubt { endpoint, probe, words } in std::mem::take(&mut state.doubts) {
            let known = &mut state.endpoints[endpoint as usize];
            if change == Change::Cleared {
                if known.is_open() {
                    let endpoint = endpoint.path();
                    warn!(
                        tenant = %self.queue.id, endpoint,
                        "refused although the API key is good; trying again: {words}"
                    );
                }
                known.failed(probe, now, &self.rules.get().backoff, self.chance());
            } else {
                known.unanswered(probe, now);
            }
        }
        match validity {
            Validity::Invalid(words) => {
                // It was the key, not the payloads.
                state.backlog.forgive();
                self.note(state, VALIDATE, words.clone());
                error!(
                    tenant = %self.queue.id, site = state.bound.as_ref().map(|bound| &*bound.tenant.site.name),
                    "Datadog refuses the API key; telemetry is held until the key works again: {words}"
                );
                if let Some(refusals) = self.tools.refusals.get() {
                    // Nobody listens at the end.
                    let _ = refusals.send(KeyRefused { tenant: self.queue.id.clone(), key });
                }
            }
            _ if change == Change::Restored => info!(tenant = %self.queue.id, "the API key works again; delivering"),
            _ => {}
        }
    }
}
