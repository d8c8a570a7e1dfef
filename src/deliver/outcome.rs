//! What an outcome leads to: a payload is finalized, requeued, split, encoded otherwise, or written to the dead letters.

use super::auth::Change;
use super::backlog::JobId;
use super::client::Validity;
use super::dead_letter::Reason;
use super::job::{Job, Sequence, Step, Suspicion};
use super::judge::{self, Answer, Verdict};
use super::run::{KeyRefused, Outcome};
use super::sender::{Doubt, Sender, SenderState};
use crate::ledger::DropReason;
use crate::payload::{Built, Payload};
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
            Outcome::DeadLettered => {
                let Step::DeadLetter(payload, reason) = &job.step else { return };
                self.finalize(payload, Fate::DeadLettered);
                warn!(
                    tenant = %self.queue.id, kind = %payload.kind, items = payload.items, status = reason.status,
                    file = %self.tools.dead_letters.path(&self.queue.id).display(),
                    "items were refused and are kept as dead letters: {}", reason.message
                );
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
        let known = &mut state.endpoints[endpoint as usize];
        known.learn(answer, now);
        if let Some(follow) = &payload.follow {
            follow.attempted(answer.summary());
        }
        if matches!(verdict, Verdict::TooLarge | Verdict::Malformed | Verdict::WrongEncoding | Verdict::Refused) {
            known.refused(probe);
        }
        if !matches!(verdict, Verdict::Delivered | Verdict::Retry) {
            self.note(state, endpoint.path(), answer.summary());
        }
        let known = &mut state.endpoints[endpoint as usize];
        let dead_letter = |payload| {
            Step::DeadLetter(payload, Reason { status: Some(answer.status), message: answer.message.clone() })
        };
        match verdict {
            Verdict::Delivered => {
                known.delivered(probe);
                self.finalize(&payload, Fate::Delivered { late });
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
            Verdict::TooLarge => {
                known.too_large(&payload);
                let step = if payload.items > 1 { Step::Split(payload) } else { dead_letter(payload) };
                state.next_step(&job, step);
            }
            Verdict::Malformed if job.suspicion == Suspicion::None => {
                // A 400 may be the intake's own trouble (a slow upload was answered so): once more.
                let later = now + self.rules.get().backoff.wait(1, self.chance());
                state.backlog.requeue(Job { suspicion: Suspicion::Once, ..job }, Some(later));
            }
            Verdict::Malformed if payload.items > 1 => {
                state.next_step(&Job { suspicion: Suspicion::Divided, ..job }, Step::Split(payload));
            }
            Verdict::Malformed | Verdict::Refused => state.next_step(&job, dead_letter(payload)),
            Verdict::WrongEncoding => {
                let encodings = self.tools.builder.get().encodings(payload.kind);
                let at = encodings.iter().position(|encoding| *encoding == payload.encoding);
                let step = match at.and_then(|at| encodings.get(at + 1)) {
                    Some(next) => {
                        known.encodings_refused = known.encodings_refused.max(at.unwrap_or_default() + 1);
                        warn!(
                            tenant = %self.queue.id, kind = %payload.kind, refused = payload.encoding.name(),
                            instead = next.name(), "the encoding is refused: {}", answer.message
                        );
                        Step::Reencode(payload, *next)
                    }
                    None => dead_letter(payload),
                };
                state.next_step(&job, step);
            }
            // The contract of this endpoint asks for an application key, which no tenant has: with a good API key,
            // this refusal is final (docs.datadoghq.com/api/latest/events).
            Verdict::Unauthorized if payload.kind == Kind::EventV2 && job.forbidden => {
                known.refused(probe);
                state.next_step(&job, dead_letter(payload));
            }
            Verdict::Unauthorized => {
                state.auth.doubt(now);
                state.doubts.push(Doubt { endpoint, probe, message: answer.summary() });
                let forbidden = payload.kind == Kind::EventV2;
                state.backlog.requeue(Job { forbidden, ..job }, None);
            }
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
