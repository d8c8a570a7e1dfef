//! What Datadog and the way to it do wrong, and when: every fault of the stand-in (`src/fakeintake/faults.rs`), as it looks to
//! a sender.

use super::machine::{EPOCH, elapsed};
use crate::types::{Encoding, Endpoint, Kind};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is wrong for a while.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// Every request is answered so.
    Status(u16),
    /// Every request is answered with a web page and this status: a proxy does so, and stores nothing.
    Page(u16),
    /// Every request is answered 400 or 413, whatever is in it.
    Refuse(u16),
    /// Requests are not answered.
    Hang,
    /// Connections are refused.
    Unreachable,
    /// What comes is stored, and the answer lost.
    LoseAnswers,
    /// Answers take so many milliseconds.
    Slow(u64),
    /// 429, and to wait so many seconds.
    Throttle(u64, Telling),
    /// 429 without a word of how long that makes sense.
    Busy,
    /// 413 for more than so many bytes uncompressed.
    Small(usize),
    /// 413 for more than so many bytes as sent.
    SmallSent(usize),
    /// What is good is answered 400 all the same, each payload once.
    Fussy,
    /// 401 or 403, though the key is good.
    Forbidden(u16),
    /// The key that was good until then is not known any more.
    Revoked,
}

/// How a 429 tells when to come again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Telling {
    /// `X-RateLimit-Reset`
    Reset,
    /// `Retry-After` in seconds.
    Seconds,
    /// `Retry-After` as a date, with the `Date` of a clock that is not ours.
    Date,
    /// The same without a `Date`.
    DateAlone,
    /// A `Retry-After` that is shorter than `X-RateLimit-Reset`.
    Both,
}

pub(super) const TELLINGS: [Telling; 5] =
    [Telling::Reset, Telling::Seconds, Telling::Date, Telling::DateAlone, Telling::Both];

/// A fault and its time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Phase {
    pub(super) from: Duration,
    pub(super) to: Duration,
    /// None: all of them.
    pub(super) tenant: Option<usize>,
    pub(super) endpoint: Option<Endpoint>,
    pub(super) fault: Fault,
}

/// What is the same in all of a simulation.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) tenants: usize,
    pub(super) phases: Vec<Phase>,
    /// One of so many requests goes wrong in some other way; until `calm`.
    pub(super) noise: u32,
    pub(super) calm: Duration,
    /// Requests in ten seconds to that endpoint of each tenant.
    pub(super) quotas: BTreeMap<u8, u32>,
    pub(super) refused_encodings: Vec<Encoding>,
    /// Events v2 want an application key besides.
    pub(super) app_key_wanted: bool,
    /// Datadog's clock is so many seconds ahead of ours.
    pub(super) ahead: u64,
    pub(super) concurrency: usize,
    pub(super) timeout: Duration,
    pub(super) drop_late: bool,
}

/// A request, as far as it matters for what is done with it.
pub(super) struct Request {
    pub(super) tenant: usize,
    pub(super) kind: Kind,
    pub(super) encoding: Encoding,
    pub(super) sent: usize,
    pub(super) plain: usize,
    pub(super) poison: bool,
    /// None of its items was answered 400 without being poison.
    pub(super) unoffended: bool,
    /// Since when its key is in use.
    pub(super) key_since: Duration,
}

/// What is done with a request.
pub(super) enum Deed {
    Answer(Reply),
    /// No answer comes.
    Silence {
        stored: bool,
        after: Duration,
    },
}

pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) words: &'static str,
    /// What the headers ask to wait, if they do.
    pub(super) wait: Option<Duration>,
    /// Until when, where they name the time.
    pub(super) until: Option<Duration>,
}

impl Reply {
    /// Whether a proxy made it.
    pub(super) fn is_page(&self) -> bool {
        self.words == PAGE
    }
}

/// Requests in a period, and which period that is.
pub(super) type Window = (u64, u32);

const PERIOD: u64 = 10;

/// Statuses that say nothing about the payload.
pub(super) const NOT_THE_PAYLOAD: [u16; 6] = [402, 404, 405, 407, 410, 422];

