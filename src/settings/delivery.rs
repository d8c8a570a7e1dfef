//! `[delivery]`

use super::form::{DAY, HOUR, MILLISECOND, Number, Period, SECOND, Switch};
use super::key::section;
use super::problems::Problems;
use super::units::format_duration;
use std::time::Duration;

section! {
    /// How payloads are sent to Datadog.
    pub struct Delivery {
        /// The most requests of one tenant at once.
        concurrency_per_tenant: usize = 4, Number(1..=1_000), restart;
        /// The most requests at once. Tenants share a quarter of them for what they have in flight besides one request each,
        /// so that tenants whose requests hang leave room for the others.
        concurrency: usize = 64, Number(1..=100_000), restart;
        /// How long a request may take.
        timeout: Duration = Duration::from_secs(30), Period(MILLISECOND..=HOUR), restart;
        /// The first retry comes within this time; later ones are further apart, up to retry_max.
        retry_initial: Duration = SECOND, Period(MILLISECOND..=HOUR);
        /// Retries are never further apart than this.
        retry_max: Duration = Duration::from_secs(300), Period(MILLISECOND..=DAY);
        /// Whether to drop, as `expired`, items that Datadog would not keep for their age (metrics 1 h, logs and events
        /// 18 h).
        drop_late: bool = false, Switch;
        /// How often, about, the API key of an active tenant is validated.
        validate_interval: Duration = HOUR, Period(SECOND..=DAY.saturating_mul(30));
    }
}

pub(super) fn check(delivery: &Delivery, problems: &mut Problems) {
    let fine = problems.are_fine(&["delivery.retry_initial", "delivery.retry_max"]);
    if fine && delivery.retry_initial > delivery.retry_max {
        let (initial, max) = (format_duration(delivery.retry_initial), format_duration(delivery.retry_max));
        problems.error("delivery.retry_initial", format!("{initial} is more than delivery.retry_max, which is {max}"));
    }
    if delivery.concurrency_per_tenant > delivery.concurrency {
        problems
            .warning("delivery.concurrency_per_tenant", "is more than delivery.concurrency, which is never exceeded");
    }
}
