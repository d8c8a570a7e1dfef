//! Datadog with every fault, and what it must never see.

use super::book::Book;
use super::host::elapsed;
use crate::deliver::{Answer, Destination, Soon, Transport, Validity, read_limits};
use crate::payload::Payload;
use crate::types::{Encoding, Endpoint, Kind};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};
use tokio::time::sleep;

/// What is wrong for a while.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// Every request is answered so.
    Status(u16),
    /// Requests are not answered.
    Hang,
    /// Connections are refused.
    Unreachable,
    /// What comes is stored, and the answer lost.
    LoseAnswers,
    /// Answers take so many milliseconds.
    Slow(u64),
    /// 429, and to wait so many seconds.
    Throttle(u64),
    /// 429 without a word of how long.
    Busy,
    /// 413 for more than so many bytes uncompressed.
    Small(usize),
    /// 403, though the key is good.
    Forbidden,
    /// The key is not known.
    Revoked,
}

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
    pub(super) keys: Vec<String>,
    pub(super) phases: Vec<Phase>,
    /// One of so many requests goes wrong in some other way; until `calm`.
    pub(super) noise: u32,
    pub(super) calm: Duration,
    /// Requests in ten seconds to that endpoint of each tenant.
    pub(super) quotas: BTreeMap<u8, u32>,
    pub(super) refused_encodings: Vec<Encoding>,
    pub(super) concurrency: usize,
    pub(super) timeout: Duration,
}

#[derive(Clone)]
pub(super) struct Datadog {
    rules: Arc<Rules>,
    state: Arc<Mutex<State>>,
    book: Arc<Mutex<Book>>,
}

struct State {
    rng: StdRng,
    under_way: BTreeMap<usize, usize>,
    /// Tenants that were answered 401 or 403 and have not been validated since, and when.
    doubted: BTreeMap<usize, Duration>,
    doors: BTreeMap<(usize, u8), Door>,
    requests: u64,
}

/// One endpoint of one tenant, as its sender should see it.
#[derive(Debug, Default)]
struct Door {
    /// Nothing may come before that, as was told at that time.
    closed_until: Option<(Duration, Duration)>,
    /// Since when requests have failed: one at a time may come.
    failing: Option<Duration>,
    probe: Option<u64>,
    window: (u64, u32),
}

/// What is done with a request.
enum Deed {
    Answer { status: u16, headers: Vec<(&'static str, String)>, words: &'static str },
    Error { stored: bool, after: Duration },
}

/// A request under way; dropped when the process dies.
struct UnderWay {
    datadog: Datadog,
    tenant: usize,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        *self.datadog.state().under_way.entry(self.tenant).or_default() -= 1;
    }
}

impl fmt::Debug for Datadog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Datadog")
    }
}

const PERIOD: u64 = 10;

