//! Lives of the process, one after another on the same disk, and what is looked at while they last.

use super::committer::{self, Task};
use super::datadog::Datadog;
use super::emitter::Emitter;
use super::machine::{self, Simulated, elapsed};
use super::oracle::{End, Oracle};
use super::permission::{Change, Permission};
use super::plan::{Plan, Request, SHORT, STORM};
use crate::daemon::keep_house;
use crate::deliver::Delivery;
use crate::journal::{Faults, Journal, Options, SimDisk};
use crate::ledger::{DropReason, Ledger};
use crate::queue::Queues;
use crate::settings::WhenFull;
use crate::tenancy::Registry;
use crate::types::{Kind, TenantId};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout};

/// All that is left is delivered within this time after the last fault.
const DRAINED: Duration = Duration::from_secs(600);

/// A clean end takes no longer, whatever is in flight.
const ENDED: Duration = Duration::from_secs(60);

/// What waits longer than its quota allows is dropped within 30 s. The age that is shown may be that of what was dropped
/// last for as long again.
const EXPIRED: Duration = Duration::from_secs(100);

/// And what an earlier life has left, within this time after the clock is known to be right.
const RECOVERED: Duration = Duration::from_secs(35);

/// The end of what has none.
const FOREVER: Duration = Duration::from_secs(1_000_000);

/// Time goes on so often at most in a tenth of a second.
const WAKES: u64 = 1000;

pub(super) struct World {
    plan: Plan,
    pub(super) oracle: Arc<Mutex<Oracle>>,
    disk: SimDisk,
    datadog: Datadog,
    permissions: Vec<Permission>,
    emitters: Vec<Arc<Mutex<VecDeque<Request>>>>,
    /// Dead letters that were taken away, and the tenant of each.
    dead: BTreeMap<u64, usize>,
    start: Instant,
    lives: u64,
    /// How often the runtime has waited for time to pass, and until when that was.
    wakes: (u64, Duration),
}

/// One process.
struct Life {
    process: Arc<Task>,
    queues: Arc<Queues>,
    delivery: Arc<Delivery>,
    ledger: Arc<Ledger>,
    registry: Arc<Registry>,
    tenants: Vec<TenantId>,
    sending: JoinSet<()>,
    others: JoinSet<()>,
    quota: usize,
    max_age: Duration,
    /// Since when the time is known to be right.
    known: Cell<Option<Duration>>,
}

impl World {
    pub(super) fn new(seed: u64, state_dir: &std::path::Path) -> Self {
        let mut oracle = Oracle::default();
        let mut plan = Plan::new(seed, &mut oracle, state_dir);
        let oracle = Arc::new(Mutex::new(oracle));
        let datadog = Datadog::new(seed, plan.rules.clone(), oracle.clone());
        let emitters = std::mem::take(&mut plan.emitters).into_iter().map(|all| Arc::new(Mutex::new(all))).collect();
        let (disk, permissions) = (SimDisk::new(seed), vec![Permission::default(); plan.rules.tenants]);
        Self {
            disk,
            plan,
            oracle,
            datadog,
            permissions,
            emitters,
            dead: BTreeMap::new(),
            start: Instant::now(),
            lives: 0,
            wakes: Default::default(),
        }
    }

    fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap()
    }

    pub(super) async fn run(&mut self) {
        let (settings, fsync) = (&self.plan.settings, self.plan.fsync);
        self.oracle().event(format_args!(
            "{fsync:?}, {:?}, {:?}, {:?}, {:?}",
            settings.journal, settings.memory, settings.delivery, self.plan.rules.phases
        ));
        let ends = std::mem::take(&mut self.plan.ends);
        for (at, end) in ends {
            let mut life = self.begin();
            self.until(&mut life, at).await;
            self.end(life, end).await;
        }
        let mut life = self.begin();
        self.until(&mut life, STORM).await;
        self.drain(&mut life).await;
        self.end(life, End::Shutdown).await;
        let (journal, ..) = self.open();
        let left = journal.figures();
        if left.records > 0 {
            self.oracle().wrong(format_args!("all is delivered, and the journal has {left:?}"));
        }
        journal.close();
        self.take_dead_letters();
        let dead = std::mem::take(&mut self.dead);
        let age_limited = self.plan.settings.journal.max_age == SHORT;
        self.oracle().close(&dead, &self.plan.rules, age_limited);
    }

    fn open(&mut self) -> (Journal, crate::journal::Recovery, Arc<Task>) {
        self.lives += 1;
        let options = Options {
            fsync: self.plan.fsync,
            segment_bytes: self.plan.segment_bytes,
            in_flight_bytes: 256 << 10,
            ..Options::new("/simulated")
        };
        committer::open(&options, self.disk.clone(), self.plan.seed ^ self.lives << 32)
    }

    fn begin(&mut self) -> Life {
        // At its start, a process knows no better than the wall clock.
        machine::set_clock(0);
        let (journal, recovery, process) = self.open();
        self.oracle().event(format_args!(
            "life {}: {} items, {} lost",
            self.lives,
            recovery.items,
            recovery.lost.len()
        ));
        let settings = &self.plan.settings;
        let ledger = Arc::new(Ledger::default());
        let queues = Arc::new(Queues::new(&Simulated::machine(), settings, ledger.clone(), Arc::new(journal)));
        queues.recover(&recovery.lost);
        let registry = Arc::new(Registry::default());
        let tenants: Vec<_> =
            (0..self.permissions.len()).map(|index| TenantId::new(&format!("t{index}")).unwrap()).collect();
        self.datadog.forget();
        self.permissions.iter_mut().for_each(|permission| permission.purged = None);
        let datadog = Box::new(self.datadog.clone());
        let delivery = Arc::new(Delivery::new(settings, datadog, queues.clone(), registry.clone(), ledger.clone()));
        let (mut sending, mut others) = (JoinSet::new(), JoinSet::new());
        sending.spawn({
            let delivery = delivery.clone();
            async move { delivery.run().await }
        });
        others.spawn({
            let (queues, delivery) = (queues.clone(), delivery.clone());
            async move { keep_house(&queues, &delivery).await }
        });
        for requests in &self.emitters {
            let emitter = Emitter {
                datadog: self.datadog.clone(),
                queues: queues.clone(),
                tenants: tenants.clone(),
                requests: requests.clone(),
                oracle: self.oracle.clone(),
                start: self.start,
            };
            others.spawn(emitter.run());
        }
        let (quota, max_age) = (settings.journal.max_bytes_per_tenant, settings.journal.max_age);
        let life = Life {
            process,
            queues,
            delivery,
            ledger,
            registry,
            tenants,
            sending,
            others,
            quota,
            max_age,
            known: Cell::default(),
        };
        (0..self.permissions.len()).for_each(|tenant| self.enact(&life, tenant));
        life
    }

    /// Has a tenant's permission apply from this moment on.
    fn enact(&self, life: &Life, tenant: usize) {
        let site = self.plan.settings.datadog.sites.get("datadoghq.com").unwrap();
        self.permissions[tenant].enact(&life.tenants[tenant], tenant, &site, &life.registry, &self.datadog);
    }

    /// Does to tenants what is due.
    async fn change_permission(&mut self, life: &Life) {
        let now = elapsed();
        while self.plan.changes.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, tenant, change)) = self.plan.changes.pop_front() else { break };
            self.oracle().event(format_args!("tenant {tenant}: {change:?}"));
            if let Change::Purge = change {
                let before = machine::now();
                self.oracle().purged(tenant);
                match life.delivery.purge(&life.tenants[tenant], before, None).await {
                    Ok(_) => self.permissions[tenant].purged = Some(before),
                    Err(error) => self.oracle().event(format_args!("not purged: {error}")),
                }
            }
            self.permissions[tenant].change(change);
            self.enact(life, tenant);
        }
    }

    /// Lets the process live until then, and looks at it all the while.
    async fn until(&mut self, life: &mut Life, at: Duration) {
        while elapsed() < at {
            sleep(Duration::from_millis(100).min(at.saturating_sub(elapsed()))).await;
            self.trouble_disk();
            self.set_clock();
            self.change_permission(life).await;
            self.look(life);
        }
    }

    /// What must hold at every moment; to be called a few times a second.
    fn look(&mut self, life: &Life) {
        life.look(&mut self.oracle());
        let wakes = Handle::current().metrics().worker_park_count(0);
        let (before, at) = std::mem::replace(&mut self.wakes, (wakes, elapsed()));
        let (new, looks) = (wakes - before, 1 + (elapsed() - at).as_millis() as u64 / 100);
        if new > WAKES * looks {
            self.oracle().wrong(format_args!("time went on {new} times since {at:?}: something spins"));
        }
    }

    fn set_clock(&mut self) {
        while self.plan.clock.front().is_some_and(|(at, _)| *at <= elapsed()) {
            let Some((_, error)) = self.plan.clock.pop_front() else { break };
            self.oracle().event(format_args!("clock wrong by {error} ms"));
            machine::set_clock(error);
        }
    }

    fn trouble_disk(&mut self) {
        while self.plan.disk.front().is_some_and(|(at, _)| *at <= elapsed()) {
            let Some((_, faults)) = self.plan.disk.pop_front() else { break };
            self.oracle().event(format_args!("disk: {faults:?}"));
            match faults {
                Some(faults) => {
                    self.disk.set_faults(faults);
                    self.oracle().disk_trouble = Some((elapsed(), FOREVER));
                }
                None => self.mend_disk(),
            }
        }
    }

    fn mend_disk(&mut self) {
        self.disk.set_faults(Faults::default());
        // Some time goes by before what could not be written is.
        let until = elapsed() + Duration::from_secs(1);
        if let Some((_, end @ FOREVER)) = &mut self.oracle().disk_trouble {
            *end = until;
        }
    }

    /// Everything is well from now on: all arrives.
    async fn drain(&mut self, life: &mut Life) {
        self.mend_disk();
        machine::set_clock(0);
        self.change_permission(life).await;
        self.oracle().event("calm");
        let end = elapsed() + DRAINED;
        loop {
            sleep(Duration::from_millis(200)).await;
            self.look(life);
            // Somebody looks at the dead letters, which may take all of a quota.
            self.take_dead_letters();
            life.delivery.measure_dead_letters().await;
            let emitting = self.emitters.iter().any(|requests| !requests.lock().unwrap().is_empty());
            let queued: u64 = life.ledger.read().iter().map(|(.., balance)| balance.queued).sum();
            if queued == 0 && !emitting {
                break;
            }
            if elapsed() > end {
                let ledger = life.ledger.read();
                self.oracle().wrong(format_args!("not all is delivered: emitting: {emitting}, {ledger:?}"));
                return;
            }
        }
        // Whoever still waits for an answer to the last request.
        sleep(Duration::from_secs(30)).await;
        life.look(&mut self.oracle());
        self.take_dead_letters();
        life.delivery.measure_dead_letters().await;
        self.oracle().look_at_follows(true);
        self.wakes = (Handle::current().metrics().worker_park_count(0), elapsed());
        let left = (life.queues.memory_used(), life.queues.disk_used());
        if left != (0, 0) {
            self.oracle().wrong(format_args!("all is delivered, and {left:?} bytes of memory and disk are still held"));
        }
        life.queues.journal().flush().await;
        let figures = life.queues.journal().figures();
        if figures.records > 0 {
            self.oracle().wrong(format_args!("all is delivered, and the journal has {figures:?}"));
        }
    }

    async fn end(&mut self, mut life: Life, end: End) {
        self.oracle().event(format_args!("{end:?}"));
        let journal = life.queues.journal().clone();
        if end == End::Shutdown {
            life.delivery.flush();
            let grace = Duration::from_secs(self.lives % 3 * 2);
            let enough = elapsed() + grace;
            life.queues.stop_accepting();
            self.until(&mut life, enough).await;
            life.delivery.end();
            if timeout(ENDED, life.sending.join_next()).await.is_err() {
                self.oracle().wrong("delivery does not end");
            }
        } else {
            life.process.die();
        }
        life.sending.shutdown().await;
        life.others.shutdown().await;
        self.oracle().look();
        if end == End::Shutdown {
            // These go behind what was accepted later.
            for payload in life.delivery.partly_finalized() {
                let ids = super::datadog::ids(&payload.unpack().unwrap());
                self.oracle().out_of_order(&ids);
            }
            life.delivery.checkpoint().await;
            journal.close();
        }
        let Life { queues, delivery, ledger, tenants, .. } = life;
        drop(delivery);
        drop(queues);
        for _ in 0..100 {
            yield_now().await;
        }
        if Arc::strong_count(&journal) > 1 {
            self.oracle().wrong("something of the process lives on after its end");
        }
        match end {
            End::PowerLoss => self.disk.lose_power(),
            End::Kill | End::Shutdown => self.disk.kill(),
        }
        let fsync = self.plan.fsync;
        let mut oracle = self.oracle();
        let mut lanes = BTreeSet::new();
        for (tenant, kind, balance) in ledger.read() {
            let tenant = tenants.iter().position(|id| *id == tenant).unwrap();
            for reason in DropReason::ALL {
                let dropped = balance.dropped[reason as usize];
                if dropped == 0 {
                    continue;
                }
                lanes.insert((tenant, kind));
                oracle.dropped((tenant, kind), reason, dropped);
                let may_be = match reason {
                    DropReason::Evicted => self.plan.settings.journal.when_full == WhenFull::DropOldest,
                    DropReason::Damaged => fsync != super::Fsync::Always,
                    DropReason::Expired => self.plan.rules.drop_late || self.plan.settings.journal.max_age == SHORT,
                    DropReason::Purged => oracle.was_purged(tenant),
                    // Counted by the door, which is not part of this world.
                    DropReason::Refused => false,
                };
                if !may_be {
                    oracle.wrong(format_args!("{dropped} {kind} of {tenant} were dropped as {}", reason.name()));
                }
            }
        }
        oracle.ended(end, fsync, &lanes);
        drop(oracle);
        // A new process finds a disk that works, until that fails again.
        self.mend_disk();
    }

    fn take_dead_letters(&mut self) {
        for tenant in 0..self.permissions.len() {
            let path = self.plan.settings.state.dir.join(format!("dead-letters/t{tenant}.ndjson"));
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if !text.is_empty() {
                std::fs::remove_file(&path).unwrap();
            }
            for line in text.lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let body = match line["base64"].as_str() {
                    Some(base64) => base64::Engine::decode(&base64::engine::general_purpose::STANDARD, base64).unwrap(),
                    None => line["body"].to_string().into_bytes(),
                };
                self.dead.extend(super::datadog::ids(&body).into_iter().map(|id| (id, tenant)));
            }
        }
    }
}

