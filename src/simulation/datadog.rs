//! The other side: takes requests, does with them what the faults say, and has everything noted.

use super::faults::{Deed, Reply, Request, Rules, Window, wall};
use super::invariants::{Invariants, Sent};
use super::oracle::Oracle;
use super::permission::{Permission, read_key};
use crate::deliver::{Answer, Destination, Soon, Transport, Validity, read_limits};
use crate::payload::Payload;
use crate::types::{Endpoint, Kind};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::sleep;

#[derive(Clone)]
pub(super) struct Datadog {
    rules: Arc<Rules>,
    state: Arc<Mutex<State>>,
    oracle: Arc<Mutex<Oracle>>,
}

struct State {
    rng: StdRng,
    windows: BTreeMap<(usize, Endpoint), Window>,
    invariants: Invariants,
}

/// A request in flight; dropped when the process dies.
struct InFlight {
    datadog: Datadog,
    tenant: usize,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.datadog.state().invariants.over(self.tenant);
    }
}

impl fmt::Debug for Datadog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Datadog")
    }
}

impl Datadog {
    pub(super) fn new(seed: u64, rules: Rules, oracle: Arc<Mutex<Oracle>>) -> Self {
        let rng = StdRng::seed_from_u64(seed ^ 0xda7a);
        let state = State { rng, windows: BTreeMap::new(), invariants: Invariants::default() };
        Self { rules: Arc::new(rules), state: Arc::new(Mutex::new(state)), oracle }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap()
    }

    /// A new process knows nothing of what the last one was told.
    pub(super) fn forget(&self) {
        self.state().invariants.forget();
    }

    /// From this moment on this is a tenant's permission.
    pub(super) fn permission(&self, tenant: usize) -> Permission {
        self.state().invariants.permission(tenant)
    }

    pub(super) fn set_permission(&self, tenant: usize, permission: Permission) {
        self.state().invariants.set_permission(tenant, permission);
    }

    async fn take(&self, to: &Destination, payload: &Payload) -> Result<Answer, String> {
        let (key_number, tenant) = read_key(to.key());
        let plain = payload.unpack().unwrap();
        let ids = ids(&plain);
        let sent = Sent { tenant, key_number, payload, plain: &plain, ids: &ids };
        let number = self.state().invariants.begins(&self.rules, &mut self.oracle(), &sent);
        let _in_flight = InFlight { datadog: self.clone(), tenant };
        let (latency, deed) = self.deed(&sent);
        sleep(latency).await;
        match deed {
            Deed::Silence { stored, after } => {
                if stored {
                    self.oracle().stored(&ids);
                }
                sleep(after).await;
                let mut oracle = self.oracle();
                oracle.event(format_args!("{number} no answer, stored: {stored}"));
                oracle.count("no answer");
                drop(oracle);
                self.state().invariants.ends(number, &sent, None);
                Err("no answer".to_owned())
            }
            Deed::Answer(reply) => {
                let good = (200..300).contains(&reply.status) && !reply.is_page();
                if good {
                    self.oracle().stored(&ids);
                }
                sleep(latency).await;
                let mut oracle = self.oracle();
                if good {
                    oracle.confirmed(&ids, &payload.finalizer);
                }
                oracle.event(format_args!("{number} {} {:?} {:?}", reply.status, reply.wait, reply.headers));
                oracle.count(name(reply.status));
                drop(oracle);
                self.state().invariants.ends(number, &sent, Some(&reply));
                let is_page = reply.is_page();
                let Reply { status, headers, words, .. } = reply;
                let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, v)| v.as_str());
                Ok(Answer { status, message: words.into(), is_page, ..read_limits(wall(), header) })
            }
        }
    }

    fn deed(&self, sent: &Sent<'_>) -> (Duration, Deed) {
        let Sent { tenant, payload, ids, .. } = *sent;
        let mut state = self.state();
        let State { rng, windows, invariants } = &mut *state;
        let mut oracle = self.oracle();
        let request = Request {
            tenant,
            kind: payload.kind,
            encoding: payload.encoding,
            sent: payload.body.len(),
            plain: sent.plain.len(),
            poison: ids.iter().any(|id| oracle.item(*id).poison),
            // That a half is refused is believed at once.
            unoffended: ids.iter().all(|id| !invariants.offended.contains(id) && !invariants.was_refused(id)),
            key_since: invariants.permission(tenant).since,
        };
        let window = windows.entry((tenant, payload.kind.endpoint())).or_default();
        let (latency, deed) = self.rules.deed(rng, &request, window);
        let Deed::Answer(reply @ Reply { status, words, .. }) = &deed else { return (latency, deed) };
        if reply.is_page() {
            return (latency, deed);
        }
        if *status == 400 && !words.contains("Encoding") {
            invariants.malformed(sent, request.poison);
        }
        let is_revoked = self.rules.is_revoked(tenant, request.key_since);
        // What is refused is divided first; alone, it may be believed to be at fault.
        let is_final = matches!(status, 400 | 413) && ids.len() == 1
            || matches!(status, 401 | 403) && payload.kind == Kind::EventV2 && !is_revoked;
        if is_final {
            ids.iter().for_each(|id| oracle.doomed(*id));
        }
        (latency, deed)
    }

    async fn ask(&self, to: &Destination) -> Validity {
        let (key_number, tenant) = read_key(to.key());
        sleep(Duration::from_millis(50)).await;
        let mut state = self.state();
        let validity = if self.rules.is_away(tenant) {
            Validity::Unknown("no answer".into())
        } else if self.rules.is_revoked(tenant, state.invariants.permission(tenant).since) {
            Validity::Invalid("403".into())
        } else {
            Validity::Valid
        };
        let valid = match validity {
            Validity::Valid => Some(true),
            Validity::Invalid(_) => Some(false),
            Validity::Unknown(_) => None,
        };
        state.invariants.validated(tenant, key_number, valid);
        self.oracle().event(format_args!("tenant {tenant} {validity:?}"));
        validity
    }
}

/// What answers are counted as.
fn name(status: u16) -> &'static str {
    match status {
        200..300 => "delivered",
        300..400 => "3xx",
        400 => "400",
        401 | 403 => "403",
        413 => "413",
        415 => "415",
        429 => "429",
        408 | 500.. => "5xx",
        _ => "other",
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
