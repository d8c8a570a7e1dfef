//! Whether an endpoint of a tenant may be tried: backoff, rate limits and the circuit, as one small state machine.
//! Pure logic: time and chance are arguments.

use std::time::Duration;
use tokio::time::Instant;

/// The gate before one endpoint of one tenant.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    state: State,
    /// Failures in a row.
    failures: u32,
    throttled: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// Nothing is sent before this time, then one probe.
    Closed { until: Instant },
    /// The probe is under way.
    Probing,
}

/// Whether a request may start.
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

impl Gate {
    /// Whether a request may start now. [`Pass::Probe`] is not given twice: follow it with
    /// [`start_probe`](Self::start_probe).
    pub fn pass(&self, now: Instant) -> Pass {
        match self.state {
            State::Open => Pass::Go,
            State::Probing => Pass::Probing,
            State::Closed { until } if now < until => Pass::NotBefore(until),
            State::Closed { .. } => Pass::Probe,
        }
    }

    /// The probe is under way.
    pub fn start_probe(&mut self) {
        self.state = State::Probing;
    }

    /// A request was answered well. Answers to requests that were under way when the gate closed do not open it.
    pub fn succeed(&mut self, probe: bool) {
        if self.answers_gate(probe) {
            *self = Self::default();
        }
    }

    /// A request failed. Of several that were under way together, the first one counts.
    pub fn fail(&mut self, probe: bool, now: Instant, backoff: &Backoff, chance: f64) {
        if self.answers_gate(probe) {
            self.failures = self.failures.saturating_add(1);
            self.throttled = false;
            self.state = State::Closed { until: now + backoff.wait(self.failures, chance) };
        }
    }

    /// A request was answered 429. With a time to wait, nothing is sent before it has passed, whatever else happens;
    /// without one, or with none to speak of, it is backed off from like a failure. `chance` spreads the return over up to half a second.
    pub fn throttle(&mut self, probe: bool, now: Instant, wait: Option<Duration>, backoff: &Backoff, chance: f64) {
        let until = match wait.filter(|wait| !wait.is_zero()) {
            Some(wait) => now + wait + Duration::from_millis((500.0 * chance) as u64),
            None => {
                if self.answers_gate(probe) {
                    self.failures = self.failures.saturating_add(1);
                }
                now + backoff.wait(self.failures.max(1), chance)
            }
        };
        self.throttled = true;
        self.state = match self.state {
            State::Closed { until: earlier } => State::Closed { until: earlier.max(until) },
            // Another request's probe is under way: its answer must not open the gate too early.
            State::Open | State::Probing => State::Closed { until },
        };
    }

    /// The probe came to nothing without an answer about the endpoint: another may be sent.
    pub fn abandon_probe(&mut self, now: Instant) {
        if self.state == State::Probing {
            self.state = State::Closed { until: now };
        }
    }

    /// Whether an answer is one that the gate waits for: to any request while it is open, to the probe while that is
    /// under way. A rate limit told meanwhile closes it against the probe's answer too.
    fn answers_gate(&self, probe: bool) -> bool {
        self.state == State::Open || probe && self.state == State::Probing
    }

    /// Whether requests flow.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether it is a rate limit that keeps the gate closed.
    pub fn is_throttled(&self) -> bool {
        self.throttled && !self.is_open()
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
    fn a_closed_gate_lets_one_probe_through_and_opens_when_it_succeeds() {
        let mut gate = Gate::default();
        let now = Instant::now();
        gate.fail(false, now, &BACKOFF, 0.5);
        let until = now + Duration::from_millis(500);
        assert_eq!(gate.pass(now), Pass::NotBefore(until));
        assert_eq!(gate.pass(until), Pass::Probe);
        gate.start_probe();
        assert_eq!(gate.pass(until), Pass::Probing);
        gate.succeed(true);
        assert_eq!(gate.pass(until), Pass::Go);
    }

    #[test]
    fn failures_that_were_under_way_together_count_once() {
        let mut gate = Gate::default();
        let now = Instant::now();
        for _ in 0..4 {
            gate.fail(false, now, &BACKOFF, 1.0);
        }
        assert_eq!(gate.pass(now), Pass::NotBefore(now + Duration::from_secs(1)));
        let later = now + Duration::from_secs(1);
        gate.start_probe();
        gate.fail(false, later, &BACKOFF, 1.0);
        assert_eq!(gate.pass(later), Pass::Probing, "an old request's answer is not the probe's");
        gate.fail(true, later, &BACKOFF, 1.0);
        assert_eq!(gate.pass(later), Pass::NotBefore(later + Duration::from_secs(2)));
    }

    #[test]
    fn nothing_starts_before_a_rate_limit_resets() {
        let mut gate = Gate::default();
        let now = Instant::now();
        gate.throttle(false, now, Some(Duration::from_secs(10)), &BACKOFF, 0.0);
        assert!(gate.is_throttled());
        gate.succeed(false);
        gate.fail(false, now, &BACKOFF, 0.0);
        gate.throttle(false, now, Some(Duration::from_secs(4)), &BACKOFF, 0.0);
        assert_eq!(gate.pass(now + Duration::from_secs(9)), Pass::NotBefore(now + Duration::from_secs(10)));
    }

    #[test]
    fn a_429_during_the_probe_of_another_request_holds() {
        let mut gate = Gate::default();
        let now = Instant::now();
        gate.fail(false, now, &BACKOFF, 0.0);
        gate.start_probe();
        gate.throttle(false, now, Some(Duration::from_secs(10)), &BACKOFF, 0.0);
        gate.succeed(true);
        assert_eq!(gate.pass(now), Pass::NotBefore(now + Duration::from_secs(10)));
    }
}
