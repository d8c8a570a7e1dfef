//! Rate limits as Datadog has them: a number of requests in each period of the calendar.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::{Duration, UNIX_EPOCH};

/// A rate limit; every key has its own allowance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Requests that a key may make in a period.
    pub limit: u64,
    /// The length of a period in seconds, from 0.001 to 10⁹. Periods are aligned to the calendar.
    pub period_s: f64,
    /// The value of `X-RateLimit-Name`.
    #[serde(default = "default_name")]
    pub name: String,
    /// Whether answers have the `X-RateLimit-…` headers.
    #[serde(default = "yes")]
    pub headers: bool,
    /// Whether refusals have `Retry-After`, and in which form.
    #[serde(default)]
    pub retry_after: RetryAfter,
    /// How long after a refusal further requests count as sent before it, and are no violations.
    #[serde(default = "default_grace")]
    pub grace_ms: u64,
}

/// The form of a `Retry-After` header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// There is none, as with Datadog.
    #[default]
    None,
    /// A number of seconds.
    Seconds,
    /// An HTTP date.
    Date,
}

/// The possible lengths of a period, in seconds: no date overflows within them.
pub(super) const PERIODS: RangeInclusive<f64> = 0.001..=1e9;

fn default_name() -> String {
    "submission".into()
}

fn yes() -> bool {
    true
}

fn default_grace() -> u64 {
    100
}

/// The decision on one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) allowed: bool,
    /// Whether it came earlier than a refusal had allowed.
    pub(super) violation: bool,
    /// Requests left in this period.
    remaining: u64,
    /// Milliseconds to the next period.
    reset_ms: u64,
}

/// The use of the quota by key.
#[derive(Debug, Default)]
pub(super) struct Windows(HashMap<String, Window>);

#[derive(Debug, Default)]
struct Window {
    index: u64,
    used: u64,
    /// When it was first refused in this period, and the time it was told to wait for.
    told: Option<(u64, u64)>,
}

impl Windows {
    /// One request with `key` at `now_ms` after the epoch.
    pub(super) fn request(&mut self, quota: &Quota, key: &str, now_ms: u64) -> Decision {
        let period = (quota.period_s.clamp(*PERIODS.start(), *PERIODS.end()) * 1000.0) as u64;
        let window = self.0.entry(key.to_owned()).or_default();
        let index = now_ms / period;
        if window.index != index {
            (window.index, window.used) = (index, 0);
            if window.told.is_some_and(|(_, until)| until <= now_ms) {
                window.told = None;
            }
        }
        let violation =
            window.told.is_some_and(|(since, until)| now_ms > since.saturating_add(quota.grace_ms) && now_ms < until);
        let allowed = window.used < quota.limit;
        window.used += u64::from(allowed);
        let reset_ms = (index + 1) * period - now_ms;
        if !allowed && window.told.is_none() {
            window.told = Some((now_ms, now_ms + reset_ms.div_ceil(1000) * 1000));
        }
        Decision { allowed, violation, remaining: quota.limit - window.used, reset_ms }
    }
}

impl Decision {
    /// The headers that tell of it.
    pub(super) fn headers(&self, quota: &Quota, now_ms: u64) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let reset_s = self.reset_ms.div_ceil(1000);
        if quota.headers {
            let numbers = [
                ("x-ratelimit-limit", quota.limit),
                ("x-ratelimit-period", quota.period_s.ceil() as u64),
                ("x-ratelimit-remaining", self.remaining),
                ("x-ratelimit-reset", reset_s),
            ];
            for (name, value) in numbers {
                headers.insert(HeaderName::from_static(name), value.into());
            }
            if let Ok(name) = HeaderValue::from_str(&quota.name) {
                headers.insert(HeaderName::from_static("x-ratelimit-name"), name);
            }
        }
        let retry_after = match quota.retry_after {
            _ if self.allowed => None,
            RetryAfter::None => None,
            RetryAfter::Seconds => Some(reset_s.to_string()),
            RetryAfter::Date => {
                // A date has whole seconds: the next one, lest it be too early.
                let at = Duration::from_secs((now_ms + self.reset_ms).div_ceil(1000));
                Some(httpdate::fmt_http_date(UNIX_EPOCH + at))
            }
        };
        if let Some(value) = retry_after.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(RETRY_AFTER, value);
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(limit: u64, period_s: f64) -> Quota {
        Quota { limit, period_s, name: "n".into(), headers: true, retry_after: RetryAfter::Seconds, grace_ms: 100 }
    }

    #[test]
    fn periods_follow_the_calendar_for_each_key() {
        let (mut windows, quota) = (Windows::default(), quota(2, 10.0));
        let mut allowed = |key: &str, now_ms| windows.request(&quota, key, now_ms).allowed;
        assert!(allowed("a", 19_000) && allowed("a", 19_500) && !allowed("a", 19_999));
        assert!(allowed("b", 19_999));
        assert!(allowed("a", 20_000) && allowed("a", 20_001) && !allowed("a", 20_002));
    }

    #[test]
    fn an_early_request_is_a_violation() {
        let (mut windows, quota) = (Windows::default(), quota(1, 10.0));
        let mut request = |now_ms| windows.request(&quota, "a", now_ms);
        assert!(request(10_000).allowed);
        let refused = request(12_500);
        assert!(!refused.allowed && !refused.violation);
        assert_eq!(refused.reset_ms, 7_500);
        assert!(!request(12_600).violation);
        assert!(request(12_601).violation);
        // The reset was said to be in 8 s, rounded up.
        assert!(request(20_499).violation);
        let next = request(30_000);
        assert!(next.allowed && !next.violation);
    }

    #[test]
    fn the_headers_say_what_datadog_documents() {
        let (mut windows, quota) = (Windows::default(), quota(1, 10.0));
        windows.request(&quota, "a", 12_000);
        let headers = windows.request(&quota, "a", 12_500).headers(&quota, 12_500);
        for (name, value) in [("limit", "1"), ("period", "10"), ("remaining", "0"), ("reset", "8"), ("name", "n")] {
            assert_eq!(headers[format!("x-ratelimit-{name}")], value);
        }
        assert_eq!(headers[RETRY_AFTER], "8");
        let dated = Quota { retry_after: RetryAfter::Date, headers: false, ..quota };
        let headers = windows.request(&dated, "a", 12_500).headers(&dated, 12_500);
        assert_eq!(headers[RETRY_AFTER], "Thu, 01 Jan 1970 00:00:20 GMT");
        assert_eq!(headers.len(), 1);
    }
}
