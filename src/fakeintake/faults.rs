//! Faults on demand: the ways in which Datadog and the network can fail a sender.

use super::quota::{Decision, PERIODS, Quota, Windows};
use hyper::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// A rule: which requests fail, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Only requests with this API key.
    #[serde(default)]
    pub key: Option<String>,
    /// Only requests to this path, or below it if it ends in `*`.
    #[serde(default)]
    pub path: Option<String>,
    /// The number of matching requests to spare first.
    #[serde(default)]
    pub skip: u64,
    /// The number of matching requests to affect after those; without it, all until the rule is removed.
    #[serde(default)]
    pub times: Option<u64>,
    /// What happens to them.
    pub effect: Effect,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// It is answered with this status instead of being handled.
    Status {
        /// The status code, from 200 to 599.
        code: u16,
        /// Headers of the answer.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// Its body; without it, Datadog's usual form.
        #[serde(default)]
        body: Option<String>,
    },
    /// It is read and then left waiting, so many seconds or until the rule is removed; then it is handled.
    Hang {
        /// The time in seconds.
        #[serde(default)]
        seconds: Option<f64>,
    },
    /// The connection is reset instead of an answer.
    Close {
        /// The moment of the reset.
        #[serde(default)]
        when: CloseWhen,
    },
    /// It is handled, and the connection is reset instead of the answer.
    AnswerLost {},
    /// It is handled after so many milliseconds.
    DelayMs(u64),
    /// It is refused with 429 beyond a rate limit.
    Quota(Quota),
    /// It is refused with 400 if any of its items contains this text.
    RejectItems {
        /// The text to search for.
        contains: String,
    },
    /// It is refused with 413 if its body is larger than this.
    MaxBody {
        /// Bytes as sent.
        #[serde(default)]
        sent: Option<usize>,
        /// Bytes once decompressed.
        #[serde(default)]
        decompressed: Option<usize>,
    },
}

/// When a connection is reset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseWhen {
    /// After the headers, with the body unread.
    Headers,
    /// After half of the body.
    HalfBody,
    /// After the body.
    #[default]
    Body,
}

impl Rule {
    /// The mistake in the rule, if there is one.
    pub(super) fn problem(&self) -> Option<String> {
        match &self.effect {
            Effect::Status { code, .. } if !(200..600).contains(code) => {
                Some(format!("the status {code} is not between 200 and 599"))
            }
            Effect::Status { headers, .. } => headers.iter().find_map(|(name, value)| {
                let good = HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok();
                (!good).then(|| format!("{name:?}: {value:?} is not a header"))
            }),
            Effect::Quota(Quota { period_s, .. }) if !PERIODS.contains(period_s) => {
                Some(format!("the period {period_s} is not between {} and {} s", PERIODS.start(), PERIODS.end()))
            }
            Effect::MaxBody { sent: None, decompressed: None } => Some("max_body without a number".into()),
            _ => None,
        }
    }
}

/// A rule in force, with its counts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fault {
    /// Identifies it for removal.
    pub id: u64,
    /// The rule itself.
    #[serde(flatten)]
    pub rule: Rule,
    /// Requests that matched it, spared or not.
    pub matched: u64,
    /// Requests that it affected.
    pub hits: u64,
    /// Requests that came earlier than a refusal had allowed.
    pub violations: u64,
}

/// A rule in force.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) id: u64,
    pub(super) rule: Rule,
    matched: AtomicU64,
    hits: AtomicU64,
    violations: AtomicU64,
    windows: Mutex<Windows>,
    /// True once the rule is removed.
    removed: watch::Sender<bool>,
}

impl Active {
    /// Whether it applies to this request, which is counted as a match.
    fn takes(&self, key: Option<&str>, path: &str) -> bool {
        let Rule { key: wanted, path: pattern, skip, times, .. } = &self.rule;
        if wanted.as_deref().is_some_and(|wanted| Some(wanted) != key) {
            return false;
        }
        let fits = pattern.as_deref().is_none_or(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == pattern,
        });
        if !fits {
            return false;
        }
        let before = self.matched.fetch_add(1, Ordering::Relaxed);
        before >= *skip && times.is_none_or(|times| before - skip < times)
    }

    /// Counts one affected request.
    pub(super) fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits as long as the rule says, or until it is removed.
    pub(super) async fn hang(&self, seconds: Option<f64>) {
        let mut removed = self.removed.subscribe();
        let limit = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(Duration::MAX);
        // Either way the waiting is over.
        let _ = tokio::time::timeout(limit, removed.wait_for(|removed| *removed)).await;
    }

    /// One request under the rate limit `quota`.
    pub(super) fn request(&self, quota: &Quota, key: &str, now_ms: u64) -> Decision {
        let decision = self.windows.lock().unwrap_or_else(PoisonError::into_inner).request(quota, key, now_ms);
        self.violations.fetch_add(u64::from(decision.violation), Ordering::Relaxed);
        decision
    }

    fn report(&self) -> Fault {
        Fault {
            id: self.id,
            rule: self.rule.clone(),
            matched: self.matched.load(Ordering::Relaxed),
            hits: self.hits.load(Ordering::Relaxed),
            violations: self.violations.load(Ordering::Relaxed),
        }
    }
}

