//! Whether a tenant's key is good. Pure logic; the driver asks Datadog when this says so.

use super::circuit_breaker::Backoff;
use super::client::Validity;
use std::time::Duration;
use tokio::time::Instant;

/// What is known of the key.
#[derive(Debug)]
pub(super) struct Auth {
    state: KeyState,
    check_at: Instant,
    checking: bool,
    tries: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyState {
    /// Requests flow.
    Good,
    /// A submission was answered 401 or 403: nothing is sent until the key is validated.
    Doubted,
    /// Validation says that the key is refused: nothing is sent, and it is asked again with backoff.
    Refused,
}

/// What a validation changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// The key is refused from now on.
    Refused,
    /// The key, refused before, is good again.
    Restored,
    /// The key is good although a submission was refused: the refusal was the endpoint's.
    Cleared,
}

impl Auth {
    /// A key not yet validated; it is, within the first minute of use.
    pub(super) fn new(now: Instant, chance: f64) -> Self {
        Self {
            state: KeyState::Good,
            check_at: now + Duration::from_secs_f64(60.0 * chance),
            checking: false,
            tries: 0,
        }
    }

    pub(super) fn may_send(&self) -> bool {
        self.state == KeyState::Good
    }

    pub(super) fn is_refused(&self) -> bool {
        self.state == KeyState::Refused
    }

    /// A submission was answered 401 or 403.
    pub(super) fn doubt(&mut self, now: Instant) {
        if self.state == KeyState::Good {
            self.state = KeyState::Doubted;
            self.check_at = now;
            self.tries = 0;
        }
    }

    /// When the key is to be validated next; none while a validation is in flight.
    pub(super) fn next_check(&self) -> Option<Instant> {
        (!self.checking).then_some(self.check_at)
    }

    pub(super) fn start_check(&mut self) {
        self.checking = true;
    }

    /// Takes the result of a validation. `interval` is the time between validations of a good key.
    pub(super) fn checked(
        &mut self,
        validity: &Validity,
        now: Instant,
        interval: Duration,
        backoff: &Backoff,
        chance: f64,
    ) -> Change {
        self.checking = false;
        let before = self.state;
        if *validity == Validity::Valid {
            self.state = KeyState::Good;
            self.tries = 0;
            // Half of the interval to one and a half.
            self.check_at = now + interval.mul_f64(0.5 + chance);
            return match before {
                KeyState::Good => Change::None,
                KeyState::Doubted => Change::Cleared,
                KeyState::Refused => Change::Restored,
            };
        }
        self.tries = self.tries.saturating_add(1);
        self.check_at = now + backoff.wait(self.tries, chance);
        if matches!(validity, Validity::Invalid(_)) && before != KeyState::Refused {
            self.state = KeyState::Refused;
            return Change::Refused;
        }
        Change::None
    }

    /// The validation was lost before it had an answer.
    pub(super) fn check_lost(&mut self) {
        self.checking = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(300) };
    const HOUR: Duration = Duration::from_secs(3600);

    fn check(auth: &mut Auth, validity: Validity, now: Instant) -> Change {
        auth.start_check();
        assert_eq!(auth.next_check(), None);
        auth.checked(&validity, now, HOUR, &BACKOFF, 0.5)
    }

    #[test]
    fn a_refused_key_holds_until_validation_says_good() {
        let now = Instant::now();
        let mut auth = Auth::new(now, 0.5);
        auth.doubt(now);
        assert!(!auth.may_send());
        assert_eq!(auth.next_check(), Some(now));
        assert_eq!(check(&mut auth, Validity::Unknown("time-out".into()), now), Change::None);
        assert!(!auth.may_send() && !auth.is_refused(), "an error of the endpoint says nothing of the key");
        assert_eq!(check(&mut auth, Validity::Invalid("403".into()), now), Change::Refused);
        assert_eq!(check(&mut auth, Validity::Invalid("403".into()), now), Change::None);
        assert_eq!(auth.next_check(), Some(now + Duration::from_secs(2)), "third try, half of 4 s");
        assert_eq!(check(&mut auth, Validity::Valid, now), Change::Restored);
        assert!(auth.may_send());
        assert_eq!(auth.next_check(), Some(now + HOUR));
    }

    #[test]
    fn a_routine_validation_finds_a_revoked_key() {
        let now = Instant::now();
        let mut auth = Auth::new(now, 0.5);
        assert_eq!(check(&mut auth, Validity::Unknown("500".into()), now), Change::None);
        assert!(auth.may_send());
        assert_eq!(check(&mut auth, Validity::Invalid("403".into()), now), Change::Refused);
        assert!(auth.is_refused());
    }

    #[test]
    fn a_refusing_endpoint_clears_the_key() {
        let now = Instant::now();
        let mut auth = Auth::new(now, 0.5);
        auth.doubt(now);
        assert_eq!(check(&mut auth, Validity::Valid, now), Change::Cleared);
    }
}
