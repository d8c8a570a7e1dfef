//! What an outcome leads to: a payload is finalized, requeued, split, encoded otherwise, or written to the dead letters.

use super::auth::Change;
use super::backlog::JobId;
use super::client::Validity;
use super::dead_letter::Reason;
use super::job::{Job, Refused, Sequence, Step, Suspicion};
use super::judge::{self, Answer, Verdict};
use super::run::{KeyRefused, Outcome};
use super::sender::{Doubt, Sender, SenderState};
use crate::ledger::DropReason;
use crate::payload::{Built, Payload};
use crate::settings::WhenFull;
use crate::types::{Endpoint, Kind, Secret};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{error, info, warn};

/// How items ended.
pub(super) enum Fate {
    /// Datadog has the payload; of its items, `late` were late.
    Delivered { late: u32 },
    /// The payload is in the dead letters.
    DeadLettered,
    /// This many of the items were dropped.
    Dropped(u32, DropReason),
}

/// What fails for reasons of this host is tried again after this time.
const FAILED: Duration = Duration::from_secs(5);

/// When this many single items are refused and nothing is taken meanwhile, the items are not to blame.
const SEVERAL: usize = 2;

/// The endpoint that a validation is noted as.
const VALIDATE: &str = "/api/v1/validate";

impl Sender {
    /// Takes the outcome of a job's step.
    pub(super) fn finish(&self, id: JobId, outcome: Outcome) {
        let now = Instant::now();
        let mut state = self.lock();
        let Some(job) = state.backlog.take(id) else { return };
        match outcome {
            Outcome::Sent { payload, late, expired, result } => {
                if expired > 0 {
                    self.finalize(&payload, Fate::Dropped(expired, DropReason::Expired));
                }
                let job = Job { step: Step::Send(payload.clone()), ..job };
                match result {
                    Ok(answer) => self.judge(&mut state, now, job, payload, &answer, late),
                    Err(error) => {
                        if let Some(follow) = &payload.follow {
                            follow.attempted(error.as_str());
                        }
                        self.failed(&mut state, now, payload.kind.endpoint(), job.is_probe(), &error);
                        state.backlog.requeue(job, None);
                    }
                }
            }
            Outcome::Unsent => {
                state.endpoint_of(&job).unanswered(job.is_probe(), now);
                state.backlog.requeue(job, None);
            }
            Outcome::Built { built, expired } => {
                if let Some(payload) = job.payload().filter(|_| expired > 0) {
                    self.finalize(payload, Fate::Dropped(expired, DropReason::Expired));
                }
                let known = state.endpoint_of(&job);
                known.unanswered(job.is_probe(), now);
                if job.is_build() {
                    built.payloads.iter().chain(&built.oversized).for_each(|payload| known.built(payload));
                }
                state.replace(&job, built);
            }
            Outcome::DeadLettered(bytes) => {
                self.queue.set_dead_letter_bytes(bytes);
                let Step::DeadLetter(payload, reason) = &job.step else { return };
                self.finalize(payload, Fate::DeadLettered);
                warn!(
                    tenant = %self.queue.id, kind = %payload.kind, items = payload.items, status = reason.status,
                    file = %self.tools.dead_letters.path(&self.queue.id).display(),
                    "items were refused and are kept as dead letters: {}", reason.message
                );
            }
            Outcome::NoRoom(error) => {
                self.note(&mut state, job.kind().endpoint().path(), error.clone());
                let drops = self.queue.quota().when_full == WhenFull::DropOldest;
                match job.payload().filter(|_| drops) {
                    Some(payload) => {
                        warn!(tenant = %self.queue.id, items = payload.items, "refused items are dropped: {error}");
                        self.finalize(payload, Fate::Dropped(payload.items, DropReason::Evicted));
                    }
                    None => {
                        error!(tenant = %self.queue.id, items = job.figures().items, "refused items are held: {error}");
                        state.backlog.requeue(job, Some(now + FAILED));
                    }
                }
            }
            Outcome::Failed(error) => {
                error!(tenant = %self.queue.id, kind = %job.kind(), "a payload is kept and tried again: {error}");
                state.endpoint_of(&job).unanswered(job.is_probe(), now);
                state.backlog.requeue(job, Some(now + FAILED));
            }
        }
    }