/// The rules in force, in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Spares the usual request the lock.
    any: AtomicBool,
    last_id: AtomicU64,
    active: RwLock<Vec<Arc<Active>>>,
}

impl Faults {
    /// Adds a rule and returns its id.
    pub(super) fn add(&self, rule: Rule) -> u64 {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let active = Active {
            id,
            rule,
            matched: AtomicU64::default(),
            hits: AtomicU64::default(),
            violations: AtomicU64::default(),
            windows: Mutex::default(),
            removed: watch::Sender::new(false),
        };
        self.change(|rules| rules.push(Arc::new(active)));
        id
    }

    /// Removes the rule `id`, or all, and returns how many. Requests that they hold continue.
    pub(super) fn remove(&self, id: Option<u64>) -> usize {
        let mut count = 0;
        self.change(|rules| {
            rules.retain(|rule| {
                let gone = id.is_none_or(|id| rule.id == id);
                if gone {
                    count += 1;
                    rule.removed.send_replace(true);
                }
                !gone
            });
        });
        count
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Active>>)) {
        let mut rules = self.active.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut rules);
        self.any.store(!rules.is_empty(), Ordering::Release);
    }

    /// The rules in force and their counts.
    pub(super) fn list(&self) -> Vec<Fault> {
        self.active.read().unwrap_or_else(PoisonError::into_inner).iter().map(|rule| rule.report()).collect()
    }

    /// The rules that apply to a request, which is counted as a match of each.
    pub(super) fn matching(&self, key: Option<&str>, path: &str) -> Vec<Arc<Active>> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let rules = self.active.read().unwrap_or_else(PoisonError::into_inner);
        rules.iter().filter(|rule| rule.takes(key, path)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: serde_json::Value) -> Rule {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_rule_skips_and_expires() {
        let faults = Faults::default();
        faults.add(rule(serde_json::json!({"path": "/a*", "skip": 1, "times": 2, "effect": {"delay_ms": 5}})));
        let matched: Vec<_> = (0..4).map(|_| faults.matching(None, "/abc").len()).collect();
        assert_eq!(matched, [0, 1, 1, 0]);
        assert!(faults.matching(None, "/b").is_empty());
    }

    #[test]
    fn a_rule_affects_its_key_only() {
        let faults = Faults::default();
        let id = faults.add(rule(serde_json::json!({"key": "k", "effect": {"close": {}}})));
        assert_eq!(faults.matching(Some("k"), "/x").len(), 1);
        assert!(faults.matching(Some("l"), "/x").is_empty());
        assert!(faults.matching(None, "/x").is_empty());
        assert_eq!(faults.remove(Some(id)), 1);
        assert!(faults.matching(Some("k"), "/x").is_empty());
    }

    #[test]
    fn a_rule_with_a_mistake_is_not_taken() {
        for wrong in [r#"{"effect":{"hang":{"minutes":1}}}"#, r#"{"pth":"/","effect":{"close":{}}}"#] {
            assert!(serde_json::from_str::<Rule>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rule_that_cannot_be_meant_is_named() {
        for (effect, problem) in [
            (serde_json::json!({"status": {"code": 101}}), "101"),
            (serde_json::json!({"status": {"code": 503, "headers": {"a b": "c"}}}), "a b"),
            (serde_json::json!({"quota": {"limit": 1, "period_s": 0}}), "period 0"),
            (serde_json::json!({"max_body": {}}), "max_body"),
        ] {
            let rule = rule(serde_json::json!({ "effect": effect }));
            assert!(rule.problem().is_some_and(|text| text.contains(problem)), "{problem}");
        }
        assert_eq!(
            rule(serde_json::json!({"effect": {"status": {"code": 503, "headers": {"a": "c"}}}})).problem(),
            None
        );
    }

    #[tokio::test(start_paused = true)]
    async fn removing_a_rule_releases_hanging_requests() {
        let faults = Arc::new(Faults::default());
        let id = faults.add(rule(serde_json::json!({"effect": {"hang": {}}})));
        let hanging = faults.matching(None, "/")[0].clone();
        let waiting = tokio::spawn(async move { hanging.hang(None).await });
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert!(!waiting.is_finished());
        faults.remove(Some(id));
        waiting.await.unwrap();
    }
}
