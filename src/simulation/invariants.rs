//! What a sender must keep to, whatever happens: looked at as each request begins.

use super::faults::{Reply, Rules};
use super::machine::elapsed;
use super::oracle::Oracle;
use super::permission::Permission;
use crate::payload::Payload;
use crate::types::{Endpoint, Kind};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What the sender has been told, and has in flight.
#[derive(Default)]
pub(super) struct Invariants {
    requests: u64,
    in_flight: BTreeMap<usize, usize>,
    permissions: BTreeMap<usize, Permission>,
    /// Tenants that were answered 401 or 403 and have not been validated since, and when.
    doubted: BTreeMap<usize, Duration>,
    /// Whose answers those were.
    doubts: BTreeSet<(usize, Endpoint)>,
    doors: BTreeMap<(usize, Endpoint), Door>,
    /// Items that were answered 400 for the first time, each with all that were in its payload: these come once more.
    once_more: BTreeMap<u64, Arc<[u64]>>,
    /// Items that were answered 400 once.
    refused: BTreeSet<u64>,
    /// Events v2 that were answered 401 or 403: the second time that is final, and does not put the key in doubt.
    forbidden: BTreeSet<u64>,
    /// An answer has told the process what time it is.
    dated: bool,
    /// Items that were answered 400 without a reason.
    pub(super) offended: BTreeSet<u64>,
}

/// One endpoint of one tenant, as its sender should see it.
#[derive(Debug, Default)]
struct Door {
    /// Nothing may come before that, as was told at that time.
    closed_until: Option<(Duration, Duration)>,
    /// Since when requests have failed: one at a time may come.
    failing: Option<Duration>,
    probe: Option<u64>,
}

/// A request in flight.
pub(super) struct Sent<'a> {
    pub(super) tenant: usize,
    /// Of its key.
    pub(super) key_number: u64,
    pub(super) payload: &'a Payload,
    pub(super) plain: &'a [u8],
    pub(super) ids: &'a [u64],
}

/// An item may be sent so long after it has become late: its payload may just have been looked at.
const JUST: Duration = Duration::from_millis(100);

impl Invariants {
    /// A new process knows nothing of what the last one was told.
    pub(super) fn forget(&mut self) {
        let (permissions, offended) = (std::mem::take(&mut self.permissions), std::mem::take(&mut self.offended));
        let (requests, in_flight) = (self.requests, std::mem::take(&mut self.in_flight));
        *self = Self { permissions, offended, requests, in_flight, ..Self::default() };
    }

    pub(super) fn permission(&self, tenant: usize) -> Permission {
        self.permissions[&tenant]
    }

    /// From this moment on this is the permission.
    pub(super) fn set_permission(&mut self, tenant: usize, permission: Permission) {
        let before = self.permissions.insert(tenant, permission);
        if !permission.has_key() || before.is_none_or(|before| before.key_number != permission.key_number) {
            self.doubted.remove(&tenant);
            self.doubts.retain(|(of, _)| *of != tenant);
        }
    }

    /// A request begins. Gives its number.
    pub(super) fn begins(&mut self, rules: &Rules, oracle: &mut Oracle, sent: &Sent<'_>) -> u64 {
        let Sent { tenant, payload, plain, ids, .. } = *sent;
        let (kind, now) = (payload.kind, elapsed());
        self.requests += 1;
        let number = self.requests;
        let (count, bytes, first, sum) = (ids.len(), payload.body.len(), ids.first(), ids.iter().sum::<u64>());
        oracle
            .event(format_args!("{number} tenant {tenant} {kind} {count} items {bytes} bytes, {first:?}.. sum {sum}"));
        oracle.attempted(tenant, sent.payload.lane(), ids);
        if rules.drop_late
            && self.dated
            && let Some(late) = ids.iter().find(|id| oracle.item(**id).late.is_some_and(|since| since + JUST < now))
        {
            oracle.wrong(format_args!("{number} item {late} is sent though it is too old"));
        }
        let limits = kind.limits();
        let (most_items, most_plain, most_sent) = (limits.items as usize, limits.uncompressed, limits.compressed);
        if plain.len() > most_plain || bytes > most_sent || count > most_items || count != payload.items as usize {
            oracle.wrong(format_args!("{number} {kind}: {count} items, {} bytes, {payload:?}", plain.len()));
        }
        if !kind.is_protobuf() && serde_json::from_slice::<serde::de::IgnoredAny>(plain).is_err() {
            oracle.wrong(format_args!("{number} {kind} is no JSON"));
        }
        let in_flight = self.in_flight.entry(tenant).or_default();
        *in_flight += 1;
        if *in_flight > rules.concurrency {
            oracle.wrong(format_args!("{number} {in_flight} requests of tenant {tenant} at once"));
        }
        self.is_permitted(oracle, number, sent);
        self.comes_whole(rules, oracle, number, sent);
        if self.doubted.get(&tenant).is_some_and(|since| *since < now) {
            oracle.wrong(format_args!("{number} sent while the key of {tenant} is in doubt"));
        }
        let door = self.doors.entry((tenant, kind.endpoint())).or_default();
        if let Some((_, until)) = door.closed_until.filter(|(told, until)| *told < now && now < *until) {
            oracle.wrong(format_args!("{number} {kind} of {tenant} is sent before {until:?}, the rate limit's reset"));
        }
        // Of an event v2 that is refused for good, it cannot be seen from here what it does to the circuit.
        if kind != Kind::EventV2
            && door.failing.is_some_and(|since| since < now)
            && let Some(other) = door.probe.replace(number)
        {
            oracle.wrong(format_args!("{number} {kind} of {tenant}: a second probe besides {other}"));
        }
        number
    }