/// What a proxy answers by itself.
pub(super) const PAGE: &str = " <!DOCTYPE html><html>Sign in</html>";

fn answer(status: u16, words: &'static str) -> Deed {
    Deed::Answer(Reply { status, headers: Vec::new(), words, wait: None, until: None })
}

fn pick<T: Copy>(rng: &mut StdRng, all: &[T]) -> T {
    all[rng.random_range(0..all.len())]
}

/// The time on our clock.
pub(super) fn wall() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(EPOCH.unsigned_abs()) + elapsed()
}

impl Rules {
    /// What is wrong at present.
    fn fault(&self, tenant: usize, endpoint: Endpoint) -> Option<Fault> {
        let faults = self.present(tenant).filter(|phase| phase.endpoint.is_none_or(|of| of == endpoint));
        faults.map(|phase| phase.fault).find(|fault| !matches!(fault, Fault::Revoked))
    }

    /// Whether a key that is in use since then is not known any more.
    pub(super) fn is_revoked(&self, tenant: usize, key_since: Duration) -> bool {
        self.present(tenant).any(|phase| matches!(phase.fault, Fault::Revoked) && phase.from >= key_since)
    }

    /// Whether keys cannot be validated.
    pub(super) fn is_away(&self, tenant: usize) -> bool {
        let away = |fault| matches!(fault, Fault::Status(_) | Fault::Page(_) | Fault::Unreachable | Fault::Hang);
        self.present(tenant).any(|phase| phase.endpoint.is_none() && away(phase.fault))
    }

    fn present(&self, tenant: usize) -> impl Iterator<Item = &Phase> {
        let now = elapsed();
        let concerns = move |phase: &&Phase| phase.tenant.is_none_or(|of| of == tenant);
        self.phases.iter().filter(move |phase| phase.from <= now && now < phase.to).filter(concerns)
    }

    /// What is done with a request, and how long it and the answer are on their way, each.
    pub(super) fn deed(&self, rng: &mut StdRng, request: &Request, window: &mut Window) -> (Duration, Deed) {
        let latency = Duration::from_millis(rng.random_range(1..60));
        let fault = match self.is_revoked(request.tenant, request.key_since) {
            true => Some(Fault::Revoked),
            false => self.fault(request.tenant, request.kind.endpoint()),
        };
        let may_store = !request.poison;
        let deed = match fault {
            Some(Fault::Status(status)) => answer(status, ""),
            Some(Fault::Page(status)) => answer(status, PAGE),
            Some(Fault::Refuse(status)) => answer(status, "context deadline exceeded"),
            Some(Fault::Hang) => Deed::Silence { stored: may_store && rng.random(), after: self.timeout },
            Some(Fault::Unreachable) => Deed::Silence { stored: false, after: Duration::ZERO },
            Some(Fault::LoseAnswers) => Deed::Silence { stored: may_store, after: latency },
            Some(Fault::Throttle(seconds, telling)) => self.wait(seconds, telling),
            Some(Fault::Busy) => busy(rng),
            Some(Fault::Small(bytes)) if request.plain > bytes => answer(413, ""),
            Some(Fault::SmallSent(bytes)) if request.sent > bytes => answer(413, ""),
            Some(Fault::Fussy) if request.unoffended && may_store => answer(400, "slow upload"),
            Some(Fault::Forbidden(status)) => answer(status, ""),
            Some(Fault::Revoked) => answer(403, "Forbidden"),
            Some(Fault::Slow(millis)) => {
                let there = Duration::from_millis(millis / 2);
                if 2 * there >= self.timeout {
                    return (there, Deed::Silence { stored: may_store, after: self.timeout.saturating_sub(there) });
                }
                return (there, self.noise(rng, request).unwrap_or_else(|| self.sane(rng, request, window)));
            }
            _ => self.noise(rng, request).unwrap_or_else(|| self.sane(rng, request, window)),
        };
        (latency, deed)
    }

