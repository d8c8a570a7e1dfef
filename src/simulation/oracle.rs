//! What was emitted, what became of it item by item, and whether that is right.

use super::machine::elapsed;
use crate::ledger::DropReason;
use crate::queue::{Finalizer, LaneId};
use crate::types::{Follow, Kind};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// So many of the last events are told when something is wrong.
const TOLD: usize = 150;

/// An ack is on disk, or durable, within this time of the end of its batch.
const WRITTEN: Duration = Duration::from_millis(500);
const DURABLE: Duration = Duration::from_millis(1200);

/// One item.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) tenant: usize,
    pub(super) kind: Kind,
    /// Datadog answers 400 to what it is in.
    pub(super) poison: bool,
    /// From when on it is older than Datadog keeps, if it tells a time.
    pub(super) late: Option<Duration>,
    /// When it was sent to the daemon first.
    emitted: Option<Duration>,
    /// When, and as which of all, its emitter was told that it is accepted.
    accepted: Option<(u64, Duration)>,
    attempted: bool,
    stored: u32,
    /// Datadog's confirmation must not be forgotten: it may not come again.
    sure: bool,
    /// It was refused for good.
    doomed: bool,
    /// A loss of power may have taken it.
    excused: bool,
    /// The payload that it was confirmed with, if a process was killed soon after.
    killed_with: Option<(Duration, u64)>,
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// In order.
    Shutdown,
    /// It is killed.
    Kill,
    /// The machine loses power.
    PowerLoss,
}

/// A batch of which something was confirmed.
struct Confirmed {
    finalizer: Weak<Finalizer>,
    items: Vec<u64>,
    settled: Option<Duration>,
}

/// Tenant and kind.
pub(super) type Lane = (usize, Kind);

/// All items, and the trace of events.
#[derive(Default)]
pub(super) struct Oracle {
    items: Vec<Item>,
    orders: u64,
    /// The place of the last first attempt.
    first_attempts: BTreeMap<(usize, LaneId), u64>,
    confirmed: BTreeMap<u64, Confirmed>,
    /// Payloads that came to their end and came again, by the time of the kill in between and by tenant.
    repeated: BTreeMap<(Duration, usize), BTreeSet<u64>>,
    /// The disk failed until then, as of late.
    pub(super) disk_trouble: Option<(Duration, Duration)>,
    /// Items that the ledger counts as dropped, over all lives.
    dropped: BTreeMap<(Lane, DropReason), u64>,
    /// When a tenant's items were purged last.
    purges: BTreeMap<usize, Duration>,
    /// Who follows which items, in this life.
    followed: Vec<(Follow, Vec<u64>)>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    hasher: DefaultHasher,
    last: VecDeque<String>,
    pub(super) wrong: Vec<String>,
}