    /// What the operator has stopped does not begin.
    fn is_permitted(&self, oracle: &mut Oracle, number: u64, sent: &Sent<'_>) {
        let (permission, accepted) = (self.permission(sent.tenant), sent.payload.accepted);
        let older = |than: Option<_>| than.is_some_and(|than| accepted < than);
        let why = if !permission.has_key() || permission.paused {
            "though nothing of it may be"
        } else if permission.key_number != sent.key_number {
            "with a key that was exchanged"
        } else if permission.hold().awaits_decision(sent.payload.generation, accepted) {
            "to another organisation than it was meant for"
        } else if older(permission.purged) {
            "though it was purged"
        } else {
            return;
        };
        oracle.wrong(format_args!("{number} of {} is sent {why}: {permission:?}", sent.tenant));
    }

    /// What was answered 400 comes once more before it is divided.
    fn comes_whole(&mut self, rules: &Rules, oracle: &mut Oracle, number: u64, sent: &Sent<'_>) {
        let Some(whole) = sent.ids.iter().find_map(|id| self.once_more.get(id)).cloned() else { return };
        whole.iter().for_each(|id| drop(self.once_more.remove(id)));
        // What has become too old meanwhile does not come.
        let came = |id: &&u64| !(rules.drop_late && oracle.item(**id).late.is_some());
        if whole.iter().filter(came).ne(sent.ids.iter().filter(came)) {
            oracle.wrong(format_args!("{number} {:?} were answered 400 together, and {whole:?} come", sent.ids));
        }
    }

    /// What the sender knows from now on. No reply: the network or the time-out has ended it.
    pub(super) fn ends(&mut self, number: u64, sent: &Sent<'_>, reply: Option<&Reply>) {
        let (now, tenant) = (elapsed(), sent.tenant);
        let status = reply.map_or(0, |reply| reply.status);
        let permission = self.permission(tenant);
        let is_event = sent.payload.kind == Kind::EventV2 && matches!(status, 401 | 403);
        let is_final = is_event && !sent.ids.iter().all(|id| self.forbidden.insert(*id));
        if matches!(status, 401 | 403) && !is_final && permission.has_key() && permission.key_number == sent.key_number
        {
            self.doubted.entry(tenant).or_insert(now);
            self.doubts.insert((tenant, sent.payload.kind.endpoint()));
        }
        self.dated |= reply.is_some_and(|reply| (200..300).contains(&reply.status) && !reply.is_page());
        let door = self.doors.entry((tenant, sent.payload.kind.endpoint())).or_default();
        let probe = door.probe == Some(number);
        if probe {
            door.probe = None;
        }
        match status {
            _ if reply.is_some_and(Reply::is_page) => {
                door.failing.get_or_insert(now);
            }
            429 => {
                door.failing.get_or_insert(now);
                // A probe that is in flight does not open the circuit any more.
                door.probe = None;
                let told = reply.and_then(|reply| reply.until.or(reply.wait.map(|wait| now + wait)));
                if let Some(until) = told {
                    let earlier = door.closed_until.map_or(Duration::ZERO, |(_, until)| until);
                    door.closed_until = Some((now, until.max(earlier)));
                }
            }
            401 | 403 if !is_final => {}
            0 | 300..=399 | 402 | 404..=412 | 414 | 416..=428 | 430.. => {
                door.failing.get_or_insert(now);
            }
            // All others say that the endpoint is well.
            _ if probe => door.failing = None,
            _ => {}
        }
    }

    /// 400 is about to be answered, and not for the encoding.
    pub(super) fn malformed(&mut self, sent: &Sent<'_>, poison: bool) {
        let ids = sent.ids;
        if !poison {
            self.offended.extend(ids);
        }
        let is_first = ids.iter().all(|id| !self.refused.contains(id));
        self.refused.extend(ids);
        if is_first {
            let whole: Arc<[u64]> = ids.into();
            self.once_more.extend(ids.iter().map(|id| (*id, whole.clone())));
        }
    }

    /// Whether an item was answered 400 in this life.
    pub(super) fn was_refused(&self, id: &u64) -> bool {
        self.refused.contains(id)
    }

    /// A request is over, one way or the other.
    pub(super) fn over(&mut self, tenant: usize) {
        *self.in_flight.entry(tenant).or_default() -= 1;
    }

    /// The key of that number was validated; none: nothing is known.
    pub(super) fn validated(&mut self, tenant: usize, key_number: u64, valid: Option<bool>) {
        let permission = self.permission(tenant);
        if !permission.has_key() || permission.key_number != key_number {
            return;
        }
        let Some(valid) = valid else { return };
        let (doubts, others) = std::mem::take(&mut self.doubts).into_iter().partition(|(of, _)| *of == tenant);
        self.doubts = others;
        let doubts: BTreeSet<_> = doubts;
        if valid {
            self.doubted.remove(&tenant);
            // It was not the key, so it was the endpoint; and whatever begins from now on knows.
            let since = elapsed().saturating_sub(Duration::from_nanos(1));
            for of in doubts {
                self.doors.entry(of).or_default().failing.get_or_insert(since);
            }
        } else {
            self.doubted.entry(tenant).or_insert(elapsed());
        }
    }
}
