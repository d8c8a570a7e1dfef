//! Whether an endpoint of a tenant may be tried: backoff, rate limits and the circuit breaker, as one small state machine.
//! Pure logic: time and chance are arguments.

use std::time::Duration;
use tokio::time::Instant;

/// The circuit breaker of one endpoint of one tenant.
#[derive(Debug, Clone, Default)]
pub struct CircuitBreaker {
    state: State,
    /// Failures in a row.
    failures: u32,
    throttled: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Requests flow.
    #[default]
    Closed,
    /// Nothing is sent before this time, then one probe.
    Open { until: Instant },
    /// The probe is in flight.
    HalfOpen,
}

/// The answer to asking whether a request may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Yes.
    Go,
    /// Yes, this one and no other until it is answered.
    Probe,
    /// Not before this time.
    NotBefore(Instant),
    /// Not before the probe is answered.
    Probing,
}

/// The configured backoff.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Upper bound of the first wait.
    pub initial: Duration,
    /// Upper bound of any wait.
    pub max: Duration,
}

impl Backoff {
    /// The wait after so many failures in a row (from 1): full jitter, uniform below a bound that doubles
    /// (Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015). `chance` is in 0..1.
    pub fn wait(&self, failures: u32, chance: f64) -> Duration {
        let doubled = 2f64.powi(failures.saturating_sub(1).min(60) as i32);
        let bound = (self.initial.as_secs_f64() * doubled).min(self.max.as_secs_f64());
        Duration::from_secs_f64(bound * chance)
    }
}

impl Backoff {
    /// Whether waits no longer grow after so many failures in a row.
    pub fn is_at_its_limit(&self, failures: u32) -> bool {
        self.initial.as_secs_f64() * 2f64.powi(failures.min(60) as i32) >= self.max.as_secs_f64()
    }
}

impl CircuitBreaker {
    /// Whether a request may start now. [`Pass::Probe`] is not given twice: follow it with
    /// [`start_probe`](Self::start_probe).
    pub fn pass(&self, now: Instant) -> Pass {
        match self.state {
            State::Closed => Pass::Go,
            State::HalfOpen => Pass::Probing,
            State::Open { until } if now < until => Pass::NotBefore(until),
            State::Open { .. } => Pass::Probe,
        }
    }

    /// The probe is in flight.
    pub fn start_probe(&mut self) {
        self.state = State::HalfOpen;
    }

    /// A request was answered well. Answers to requests that were in flight when the breaker opened do not close it.
    pub fn succeed(&mut self, probe: bool) {
        if self.heeds(probe) {
            *self = Self::default();
        }
    }

    /// A request failed. Of several that were in flight together, the first one counts.
    pub fn fail(&mut self, probe: bool, now: Instant, backoff: &Backoff, chance: f64) {
        if self.heeds(probe) {
            self.failures = self.failures.saturating_add(1);
            self.throttled = false;
            self.state = State::Open { until: now + backoff.wait(self.failures, chance) };
        }
    }

    /// A request was answered 429. With a time to wait, nothing is sent before it has passed, whatever else happens;
    /// without one, or with zero, it counts as a failure. `chance` spreads the return over half a second.
    pub fn throttle(&mut self, probe: bool, now: Instant, wait: Option<Duration>, backoff: &Backoff, chance: f64) {
        let until = match wait.filter(|wait| !wait.is_zero()) {
            Some(wait) => now + wait + Duration::from_millis((500.0 * chance) as u64),
            None => {
                if self.heeds(probe) {
                    self.failures = self.failures.saturating_add(1);
                }
                now + backoff.wait(self.failures.max(1), chance)
            }
        };
        self.throttled = true;
        self.state = match self.state {
            State::Open { until: earlier } => State::Open { until: earlier.max(until) },
            // Another request's probe is in flight: its answer must not close the breaker too early.
            State::Closed | State::HalfOpen => State::Open { until },
        };
    }

    /// The probe ended without an answer about the endpoint: another may be sent.
    pub fn abandon_probe(&mut self, now: Instant) {
        if self.state == State::HalfOpen {
            self.state = State::Open { until: now };
        }
    }

    /// Whether the breaker heeds an answer: that to any request while it is closed, that to the probe while it is half open.
    /// A rate limit told meanwhile opens it against the probe's answer too.
    fn heeds(&self, probe: bool) -> bool {
        self.state == State::Closed || probe && self.state == State::HalfOpen
    }

    /// Whether requests flow.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether it is a rate limit that keeps the breaker open.
    pub fn is_throttled(&self) -> bool {
        self.throttled && !self.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(300) };

    #[test]
    fn waits_double_up_to_the_cap() {
        let bounds: Vec<_> = (1..=12).map(|failures| BACKOFF.wait(failures, 1.0).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(BACKOFF.wait(u32::MAX, 1.0).as_secs(), 300);
        assert_eq!(BACKOFF.wait(3, 0.0), Duration::ZERO);
    }

    #[test]
    fn an_open_breaker_closes_after_a_good_probe() {
        let mut breaker = CircuitBreaker::default();
        let now = Instant::now();
        breaker.fail(false, now, &BACKOFF, 0.5);
        let until = now + Duration::from_millis(500);
        assert_eq!(breaker.pass(now), Pass::NotBefore(until));
        assert_eq!(breaker.pass(until), Pass::Probe);
        breaker.start_probe();
        assert_eq!(breaker.pass(until), Pass::Probing);
        breaker.succeed(true);
        assert_eq!(breaker.pass(until), Pass::Go);
    }

    #[test]
    fn failures_in_flight_together_count_once() {
        let mut breaker = CircuitBreaker::default();
        let now = Instant::now();
        for _ in 0..4 {
            breaker.fail(false, now, &BACKOFF, 1.0);
        }
        assert_eq!(breaker.pass(now), Pass::NotBefore(now + Duration::from_secs(1)));
        let later = now + Duration::from_secs(1);
        breaker.start_probe();
        breaker.fail(false, later, &BACKOFF, 1.0);
        assert_eq!(breaker.pass(later), Pass::Probing, "an old request's answer is not the probe's");
        breaker.fail(true, later, &BACKOFF, 1.0);
        assert_eq!(breaker.pass(later), Pass::NotBefore(later + Duration::from_secs(2)));
    }

    #[test]
    fn nothing_starts_before_a_rate_limit_resets() {
        let mut breaker = CircuitBreaker::default();
        let now = Instant::now();
        breaker.throttle(false, now, Some(Duration::from_secs(10)), &BACKOFF, 0.0);
        assert!(breaker.is_throttled());
        breaker.succeed(false);
        breaker.fail(false, now, &BACKOFF, 0.0);
        breaker.throttle(false, now, Some(Duration::from_secs(4)), &BACKOFF, 0.0);
        assert_eq!(breaker.pass(now + Duration::from_secs(9)), Pass::NotBefore(now + Duration::from_secs(10)));
    }

    #[test]
    fn a_429_during_a_probe_holds() {
        let mut breaker = CircuitBreaker::default();
        let now = Instant::now();
        breaker.fail(false, now, &BACKOFF, 0.0);
        breaker.start_probe();
        breaker.throttle(false, now, Some(Duration::from_secs(10)), &BACKOFF, 0.0);
        breaker.succeed(true);
        assert_eq!(breaker.pass(now), Pass::NotBefore(now + Duration::from_secs(10)));
    }
}