    /// What goes wrong now and then.
    fn noise(&self, rng: &mut StdRng, request: &Request) -> Option<Deed> {
        if elapsed() >= self.calm || rng.random_range(0..self.noise) > 0 {
            return None;
        }
        let stored = !request.poison;
        let telling = pick(rng, &TELLINGS);
        Some(match rng.random_range(0..10) {
            0 => answer(500, ""),
            1 => answer(503, "upstream"),
            2 => answer(408, ""),
            3 => Deed::Silence { stored: false, after: Duration::ZERO },
            4 => Deed::Silence { stored, after: Duration::ZERO },
            5 => self.wait(rng.random_range(0..15), telling),
            6 => self.wait(rng.random_range(1..5), telling),
            7 => answer(pick(rng, &[301, 302, 307, 308]), ""),
            8 if request.unoffended && stored => answer(400, "slow upload"),
            9 if rng.random() => answer(pick(rng, &NOT_THE_PAYLOAD), "no"),
            9 => answer(pick(rng, &[200, 202, 400, 503]), PAGE),
            _ => return None,
        })
    }

    /// What Datadog does when it is well.
    fn sane(&self, rng: &mut StdRng, request: &Request, window: &mut Window) -> Deed {
        let endpoint = request.kind.endpoint();
        if self.refused_encodings.contains(&request.encoding) {
            return match rng.random() {
                true => answer(415, ""),
                false => answer(400, "unsupported Content-Encoding"),
            };
        }
        if request.kind == Kind::EventV2 && self.app_key_wanted {
            return answer(403, "an application key is wanted");
        }
        let good = if request.poison { 400 } else { pick(rng, &[200, 201, 202, 202, 202, 204, 299]) };
        // Nobody reads what comes with a good one.
        let words = pick(rng, &["", "{}", "ok", r#"{"errors":["no"]}"#]);
        let date = ("date", httpdate::fmt_http_date(wall()));
        let Some(limit) = self.quotas.get(&(endpoint as u8)) else {
            return Deed::Answer(Reply { status: good, headers: vec![date], words, wait: None, until: None });
        };
        let now = elapsed().as_secs();
        if window.0 != now / PERIOD {
            *window = (now / PERIOD, 0);
        }
        window.1 += 1;
        let reset = PERIOD - now % PERIOD;
        let headers = vec![
            date,
            ("x-ratelimit-limit", limit.to_string()),
            ("x-ratelimit-period", PERIOD.to_string()),
            ("x-ratelimit-remaining", limit.saturating_sub(window.1).to_string()),
            ("x-ratelimit-reset", reset.to_string()),
        ];
        let status = if window.1 > *limit { 429 } else { good };
        Deed::Answer(Reply { status, headers, words, wait: Some(Duration::from_secs(reset)), until: None })
    }

    fn wait(&self, seconds: u64, telling: Telling) -> Deed {
        let date = |at: SystemTime| httpdate::fmt_http_date(at);
        let wait = Duration::from_secs(seconds);
        let mut until = None;
        let headers = match telling {
            Telling::Reset => vec![("x-ratelimit-reset", seconds.to_string())],
            Telling::Seconds => vec![("retry-after", seconds.to_string())],
            Telling::Both => {
                vec![("retry-after", (seconds / 2).to_string()), ("x-ratelimit-reset", seconds.to_string())]
            }
            Telling::Date => {
                let theirs = wall() + Duration::from_secs(self.ahead);
                vec![("date", date(theirs)), ("retry-after", date(theirs + wait))]
            }
            Telling::DateAlone => {
                // A date has whole seconds, and so has the beginning.
                let at = Duration::from_secs((elapsed() + wait).as_secs() + 1);
                until = Some(at);
                vec![("retry-after", date(wall() - elapsed() + at))]
            }
        };
        Deed::Answer(Reply { status: 429, headers, words: "", wait: Some(wait), until })
    }
}

/// 429 with nothing to go by.
fn busy(rng: &mut StdRng) -> Deed {
    let header = pick(
        rng,
        &[None, Some(("retry-after", "soon")), Some(("x-ratelimit-reset", "-1")), Some(("retry-after", "0"))],
    );
    let headers = header.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    Deed::Answer(Reply { status: 429, headers, words: "", wait: None, until: None })
}