impl Life {
    /// What must hold at every moment.
    fn look(&self, oracle: &mut Oracle) {
        oracle.look();
        if self.known.get().is_none() && self.queues.machine().knows_time(Duration::ZERO) {
            self.known.set(Some(elapsed()));
        }
        let mut queued: BTreeMap<(TenantId, Kind), u64> = BTreeMap::new();
        for queue in self.queues.all() {
            for lane in queue.figures().into_iter().chain(self.delivery.figures(&queue.id)) {
                *queued.entry((queue.id.clone(), lane.lane.kind)).or_default() += lane.items;
            }
        }
        for (tenant, kind, balance) in self.ledger.read() {
            let there = queued.get(&(tenant.clone(), kind)).copied().unwrap_or(0);
            if !balance.balances() || balance.queued != there {
                oracle.wrong(format_args!("{tenant} {kind}: {there} items are there, and the ledger says {balance:?}"));
            }
        }
        for queue in self.queues.all() {
            let oldest = queue.figures().into_iter().filter_map(|lane| lane.oldest).min();
            let limit = machine::now().minus(self.max_age + EXPIRED);
            let is_known = self.known.get().is_some_and(|since| elapsed() > since + RECOVERED);
            if oldest.is_some_and(|oldest| oldest < limit) && is_known {
                oracle.wrong(format_args!("{} has items waiting since {oldest:?}", queue.id));
            }
        }
        let mut waiting: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for (lane, backlog) in self.queues.journal().lanes() {
            let tenant = lane.split(|byte| *byte == b'/').nth(1).unwrap_or_default().to_vec();
            // The rest is what a record takes besides its payload.
            *waiting.entry(tenant).or_default() += backlog.bytes.saturating_sub(128 * backlog.records);
        }
        for (tenant, bytes) in waiting {
            if bytes > self.quota as u64 + 100_000 {
                let tenant = String::from_utf8_lossy(&tenant).into_owned();
                oracle.wrong(format_args!("{bytes} bytes of {tenant} are in the journal"));
            }
        }
    }
}
