//! What is known of one endpoint of one tenant. Pure logic.

use super::circuit_breaker::{Backoff, CircuitBreaker, Pass};
use super::judge::Answer;
use super::pace::Pace;
use crate::payload::Payload;
use crate::types::{Kind, Limits};
use std::time::Duration;
use tokio::time::Instant;

/// An endpoint as a tenant's sender sees it.
#[derive(Debug)]
pub(super) struct EndpointState {
    breaker: CircuitBreaker,
    pace: Pace,
    paced_until: Option<Instant>,
    /// The requests left until a time, as Datadog has told.
    left: Option<(u64, Instant)>,
    /// Payloads that it has taken.
    taken: u64,
    /// Compressed bytes for each uncompressed byte of late payloads; starts at the worst.
    ratio: f64,
    /// Batches are kept below this many uncompressed bytes since a larger one was answered 413.
    ceiling: Option<usize>,
    pub(super) encodings_refused: usize,
}

/// The rest of a rate limit whose reset is not told is forgotten after this time.
const FORGET_LEFT: Duration = Duration::from_secs(60);

/// Whether a request may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// It may, as the probe or not.
    Now { probe: bool },
    /// Not before this time.
    At(Instant),
    /// Not before a request in flight is answered.
    AfterAnswer,
}

impl Default for EndpointState {
    fn default() -> Self {
        Self {
            breaker: CircuitBreaker::default(),
            pace: Pace::default(),
            paced_until: None,
            left: None,
            taken: 0,
            ratio: 1.0,
            ceiling: None,
            encodings_refused: 0,
        }
    }
}

impl EndpointState {
    /// Whether something may be sent, before it is known whether there is something.
    pub(super) fn may_start(&self, now: Instant) -> Start {
        if let Some(until) = self.paced_until.filter(|until| *until > now) {
            return Start::At(until);
        }
        match self.breaker.pass(now) {
            Pass::Go => Start::Now { probe: false },
            Pass::Probe => Start::Now { probe: true },
            Pass::NotBefore(at) => Start::At(at),
            Pass::Probing => Start::AfterAnswer,
        }
    }

    /// Takes the right to send. False when the pace does not give it yet.
    pub(super) fn start(&mut self, probe: bool, now: Instant) -> bool {
        match self.pace.take(now) {
            Ok(()) => {
                self.paced_until = None;
                if probe {
                    self.breaker.start_probe();
                }
                true
            }
            Err(at) => {
                // Never the same instant again, lest the caller spin.
                self.paced_until = Some(at.max(now + Duration::from_millis(1)));
                false
            }
        }
    }

    /// Whether what was started, as the probe or not, may still be sent although time has passed.
    pub(super) fn is_let_through(&self, probe: bool, now: Instant) -> bool {
        match self.breaker.pass(now) {
            Pass::Go => !probe,
            Pass::Probing => probe,
            Pass::Probe | Pass::NotBefore(_) => false,
        }
    }

    /// The limits for the next batch: the kind's, with fewer uncompressed bytes where more would not compress to within the
    /// compressed limit.
    pub(super) fn limits(&self, kind: Kind) -> Limits {
        let mut limits = kind.limits();
        // A tenth of room: a batch that misses the limit all the same is compressed twice.
        let fitting = (limits.compressed as f64 * 0.9 / self.ratio.max(0.001)) as usize;
        limits.uncompressed = limits.uncompressed.min(fitting).min(self.ceiling.unwrap_or(usize::MAX)).max(1);
        limits
    }

    /// A payload was built: learn how well its kind compresses.
    pub(super) fn built(&mut self, payload: &Payload) {
        // Small payloads compress worse than the large ones for which the figure is used.
        if payload.uncompressed >= 16 * 1024 {
            let ratio = payload.body.len() as f64 / payload.uncompressed as f64;
            self.ratio = if self.ratio >= 1.0 { ratio } else { self.ratio * 0.8 + ratio * 0.2 };
        }
    }

    pub(super) fn delivered(&mut self, probe: bool) {
        self.breaker.succeed(probe);
        self.taken += 1;
        self.ceiling = self.ceiling.map(|ceiling| ceiling + ceiling / 16);
    }

    /// Payloads that it has taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Nothing that was learnt from 413 holds: it refuses whatever is sent.
    pub(super) fn forget_ceiling(&mut self) {
        self.ceiling = None;
    }

    pub(super) fn failed(&mut self, probe: bool, now: Instant, backoff: &Backoff, chance: f64) {
        self.breaker.fail(probe, now, backoff, chance);
    }

    pub(super) fn throttled(
        &mut self,
        probe: bool,
        now: Instant,
        wait: Option<Duration>,
        backoff: &Backoff,
        chance: f64,
    ) {
        self.breaker.throttle(probe, now, wait, backoff, chance);
    }

    /// The endpoint works, but refused a payload for the payload's own fault.
    pub(super) fn refused(&mut self, probe: bool) {
        self.breaker.succeed(probe);
    }

    /// A request, perhaps the probe, ended without saying anything about the endpoint.
    pub(super) fn unanswered(&mut self, probe: bool, now: Instant) {
        if probe {
            self.breaker.abandon_probe(now);
        }
    }

    /// Learns the rate limits that an answer tells.
    pub(super) fn learn(&mut self, answer: &Answer, now: Instant) {
        if let Some(quota) = answer.quota {
            self.pace.learn(quota, now);
        }
        if let Some(left) = answer.left {
            let reset = answer.wait.or(answer.quota.map(|quota| quota.period)).unwrap_or(FORGET_LEFT);
            self.left = Some((left, now + reset));
        }
    }

    /// The requests left, if Datadog has told and the limit has not been reset since.
    pub(super) fn left(&self, now: Instant) -> Option<u64> {
        self.left.filter(|(_, until)| now < *until).map(|(left, _)| left)
    }

    pub(super) fn too_large(&mut self, payload: &Payload) {
        let half = (payload.uncompressed / 2).max(1024);
        self.ceiling = Some(self.ceiling.map_or(half, |ceiling| ceiling.min(half)));
    }

    /// Whether requests flow.
    pub(super) fn is_flowing(&self) -> bool {
        self.breaker.is_closed()
    }

    pub(super) fn is_throttled(&self) -> bool {
        self.breaker.is_throttled()
    }
}
