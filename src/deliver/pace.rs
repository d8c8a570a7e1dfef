//! Stays below a rate limit that Datadog has told.

use super::judge::Quota;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota as Rate, RateLimiter};
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::Instant;

/// The pace of requests to one endpoint of one tenant. None is kept until an answer has told a limit.
#[derive(Debug, Default)]
pub struct Pace {
    learnt: Option<Learnt>,
}

#[derive(Debug)]
struct Learnt {
    quota: Quota,
    seen: Instant,
    limiter: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>,
}

/// A limit that no answer has repeated for this many of its periods is forgotten...
const FORGET_PERIODS: u32 = 10;
/// ...but not before this time.
const FORGET_AFTER: Duration = Duration::from_secs(600);

impl Pace {
    /// Learns a limit from an answer.
    ///
    /// Requests are spread evenly with one fewer than the limit a period, so that any window of that length, however
    /// aligned, holds at most the limit.
    pub fn learn(&mut self, quota: Quota, now: Instant) {
        match &mut self.learnt {
            Some(learnt) if learnt.quota == quota => learnt.seen = now,
            slot => {
                let interval = match quota.limit {
                    // Alone in its period, and a little more, since two may fall into one by the network's jitter.
                    0 | 1 => quota.period.mul_f64(1.05),
                    limit => quota.period / (limit - 1),
                };
                let Some(rate) = Rate::with_period(interval) else { return };
                let limiter =
                    RateLimiter::direct_with_clock(rate.allow_burst(NonZeroU32::MIN), TokioClock { origin: now });
                *slot = Some(Learnt { quota, seen: now, limiter });
            }
        }
    }

    /// Takes the right to send one request.
    ///
    /// # Errors
    /// The earliest time at which there is one.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let Some(learnt) = &self.learnt else { return Ok(()) };
        if now > learnt.seen + FORGET_AFTER.max(learnt.quota.period.saturating_mul(FORGET_PERIODS)) {
            self.learnt = None;
            return Ok(());
        }
        learnt.limiter.check().map_err(|until| now + until.wait_time_from(learnt.limiter.clock().at(now)))
    }
}

/// The runtime's clock, which tests can pause.
#[derive(Debug, Clone)]
struct TokioClock {
    /// Any fixed one will do.
    origin: Instant,
}

impl TokioClock {
    fn at(&self, now: Instant) -> Nanos {
        Nanos::from(now.saturating_duration_since(self.origin))
    }
}

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.at(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_window_exceeds_the_limit() {
        for limit in [1, 2, 3, 10, 100] {
            let mut pace = Pace::default();
            let period = Duration::from_secs(10);
            pace.learn(Quota { limit, period }, Instant::now());
            let mut sent: Vec<Instant> = Vec::new();
            while sent.len() < 5 * limit as usize {
                match pace.take(Instant::now()) {
                    Ok(()) => sent.push(Instant::now()),
                    Err(at) => tokio::time::sleep_until(at).await,
                }
                pace.learn(Quota { limit, period }, Instant::now());
            }
            for (index, start) in sent.iter().enumerate() {
                let within = sent[index..].iter().filter(|at| **at < *start + period).count();
                assert!(within <= limit as usize, "{within} in a window of limit {limit}");
            }
            let rate = sent.len() as f64 / (sent[sent.len() - 1] - sent[0]).as_secs_f64();
            assert!(limit == 1 || rate > 0.45 * f64::from(limit) / 10.0, "{rate} a second for limit {limit}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_limit_is_forgotten() {
        let mut pace = Pace::default();
        pace.learn(Quota { limit: 1, period: Duration::from_secs(10) }, Instant::now());
        assert!(pace.take(Instant::now()).is_ok());
        assert!(pace.take(Instant::now()).is_err());
        tokio::time::advance(Duration::from_secs(601)).await;
        assert!(pace.take(Instant::now()).is_ok());
        assert!(pace.take(Instant::now()).is_ok(), "nothing is paced any more");
    }
}