    fn judge(
        &self,
        state: &mut SenderState,
        now: Instant,
        job: Job,
        payload: Arc<Payload>,
        answer: &Answer,
        late: u32,
    ) {
        let (endpoint, probe) = (payload.kind.endpoint(), job.is_probe());
        let verdict = judge::judge(answer, payload.encoding);
        state.endpoints[endpoint as usize].learn(answer, now);
        if let Some(follow) = &payload.follow {
            follow.attempted(answer.summary());
        }
        if !matches!(verdict, Verdict::Delivered | Verdict::Retry) {
            self.note(state, endpoint.path(), answer.summary());
        }
        if matches!(verdict, Verdict::TooLarge | Verdict::Malformed) {
            return self.refused(state, now, job, payload, answer, verdict);
        }
        let known = &mut state.endpoints[endpoint as usize];
        match verdict {
            Verdict::Delivered => {
                if let Some(date) = answer.date {
                    self.tools.machine.learn_time(date.into());
                }
                known.delivered(probe);
                self.finalize(&payload, Fate::Delivered { late });
                state.backlog.wake_condemned(endpoint);
            }
            Verdict::Retry => {
                self.failed(state, now, endpoint, probe, &answer.summary());
                state.backlog.requeue(job, None);
            }
            Verdict::Throttled => {
                if known.is_flowing() {
                    let wait = answer.wait.map(|wait| wait.as_secs_f64());
                    info!(tenant = %self.queue.id, endpoint = endpoint.path(), wait, "rate limited; waiting");
                }
                known.throttled(probe, now, answer.wait, &self.rules.get().backoff, self.chance());
                state.backlog.requeue(job, None);
            }
            Verdict::TooLarge | Verdict::Malformed => {}
            Verdict::WrongEncoding => {
                known.refused(probe);
                let encodings = self.tools.builder.get().encodings(payload.kind);
                let at = encodings.iter().position(|encoding| *encoding == payload.encoding);
                let Some(next) = at.and_then(|at| encodings.get(at + 1)) else {
                    // Never so for what is sent as it is.
                    self.failed(state, now, endpoint, probe, &answer.summary());
                    return state.backlog.requeue(job, None);
                };
                known.encodings_refused = known.encodings_refused.max(at.unwrap_or_default() + 1);
                warn!(
                    tenant = %self.queue.id, kind = %payload.kind, refused = payload.encoding.name(),
                    instead = next.name(), "the encoding is refused: {}", answer.message
                );
                state.next_step(&job, Step::Reencode(payload, *next));
            }
            // The contract of this endpoint asks for an application key, which no tenant has: with a good API key,
            // this refusal is final (docs.datadoghq.com/api/latest/events).
            Verdict::Unauthorized if payload.kind == Kind::EventV2 && job.forbidden => {
                known.refused(probe);
                state.next_step(&job, dead_letter(payload, answer));
            }
            Verdict::Unauthorized => {
                state.auth.doubt(now);
                state.doubts.push(Doubt { endpoint, probe, message: answer.summary() });
                let forbidden = payload.kind == Kind::EventV2;
                state.backlog.requeue(Job { forbidden, ..job }, None);
            }
        }
    }

    /// A payload was answered 400 or 413: it is sent once more, or split, or written to the dead letters. Where the endpoint
    /// refuses everything, down to several single items, the items are not to blame: that is a failure of the endpoint.
    fn refused(
        &self,
        state: &mut SenderState,
        now: Instant,
        job: Job,
        payload: Arc<Payload>,
        answer: &Answer,
        verdict: Verdict,
    ) {
        let (endpoint, probe, backoff) = (payload.kind.endpoint(), job.is_probe(), self.rules.get().backoff);
        let known = &mut state.endpoints[endpoint as usize];
        let refused = job.refused.unwrap_or(Refused { taken: known.taken(), attempts: 0 });
        let job = Job { refused: Some(refused), ..job };
        let is_proven = job.taken_before > refused.taken;
        let takes_others = known.taken() > refused.taken;
        let is_last = payload.items == 1 && (verdict == Verdict::TooLarge || job.suspicion != Suspicion::None);
        let others = state.backlog.condemned(endpoint);
        let condemned = others + usize::from(is_last && !is_proven);
        let refuses_all = condemned >= SEVERAL && !takes_others;
        let known = &mut state.endpoints[endpoint as usize];
        if refuses_all {
            known.forget_ceiling();
            let message =
                format!("everything is refused, down to single items, so the items are held: {}", answer.summary());
            self.failed(state, now, endpoint, probe, &message);
        } else {
            known.refused(probe);
            if verdict == Verdict::TooLarge {
                known.too_large(&payload);
            }
        }
        match verdict {
            _ if is_last => {
                let attempts = refused.attempts + 1;
                // With nothing to compare it with, a single item is to blame if it is refused for long.
                let is_alone = !refuses_all && state.backlog.refused(endpoint) == 0;
                if is_proven || is_alone && backoff.is_at_its_limit(attempts) {
                    return state.next_step(&job, dead_letter(payload, answer));
                }
                let later = (!takes_others).then(|| now + backoff.wait(attempts, self.chance()));
                state.backlog.requeue(Job { refused: Some(Refused { attempts, ..refused }), ..job }, later);
            }
            Verdict::Malformed if job.suspicion == Suspicion::None => {
                // A 400 may be the intake's own trouble (a slow upload was answered so): once more.
                let later = now + backoff.wait(1, self.chance());
                state.backlog.requeue(Job { suspicion: Suspicion::Once, ..job }, Some(later));
            }
            Verdict::Malformed => {
                state.next_step(&Job { suspicion: Suspicion::Divided, ..job }, Step::Split(payload));
            }
            _ => state.next_step(&job, Step::Split(payload)),
        }
    }