impl Datadog {
    pub(super) fn new(seed: u64, rules: Rules, book: Arc<Mutex<Book>>) -> Self {
        let state = State {
            rng: StdRng::seed_from_u64(seed ^ 0xda7a),
            under_way: BTreeMap::new(),
            doubted: BTreeMap::new(),
            doors: BTreeMap::new(),
            requests: 0,
        };
        Self { rules: Arc::new(rules), state: Arc::new(Mutex::new(state)), book }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    /// A new process knows nothing of what the last one was told.
    pub(super) fn forget(&self) {
        let mut state = self.state();
        state.doubted.clear();
        for door in state.doors.values_mut() {
            *door = Door { window: door.window, ..Door::default() };
        }
    }

    fn tenant(&self, to: &Destination) -> usize {
        self.rules.keys.iter().position(|key| key.as_bytes() == to.key()).unwrap()
    }

    fn fault(&self, tenant: usize, endpoint: Endpoint) -> Option<Fault> {
        let now = elapsed();
        let concerns = |phase: &&Phase| {
            phase.from <= now
                && now < phase.to
                && phase.tenant.is_none_or(|of| of == tenant)
                && phase.endpoint.is_none_or(|of| of == endpoint)
        };
        self.rules.phases.iter().find(concerns).map(|phase| phase.fault)
    }

    async fn take(&self, to: &Destination, payload: &Payload) -> Result<Answer, String> {
        let tenant = self.tenant(to);
        let kind = payload.kind;
        let plain = payload.unpack().unwrap();
        let ids = ids(&plain);
        let (number, _under_way) = self.arrive(tenant, payload, &plain, &ids);
        let (latency, deed) = self.deed(tenant, payload, &plain, &ids);
        sleep(latency).await;
        let result = match deed {
            Deed::Error { stored, after } => {
                if stored {
                    self.book().stored(&ids);
                }
                sleep(after).await;
                self.book().event(format_args!("{number} no answer, stored: {stored}"));
                self.book().count("no answer");
                Err("no answer".to_owned())
            }
            Deed::Answer { status, headers, words } => {
                let good = (200..300).contains(&status);
                if good {
                    self.book().stored(&ids);
                }
                sleep(latency).await;
                let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, v)| v.as_str());
                let mut book = self.book();
                if good {
                    book.confirmed(&ids, &payload.cover);
                }
                let limits = read_limits(SystemTime::UNIX_EPOCH, header);
                book.event(format_args!("{number} {status} {:?}", limits.wait));
                book.count(match status {
                    200..300 => "delivered",
                    429 => "429",
                    413 => "413",
                    400 => "400",
                    401 | 403 => "403",
                    415 => "415",
                    402..=407 => "refused",
                    _ => "5xx",
                });
                Ok(Answer { status, words: words.into(), ..limits })
            }
        };
        self.answered(number, tenant, kind, &result);
        result
    }

    /// What must hold of every request.
    fn arrive(&self, tenant: usize, payload: &Payload, plain: &[u8], ids: &[u64]) -> (u64, UnderWay) {
        let (kind, now) = (payload.kind, elapsed());
        let endpoint = kind.endpoint();
        let mut state = self.state();
        let mut book = self.book();
        state.requests += 1;
        let number = state.requests;
        let sum: u64 = ids.iter().sum();
        book.event(format_args!(
            "{number} tenant {tenant} {kind} {} items {} bytes, {:?}.. sum {sum}",
            ids.len(),
            payload.body.len(),
            ids.first()
        ));
        book.attempted(tenant, kind, ids);
        let limits = kind.limits();
        if plain.len() > limits.uncompressed
            || payload.body.len() > limits.compressed
            || ids.len() > limits.items as usize
            || ids.len() != payload.items as usize
        {
            book.wrong(format_args!("{number} {kind}: {} items, {} bytes, {payload:?}", ids.len(), plain.len()));
        }
        if !kind.is_protobuf() && serde_json::from_slice::<serde::de::IgnoredAny>(plain).is_err() {
            book.wrong(format_args!("{number} {kind} is no JSON"));
        }
        let under_way = state.under_way.entry(tenant).or_default();
        *under_way += 1;
        if *under_way > self.rules.concurrency {
            book.wrong(format_args!("{number} {under_way} requests of tenant {tenant} at once"));
        }
        if state.doubted.get(&tenant).is_some_and(|since| *since < now) {
            book.wrong(format_args!("{number} sent while the key of {tenant} is in doubt"));
        }
        let door = state.doors.entry((tenant, endpoint as u8)).or_default();
        if let Some((_, until)) = door.closed_until.filter(|(told, until)| *told < now && now < *until) {
            book.wrong(format_args!("{number} {kind} of {tenant} is sent before {until:?}, the rate limit's reset"));
        }
        if door.failing.is_some_and(|since| since < now)
            && let Some(other) = door.probe.replace(number)
        {
            book.wrong(format_args!("{number} {kind} of {tenant}: a second probe besides {other}"));
        }
        (number, UnderWay { datadog: self.clone(), tenant })
    }

    fn deed(&self, tenant: usize, payload: &Payload, plain: &[u8], ids: &[u64]) -> (Duration, Deed) {
        let endpoint = payload.kind.endpoint();
        let fault = self.fault(tenant, endpoint);
        let mut state = self.state();
        let noise = if elapsed() < self.rules.calm && state.rng.random_range(0..self.rules.noise) == 0 {
            Some(state.rng.random_range(0..8))
        } else {
            None
        };
        let mut latency = Duration::from_millis(state.rng.random_range(1..60));
        let answer = |status: u16| Deed::Answer { status, headers: Vec::new(), words: "" };
        let wait = |seconds: u64, name: &'static str| Deed::Answer {
            status: 429,
            headers: vec![(name, seconds.to_string())],
            words: "",
        };
        let rest = self.rules.timeout;
        let deed = match (fault, noise) {
            (Some(Fault::Status(status)), _) => answer(status),
            (Some(Fault::Hang), _) => Deed::Error { stored: state.rng.random(), after: rest },
            (Some(Fault::Unreachable), _) => Deed::Error { stored: false, after: Duration::ZERO },
            (Some(Fault::LoseAnswers), _) => Deed::Error { stored: !self.has_poison(ids), after: latency },
            (Some(Fault::Throttle(seconds)), _) => wait(seconds, "retry-after"),
            (Some(Fault::Busy), _) => answer(429),
            (Some(Fault::Small(bytes)), _) if plain.len() > bytes => answer(413),
            (Some(Fault::Forbidden | Fault::Revoked), _) => answer(403),
            (_, Some(0)) => answer(500),
            (_, Some(1)) => answer(503),
            (_, Some(2)) => answer(408),
            (_, Some(3)) => Deed::Error { stored: false, after: Duration::ZERO },
            (_, Some(4)) => Deed::Error { stored: !self.has_poison(ids), after: Duration::ZERO },
            (_, Some(5)) => wait(state.rng.random_range(0..15), "x-ratelimit-reset"),
            (_, Some(6)) => wait(state.rng.random_range(1..5), "retry-after"),
            (_, Some(_)) if state.rng.random_range(0..6) == 0 => answer(404),
            (fault, _) => {
                if let Some(Fault::Slow(millis)) = fault {
                    latency = Duration::from_millis(millis / 2);
                }
                self.sane(&mut state, tenant, payload, ids)
            }
        };
        let deed = match deed {
            Deed::Error { stored: true, after } if self.has_poison(ids) => Deed::Error { stored: false, after },
            deed => deed,
        };
        drop(state);
        if let Deed::Answer { status: 404 | 413, .. } = deed {
            let mut book = self.book();
            // What is too large is divided first.
            if ids.len() == 1 || matches!(deed, Deed::Answer { status: 404, .. }) {
                ids.iter().for_each(|id| book.doomed(*id));
            }
        }
        (latency, deed)
    }

    /// What Datadog does when it is well.
    fn sane(&self, state: &mut State, tenant: usize, payload: &Payload, ids: &[u64]) -> Deed {
        let endpoint = payload.kind.endpoint();
        let answer = |status, words| Deed::Answer { status, headers: Vec::new(), words };
        if self.rules.refused_encodings.contains(&payload.encoding) {
            return answer(415, "unsupported Content-Encoding");
        }
        if let Some(limit) = self.rules.quotas.get(&(endpoint as u8)) {
            let door = state.doors.entry((tenant, endpoint as u8)).or_default();
            let window = elapsed().as_secs() / PERIOD;
            if door.window.0 != window {
                door.window = (window, 0);
            }
            door.window.1 += 1;
            let reset = PERIOD - elapsed().as_secs() % PERIOD;
            let left = limit.saturating_sub(door.window.1);
            let headers = vec![
                ("x-ratelimit-limit", limit.to_string()),
                ("x-ratelimit-period", PERIOD.to_string()),
                ("x-ratelimit-remaining", left.to_string()),
                ("x-ratelimit-reset", reset.to_string()),
            ];
            let status = match door.window.1 {
                used if used > *limit => 429,
                _ if self.has_poison(ids) => 400,
                _ => 202,
            };
            return Deed::Answer { status, headers, words: "" };
        }
        if self.has_poison(ids) { answer(400, "malformed") } else { answer(202, "") }
    }

    fn has_poison(&self, ids: &[u64]) -> bool {
        let book = self.book();
        ids.iter().any(|id| book.item(*id).poison)
    }

    /// What the sender knows from now on.
    fn answered(&self, number: u64, tenant: usize, kind: Kind, result: &Result<Answer, String>) {
        let now = elapsed();
        let mut state = self.state();
        let status = result.as_ref().map_or(0, |answer| answer.status);
        if matches!(status, 401 | 403) {
            state.doubted.entry(tenant).or_insert(now);
        }
        let door = state.doors.entry((tenant, kind.endpoint() as u8)).or_default();
        let probe = door.probe == Some(number);
        if probe {
            door.probe = None;
        }
        match result {
            Ok(Answer { status: 429, wait, .. }) => {
                door.failing.get_or_insert(now);
                // A probe that is under way does not open the circuit any more.
                door.probe = None;
                if let Some(wait) = wait {
                    let until = door.closed_until.map_or(Duration::ZERO, |(_, until)| until).max(now + *wait);
                    door.closed_until = Some((now, until));
                }
            }
            Ok(Answer { status: 401 | 403, .. }) => {}
            Ok(Answer { status: 408 | 500.., .. }) | Err(_) => {
                door.failing.get_or_insert(now);
            }
            // All others say that the endpoint is well.
            Ok(_) if probe => door.failing = None,
            Ok(_) => {}
        }
    }

    async fn ask(&self, to: &Destination) -> Validity {
        let tenant = self.tenant(to);
        let fault = self.fault(tenant, Endpoint::SeriesV1);
        sleep(Duration::from_millis(50)).await;
        let validity = match fault {
            Some(Fault::Revoked) => Validity::Invalid("403".into()),
            Some(Fault::Status(_) | Fault::Unreachable | Fault::Hang) => Validity::Unknown("no answer".into()),
            _ => Validity::Valid,
        };
        self.book().event(format_args!("tenant {tenant} {validity:?}"));
        let mut state = self.state();
        match validity {
            Validity::Valid => {
                state.doubted.remove(&tenant);
            }
            Validity::Invalid(_) => {
                state.doubted.entry(tenant).or_insert(elapsed());
            }
            Validity::Unknown(_) => {}
        }
        drop(state);
        validity
    }
}

impl Transport for Datadog {
    fn submit<'a>(&'a self, to: &'a Destination, payload: &'a Payload) -> Soon<'a, Result<Answer, String>> {
        Box::pin(self.take(to, payload))
    }

    fn validate<'a>(&'a self, to: &'a Destination) -> Soon<'a, Validity> {
        Box::pin(self.ask(to))
    }
}

/// The numbers of the items in a body, in order: each stands as `(id=n)`.
pub(super) fn ids(plain: &[u8]) -> Vec<u64> {
    let texts = memchr::memmem::find_iter(plain, "(id=").map(|begin| {
        let rest = &plain[begin + 4..];
        &rest[..memchr::memchr(b')', rest).unwrap()]
    });
    texts.map(|text| std::str::from_utf8(text).unwrap().parse().unwrap()).collect()
}