impl Oracle {
    /// Notes an event.
    pub(super) fn event(&mut self, event: impl Display) {
        let line = format!("{:>10.3} {event}", elapsed().as_secs_f64());
        line.hash(&mut self.hasher);
        if std::env::var_os("SIMULATION_TRACE").is_some() {
            eprintln!("{line}");
        }
        if self.last.len() == TOLD {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Something is not as it must be.
    pub(super) fn wrong(&mut self, what: impl Display) {
        self.event(format_args!("WRONG: {what}"));
        self.wrong.push(what.to_string());
    }

    pub(super) fn trace(&self) -> u64 {
        self.hasher.finish()
    }

    pub(super) fn tail(&self) -> String {
        self.last.iter().fold(String::new(), |all, line| all + line + "\n")
    }

    pub(super) fn add(&mut self, tenant: usize, kind: Kind, poison: bool, late: Option<Duration>) -> u64 {
        self.items.push(Item {
            tenant,
            kind,
            poison,
            late,
            emitted: None,
            accepted: None,
            attempted: false,
            stored: 0,
            sure: false,
            doomed: poison,
            excused: false,
            killed_with: None,
        });
        self.items.len() as u64 - 1
    }

    pub(super) fn item(&self, id: u64) -> &Item {
        &self.items[id as usize]
    }

    fn item_mut(&mut self, id: u64) -> &mut Item {
        &mut self.items[id as usize]
    }

    /// They are on their way to the daemon.
    pub(super) fn emitted(&mut self, ids: &[u64]) {
        let now = elapsed();
        for id in ids {
            self.item_mut(*id).emitted.get_or_insert(now);
        }
    }

    /// The emitter was told so.
    pub(super) fn accepted(&mut self, ids: &[u64], follow: Option<Follow>) {
        self.followed.extend(follow.map(|follow| (follow, ids.to_vec())));
        for id in ids {
            self.orders += 1;
            self.item_mut(*id).accepted = Some((self.orders, elapsed()));
        }
    }

    /// A request with these items is in flight; they were accepted for that recipient.
    pub(super) fn attempted(&mut self, tenant: usize, lane: LaneId, ids: &[u64]) {
        let kind = lane.kind;
        for id in ids {
            let item = self.item_mut(*id);
            let (theirs, first) = ((item.tenant, item.kind), !std::mem::replace(&mut item.attempted, true));
            let order = item.accepted.filter(|_| first).map(|(order, _)| order);
            if theirs != (tenant, kind) {
                self.wrong(format_args!("item {id} of {theirs:?} was sent to {tenant} as {kind}"));
            }
            if let Some(order) = order {
                let last = self.first_attempts.entry((tenant, lane)).or_default();
                let before = std::mem::replace(last, order);
                if before > order {
                    self.wrong(format_args!(
                        "item {id} of {tenant} {kind} is sent for the first time after later ones"
                    ));
                }
            }
        }
    }

    /// Their first attempt may come after that of later ones.
    pub(super) fn out_of_order(&mut self, ids: &[u64]) {
        ids.iter().for_each(|id| self.item_mut(*id).attempted = true);
    }

    /// Datadog has them.
    pub(super) fn stored(&mut self, ids: &[u64]) {
        for id in ids {
            let item = self.item_mut(*id);
            item.stored += 1;
            if item.poison || item.sure {
                let poison = item.poison;
                self.wrong(format_args!("item {id} was stored again (poison: {poison})"));
            }
            let item = self.item_mut(*id);
            if let Some((at, payload)) = item.killed_with.take() {
                let tenant = item.tenant;
                self.repeated.entry((at, tenant)).or_default().insert(payload);
            }
        }
    }

    /// The answer that says so has arrived.
    pub(super) fn confirmed(&mut self, ids: &[u64], finalizer: &Arc<Finalizer>) {
        ids.iter().for_each(|id| self.item_mut(*id).sure = true);
        if let Some(first) = finalizer.seqs().first() {
            let new = || Confirmed { finalizer: Arc::downgrade(finalizer), items: Vec::new(), settled: None };
            self.confirmed.entry(first.0).or_insert_with(new).items.extend(ids);
        }
    }

    /// Datadog has refused it for good.
    pub(super) fn doomed(&mut self, id: u64) {
        self.item_mut(id).doomed = true;
    }

    /// Looks which batches have come to their end. To be called often, and at the end of a process.
    pub(super) fn look(&mut self) {
        for batch in self.confirmed.values_mut().filter(|batch| batch.settled.is_none()) {
            if batch.finalizer.upgrade().is_none_or(|finalizer| finalizer.seqs().is_empty()) {
                batch.settled = Some(elapsed());
            }
        }
    }

    /// What was waiting of a tenant is purged.
    pub(super) fn purged(&mut self, tenant: usize) {
        self.purges.insert(tenant, elapsed());
    }

    pub(super) fn was_purged(&self, tenant: usize) -> bool {
        self.purges.contains_key(&tenant)
    }

    /// So many items were dropped in the life that ends.
    pub(super) fn dropped(&mut self, lane: Lane, reason: DropReason, items: u64) {
        *self.dropped.entry((lane, reason)).or_default() += items;
    }

    /// Those who follow items have been told the truth; and everything, when nothing is left to do.
    pub(super) fn look_at_follows(&mut self, at_rest: bool) {
        for (follow, ids) in std::mem::take(&mut self.followed) {
            let fate = follow.fate();
            let sure = ids.iter().filter(|id| self.item(**id).sure).count() as u64;
            let doomed = ids.iter().filter(|id| self.item(**id).doomed).count() as u64;
            let sum = fate.queued + fate.delivered + fate.dead_lettered + fate.dropped;
            let untrue = fate.delivered > sure || fate.dead_lettered > doomed || sum != ids.len() as u64;
            if untrue || at_rest && (fate.queued > 0 || fate.delivered < sure) {
                self.wrong(format_args!(
                    "who follows {ids:?} is told {fate:?}; {sure} are with Datadog, {doomed} refused"
                ));
            }
        }
    }

    /// A process has ended, having dropped something of these lanes: what may come again, and what may not come.
    pub(super) fn ended(&mut self, end: End, durable: super::Fsync, dropped: &BTreeSet<Lane>) {
        self.look_at_follows(false);
        if end != End::Shutdown {
            // What was dropped may be back, and then comes after what was accepted later.
            let items = self.items.iter_mut().filter(|item| dropped.contains(&(item.tenant, item.kind)));
            items.for_each(|item| item.attempted |= item.accepted.is_some());
        }
        let now = elapsed();
        let recent = if end == End::PowerLoss { DURABLE } else { WRITTEN };
        let trouble = self.disk_trouble;
        // Whether what was to be written at that time may not have been.
        let unwritten = |at: Duration| {
            at + recent > now || trouble.is_some_and(|(begin, until)| at + recent > begin && until + recent * 2 > now)
        };
        for (first, batch) in std::mem::take(&mut self.confirmed) {
            let again = match end {
                // The end waits for the last ack to be written, if the disk takes it.
                End::Shutdown => trouble.is_some_and(|(_, until)| until + recent * 2 > now),
                End::Kill | End::PowerLoss => batch.settled.is_none_or(unwritten),
            };
            if again {
                batch.items.iter().for_each(|id| self.item_mut(*id).sure = false);
            }
            // Of what was divided any number may be in flight in part, and acks that the disk did not take are not written.
            let healthy = trouble.is_none_or(|(_, until)| until + recent * 2 < now);
            if end == End::Kill && healthy && batch.settled.is_some() {
                batch.items.iter().for_each(|id| self.item_mut(*id).killed_with = Some((now, first)));
            }
        }
        if end == End::PowerLoss {
            for item in &mut self.items {
                // What comes again from now on does so for this.
                item.killed_with = None;
                match durable {
                    super::Fsync::Always => {}
                    super::Fsync::Interval(_) => {
                        item.excused |= item.accepted.is_some_and(|(_, at)| unwritten(at));
                    }
                    super::Fsync::Never => {
                        item.excused |= item.accepted.is_some();
                        item.sure = false;
                    }
                }
            }
        }
    }

    /// At the very end: everything accepted has arrived or is accounted for. `dead` are the items in dead letters, and
    /// whose those are; `age_limited` says that the quota drops what has waited for long.
    pub(super) fn close(&mut self, dead: &BTreeMap<u64, usize>, rules: &super::faults::Rules, age_limited: bool) {
        let mut missing: BTreeMap<Lane, Vec<u64>> = BTreeMap::new();
        for (id, item) in self.items.iter().enumerate() {
            let id = id as u64;
            let is_dead = dead.contains_key(&id);
            if item.accepted.is_some() && item.stored == 0 && !is_dead && !item.excused {
                missing.entry((item.tenant, item.kind)).or_default().push(id);
            }
            if is_dead && !item.doomed || dead.get(&id).is_some_and(|tenant| *tenant != item.tenant) {
                self.wrong.push(format!("item {id} is a dead letter, and should not be: {item:?}"));
            }
        }
        for ((at, tenant), payloads) in std::mem::take(&mut self.repeated) {
            if payloads.len() > rules.concurrency {
                let count = payloads.len();
                self.wrong(format_args!(
                    "{count} payloads of {tenant} came again after the kill at {at:?}: {payloads:?}"
                ));
            }
        }
        for (lane, ids) in missing {
            let purged = self.purges.get(&lane.0).copied();
            let may_be = |id: &&u64, reason| {
                let item = self.item(**id);
                match reason {
                    DropReason::Expired => age_limited || rules.drop_late && item.late.is_some(),
                    DropReason::Purged => item.emitted <= purged,
                    DropReason::Evicted | DropReason::Damaged => true,
                    DropReason::Refused => false,
                }
            };
            let dropped = |reason| self.dropped.get(&(lane, reason)).copied().unwrap_or(0);
            let all: u64 = DropReason::ALL.into_iter().map(dropped).sum();
            let mut wrong = Vec::new();
            for reason in DropReason::ALL {
                // Those that can be missing for other reasons only.
                let others: Vec<&u64> = ids.iter().filter(|id| !may_be(id, reason)).collect();
                let (count, dropped) = (others.len() as u64, all - dropped(reason));
                if count > dropped {
                    let (first, name) = (self.item(*others[0]), reason.name());
                    wrong.push(format!(
                        "{count} of {lane:?} are missing and not {name}, {dropped} were dropped: {first:?}"
                    ));
                }
            }
            if ids.len() as u64 > all {
                let (count, first) = (ids.len(), self.item(ids[0]));
                wrong.push(format!("{count} of {lane:?} are missing, {all} were dropped: {first:?}"));
            }
            self.wrong.extend(wrong);
        }
    }

    pub(super) fn accepted_items(&self) -> usize {
        self.items.iter().filter(|item| item.accepted.is_some()).count()
    }
}
