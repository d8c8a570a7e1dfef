//! The other side: takes requests, does with them what the faults say, and has everything noted.

use super::book::Book;
use super::faults::{Deed, FINAL, Reply, Request, Rules, Window, wall};
use super::terms::{Terms, read_key};
use super::watch::{Sent, Watch};
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
    book: Arc<Mutex<Book>>,
}

struct State {
    rng: StdRng,
    windows: BTreeMap<(usize, Endpoint), Window>,
    watch: Watch,
}

/// A request under way; dropped when the process dies.
struct UnderWay {
    datadog: Datadog,
    tenant: usize,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.datadog.state().watch.over(self.tenant);
    }
}

impl fmt::Debug for Datadog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Datadog")
    }
}

impl Datadog {
    pub(super) fn new(seed: u64, rules: Rules, book: Arc<Mutex<Book>>) -> Self {
        let rng = StdRng::seed_from_u64(seed ^ 0xda7a);
        let state = State { rng, windows: BTreeMap::new(), watch: Watch::default() };
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
        self.state().watch.forget();
    }

    /// From this moment on these are a tenant's terms.
    pub(super) fn set_terms(&self, tenant: usize, terms: Terms) {
        self.state().watch.set_terms(tenant, terms);
    }

    async fn take(&self, to: &Destination, payload: &Payload) -> Result<Answer, String> {
        let (generation, tenant) = read_key(to.key());
        let plain = payload.unpack().unwrap();
        let ids = ids(&plain);
        let sent = Sent { tenant, generation, payload, plain: &plain, ids: &ids };
        let number = self.state().watch.begins(&self.rules, &mut self.book(), &sent);
        let _under_way = UnderWay { datadog: self.clone(), tenant };
        let (latency, deed) = self.deed(&sent);
        sleep(latency).await;
        match deed {
            Deed::Silence { stored, after } => {
                if stored {
                    self.book().stored(&ids);
                }
                sleep(after).await;
                let mut book = self.book();
                book.event(format_args!("{number} no answer, stored: {stored}"));
                book.count("no answer");
                drop(book);
                self.state().watch.ends(number, &sent, None);
                Err("no answer".to_owned())
            }
            Deed::Answer(reply) => {
                let good = (200..300).contains(&reply.status);
                if good {
                    self.book().stored(&ids);
                }
                sleep(latency).await;
                let mut book = self.book();
                if good {
                    book.confirmed(&ids, &payload.finalizer);
                }
                book.event(format_args!("{number} {} {:?} {:?}", reply.status, reply.wait, reply.headers));
                book.count(name(reply.status));
                drop(book);
                self.state().watch.ends(number, &sent, Some(&reply));
                let Reply { status, headers, words, .. } = reply;
                let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, v)| v.as_str());
                Ok(Answer { status, message: words.into(), ..read_limits(wall(), header) })
            }
        }
    }

    fn deed(&self, sent: &Sent<'_>) -> (Duration, Deed) {
        let Sent { tenant, payload, ids, .. } = *sent;
        let mut state = self.state();
        let State { rng, windows, watch } = &mut *state;
        let mut book = self.book();
        let request = Request {
            tenant,
            kind: payload.kind,
            encoding: payload.encoding,
            sent: payload.body.len(),
            plain: sent.plain.len(),
            poison: ids.iter().any(|id| book.item(*id).poison),
            // That a half is refused is believed at once.
            unoffended: ids.iter().all(|id| !watch.offended.contains(id) && !watch.was_refused(id)),
            key_since: watch.terms(tenant).since,
        };
        let window = windows.entry((tenant, payload.kind.endpoint())).or_default();
        let (latency, deed) = self.rules.deed(rng, &request, window);
        let Deed::Answer(Reply { status, words, .. }) = &deed else { return (latency, deed) };
        if *status == 400 && !words.contains("Encoding") {
            watch.malformed(sent, request.poison);
        }
        let is_revoked = self.rules.is_revoked(tenant, request.key_since);
        let is_final = FINAL.contains(status)
            // What is too large is divided first.
            || *status == 413 && ids.len() == 1
            || matches!(status, 401 | 403) && payload.kind == Kind::EventV2 && !is_revoked;
        if is_final {
            ids.iter().for_each(|id| book.doomed(*id));
        }
        (latency, deed)
    }

    async fn ask(&self, to: &Destination) -> Validity {
        let (generation, tenant) = read_key(to.key());
        sleep(Duration::from_millis(50)).await;
        let mut state = self.state();
        let validity = if self.rules.is_away(tenant) {
            Validity::Unknown("no answer".into())
        } else if self.rules.is_revoked(tenant, state.watch.terms(tenant).since) {
            Validity::Invalid("403".into())
        } else {
            Validity::Valid
        };
        let valid = match validity {
            Validity::Valid => Some(true),
            Validity::Invalid(_) => Some(false),
            Validity::Unknown(_) => None,
        };
        state.watch.validated(tenant, generation, valid);
        self.book().event(format_args!("tenant {tenant} {validity:?}"));
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
        _ => "refused",
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