    /// Items of a payload have ended: counts them, tells their follower, and takes them out of the journal.
    pub(super) fn finalize(&self, payload: &Payload, fate: Fate) {
        let account = self.ledger.account(&self.queue.id, payload.kind);
        let follow = payload.follow.as_ref();
        let items = match fate {
            Fate::Delivered { late } => {
                account.deliver(u64::from(payload.items), u64::from(late));
                follow.inspect(|follow| follow.delivered(payload.items));
                payload.items
            }
            Fate::DeadLettered => {
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
        payload.finalizer.finalize(u64::from(items), Some(Box::new(self.unacked.hold())));
    }

    fn failed(&self, state: &mut SenderState, now: Instant, endpoint: Endpoint, probe: bool, message: &str) {
        self.note(state, endpoint.path(), message.to_owned());
        let known = &mut state.endpoints[endpoint as usize];
        if known.is_flowing() {
            warn!(tenant = %self.queue.id, endpoint = endpoint.path(), "submission failed; trying again: {message}");
        }
        known.failed(probe, now, &self.rules.get().backoff, self.chance());
    }

    /// Takes the result of validating a key.
    pub(super) fn validated(&self, key: Secret, validity: &Validity) {
        let now = Instant::now();
        let mut state = self.lock();
        let state = &mut *state;
        // A key that was exchanged meanwhile concerns nobody any more.
        let Some(bound) = state.bound.as_ref().filter(|bound| bound.key == key) else { return };
        let site = bound.tenant.site.name.clone();
        let interval = self.rules.get().validate_interval;
        let change = state.auth.checked(validity, now, interval, &self.rules.get().backoff, self.chance());
        if change == Change::None {
            return;
        }
        for Doubt { endpoint, probe, message } in std::mem::take(&mut state.doubts) {
            let known = &mut state.endpoints[endpoint as usize];
            if change == Change::Cleared {
                if known.is_flowing() {
                    let endpoint = endpoint.path();
                    warn!(
                        tenant = %self.queue.id, endpoint,
                        "refused although the API key is good; trying again: {message}"
                    );
                }
                known.failed(probe, now, &self.rules.get().backoff, self.chance());
            } else {
                known.unanswered(probe, now);
            }
        }
        match validity {
            Validity::Invalid(message) => {
                // It was the key, not the payloads.
                state.backlog.forgive();
                self.note(state, VALIDATE, message.clone());
                error!(
                    tenant = %self.queue.id, site = &*site,
                    "Datadog refuses the API key; telemetry is held until the key works again: {message}"
                );
                if let Some(refusals) = self.tools.refusals.get() {
                    // At the end, the receiver is gone.
                    let _ = refusals.send(KeyRefused { tenant: self.queue.id.clone(), key });
                }
            }
            _ if change == Change::Restored => info!(tenant = %self.queue.id, "the API key works again; delivering"),
            _ => {}
        }
    }
}

impl SenderState {
    /// Replaces a job with those of the payloads that it became.
    fn replace(&mut self, job: &Job, built: Built) {
        for payload in built.oversized {
            let limits = payload.kind.limits();
            let message = format!(
                "one item alone is larger than {} takes: {} bytes, {} compressed; at most {} and {}",
                payload.kind.endpoint().path(),
                payload.uncompressed,
                payload.body.len(),
                limits.uncompressed,
                limits.compressed
            );
            self.next_step(job, Step::DeadLetter(Arc::new(payload), Reason { status: None, message }));
        }
        let mut sequence: Sequence = job.sequence;
        for payload in built.payloads {
            let items = payload.items;
            self.backlog.add(job.successor(sequence, Step::Send(Arc::new(payload))));
            sequence = sequence.plus(items);
        }
    }
}

fn dead_letter(payload: Arc<Payload>, answer: &Answer) -> Step {
    Step::DeadLetter(payload, Reason { status: Some(answer.status), message: answer.message.clone() })
}
