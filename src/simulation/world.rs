//! Lives of the process, one after another on the same disk, and what is looked at while they last.

use super::book::{Book, End};
use super::datadog::Datadog;
use super::host::{elapsed, pass_time};
use super::plan::{Plan, Request, Run, STORM};
use crate::daemon::keep_house;
use crate::deliver::Delivery;
use crate::journal::{Faults, Journal, Options, SimDisk};
use crate::ledger::{Balance, DropReason, Ledger};
use crate::queue::{Queues, Refused};
use crate::tenancy::{Registry, Tenant};
use crate::types::{Chunk, Kind, Secret, TenantId, UnixMillis};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// All that is left is delivered within this time after the last fault.
const DRAINED: Duration = Duration::from_secs(600);

/// A clean end takes no longer, whatever is under way.
const ENDED: Duration = Duration::from_secs(60);

/// Time goes on so often at most between two looks.
const WAKES: u64 = 1000;

pub(super) struct World {
    plan: Plan,
    pub(super) book: Arc<Mutex<Book>>,
    disk: SimDisk,
    datadog: Datadog,
    emitters: Vec<Arc<Mutex<VecDeque<Request>>>>,
    start: Instant,
    lives: u64,
    /// How often the runtime has waited for time to pass.
    wakes: u64,
}

/// One process.
struct Life {
    queues: Arc<Queues>,
    delivery: Arc<Delivery>,
    ledger: Arc<Ledger>,
    tenants: Vec<TenantId>,
    sending: JoinSet<()>,
    others: JoinSet<()>,
    quota: usize,
}

impl World {
    pub(super) fn new(seed: u64, state_dir: &std::path::Path) -> Self {
        let mut book = Book::default();
        let mut plan = Plan::new(seed, &mut book, state_dir);
        let book = Arc::new(Mutex::new(book));
        let datadog = Datadog::new(seed, plan.rules.clone(), book.clone());
        let emitters = std::mem::take(&mut plan.emitters).into_iter().map(|all| Arc::new(Mutex::new(all))).collect();
        Self { disk: SimDisk::new(seed), plan, book, datadog, emitters, start: Instant::now(), lives: 0, wakes: 0 }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub(super) async fn run(&mut self) {
        let (settings, fsync) = (&self.plan.settings, self.plan.fsync);
        self.book().event(format_args!(
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
        let (journal, _) = self.open();
        let left = journal.figures();
        if left.records > 0 {
            self.book().wrong(format_args!("all is delivered, and the journal has {left:?}"));
        }
        journal.close();
        let dead = self.dead_letters();
        self.book().close(&dead, self.plan.rules.concurrency);
    }

    fn open(&mut self) -> (Journal, crate::journal::Recovery) {
        self.lives += 1;
        let options = Options {
            fsync: self.plan.fsync,
            segment_bytes: self.plan.segment_bytes,
            in_flight_bytes: 256 << 10,
            ..Options::new("/simulated")
        };
        Journal::open_simulated(&options, self.disk.clone(), self.plan.seed ^ self.lives << 32)
    }

    fn begin(&mut self) -> Life {
        let (journal, recovery) = self.open();
        self.book().event(format_args!("life {}: {} items, {} lost", self.lives, recovery.items, recovery.lost.len()));
        let settings = &self.plan.settings;
        let ledger = Arc::new(Ledger::default());
        let queues = Arc::new(Queues::new(settings, ledger.clone(), Arc::new(journal)));
        queues.recover(&recovery.lost);
        let registry = Arc::new(Registry::default());
        let site = settings.datadog.sites.get("datadoghq.com").unwrap();
        let mut tenants = Vec::new();
        for (index, key) in self.plan.rules.keys.iter().enumerate() {
            let id = TenantId::new(&format!("t{index}")).unwrap();
            registry.insert(Arc::new(Tenant::new(id.clone(), site.clone(), Some(Secret::new(key.clone())))));
            tenants.push(id);
        }
        self.datadog.forget();
        let datadog = Box::new(self.datadog.clone());
        let delivery = Arc::new(Delivery::new(settings, datadog, queues.clone(), registry, ledger.clone()));
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
                queues: queues.clone(),
                tenants: tenants.clone(),
                requests: requests.clone(),
                book: self.book.clone(),
                start: self.start,
            };
            others.spawn(emitter.run());
        }
        let quota = settings.journal.max_bytes_per_tenant;
        Life { queues, delivery, ledger, tenants, sending, others, quota }
    }

    /// Lets the process live until then, and looks at it all the while.
    async fn until(&mut self, life: &mut Life, at: Duration) {
        while elapsed() < at {
            sleep(Duration::from_millis(100).min(at.saturating_sub(elapsed()))).await;
            self.trouble_disk();
            self.look(life);
        }
    }

    /// What must hold at every moment; to be called a few times a second.
    fn look(&mut self, life: &Life) {
        life.look(&mut self.book());
        let wakes = Handle::current().metrics().worker_park_count(0);
        let new = wakes - std::mem::replace(&mut self.wakes, wakes);
        if new > WAKES {
            self.book().wrong(format_args!("time went on {new} times in a fraction of a second: something spins"));
        }
    }

    fn trouble_disk(&mut self) {
        let now = elapsed();
        while self.plan.disk.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, faults)) = self.plan.disk.pop_front() else { break };
            let until = self.plan.disk.front().map_or(STORM, |(at, _)| *at) + Duration::from_secs(1);
            let mut book = self.book.lock().unwrap();
            book.event(format_args!("disk: {faults:?}"));
            if faults.is_some() {
                book.disk_trouble = Some((now, until));
            }
            self.disk.set_faults(faults.unwrap_or_default());
        }
    }

    /// Everything is well from now on: all arrives.
    async fn drain(&mut self, life: &mut Life) {
        self.disk.set_faults(Faults::default());
        self.book().event("calm");
        let end = elapsed() + DRAINED;
        loop {
            sleep(Duration::from_millis(200)).await;
            self.look(life);
            let emitting = self.emitters.iter().any(|requests| !requests.lock().unwrap().is_empty());
            let queued: u64 = life.ledger.read().iter().map(|(.., balance)| balance.queued).sum();
            if queued == 0 && !emitting {
                break;
            }
            if elapsed() > end {
                let ledger = life.ledger.read();
                self.book().wrong(format_args!("not all is delivered: emitting: {emitting}, {ledger:?}"));
                return;
            }
        }
        // Whoever still waits for an answer to the last request.
        sleep(Duration::from_secs(30)).await;
        life.look(&mut self.book());
        self.wakes = Handle::current().metrics().worker_park_count(0);
        let left = (life.queues.memory_used(), life.queues.disk_used());
        if left != (0, 0) {
            self.book().wrong(format_args!("all is delivered, and {left:?} bytes of memory and disk are still held"));
        }
        life.queues.journal().flush().await;
        let figures = life.queues.journal().figures();
        if figures.records > 0 {
            self.book().wrong(format_args!("all is delivered, and the journal has {figures:?}"));
        }
    }

    async fn end(&mut self, mut life: Life, end: End) {
        self.book().event(format_args!("{end:?}"));
        let journal = life.queues.journal().clone();
        if end == End::Shutdown {
            life.delivery.flush();
            let grace = Duration::from_secs(self.lives % 3 * 2);
            let enough = elapsed() + grace;
            life.queues.stop_accepting();
            self.until(&mut life, enough).await;
            life.delivery.end();
            if timeout(ENDED, life.sending.join_next()).await.is_err() {
                self.book().wrong("delivery does not end");
            }
        } else {
            journal.die();
        }
        life.sending.shutdown().await;
        life.others.shutdown().await;
        if end == End::Shutdown {
            life.delivery.put_away().await;
            journal.close();
        }
        let Life { queues, delivery, ledger, tenants, .. } = life;
        drop(delivery);
        drop(queues);
        for _ in 0..100 {
            yield_now().await;
        }
        if Arc::strong_count(&journal) > 1 {
            self.book().wrong("something of the process lives on after its end");
        }
        match end {
            End::PowerLoss => self.disk.lose_power(),
            End::Kill | End::Shutdown => self.disk.kill(),
        }
        // A new process finds a disk that works, until that fails again.
        self.disk.set_faults(Faults::default());
        let fsync = self.plan.fsync;
        let mut book = self.book();
        let evicted = |balance: Balance| balance.dropped[DropReason::Evicted as usize] > 0;
        book.ended(end, fsync, ledger.read().into_iter().any(|(.., balance)| evicted(balance)));
        for (tenant, kind, balance) in ledger.read() {
            let tenant = tenants.iter().position(|id| *id == tenant).unwrap();
            for reason in DropReason::ALL {
                let dropped = balance.dropped[reason as usize];
                *book.dropped.entry((tenant, kind)).or_default() += dropped;
                let may_be = match reason {
                    DropReason::Evicted => true,
                    DropReason::Damaged => self.plan.fsync != super::Fsync::Always,
                    DropReason::Expired | DropReason::Purged => false,
                };
                if dropped > 0 && !may_be {
                    book.wrong(format_args!("{dropped} {kind} of {tenant} were dropped as {}", reason.name()));
                }
            }
        }
    }

    /// The items in the dead letters, and whose file they are in.
    fn dead_letters(&self) -> BTreeMap<u64, usize> {
        let mut dead = BTreeMap::new();
        for tenant in 0..self.plan.rules.keys.len() {
            let path = self.plan.settings.state.dir.join(format!("dead-letters/t{tenant}.ndjson"));
            for line in std::fs::read_to_string(path).unwrap_or_default().lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let body = match line["base64"].as_str() {
                    Some(base64) => base64::Engine::decode(&base64::engine::general_purpose::STANDARD, base64).unwrap(),
                    None => line["body"].to_string().into_bytes(),
                };
                dead.extend(super::datadog::ids(&body).into_iter().map(|id| (id, tenant)));
            }
        }
        dead
    }
}

impl Life {
    /// What must hold at every moment.
    fn look(&self, book: &mut Book) {
        book.look();
        let mut queued: BTreeMap<(TenantId, Kind), u64> = BTreeMap::new();
        for queue in self.queues.all() {
            for lane in queue.figures().into_iter().chain(self.delivery.figures(&queue.id)) {
                *queued.entry((queue.id.clone(), lane.kind)).or_default() += lane.items;
            }
        }
        for (tenant, kind, balance) in self.ledger.read() {
            let there = queued.get(&(tenant.clone(), kind)).copied().unwrap_or(0);
            if !balance.balances() || balance.queued != there {
                book.wrong(format_args!("{tenant} {kind}: {there} items are there, and the ledger says {balance:?}"));
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
                book.wrong(format_args!("{bytes} bytes of {tenant} are in the journal"));
            }
        }
    }
}

/// One who sends telemetry, and sends it again when it is told to.
struct Emitter {
    queues: Arc<Queues>,
    tenants: Vec<TenantId>,
    requests: Arc<Mutex<VecDeque<Request>>>,
    book: Arc<Mutex<Book>>,
    start: Instant,
}

/// So often an emitter tries.
const TRIES: usize = 12;

impl Emitter {
    async fn run(self) {
        loop {
            let Some(at) = self.requests.lock().unwrap().front().map(|request| request.at) else { return };
            sleep_until(self.start + at).await;
            // What a process had in hand when it died is not sent again: nobody was told that it is accepted.
            let Some(request) = self.requests.lock().unwrap().pop_front() else { return };
            self.send(&request.runs).await;
        }
    }

    async fn send(&self, runs: &[Run]) {
        let calm = elapsed() >= STORM;
        for _ in 0..if calm { 2 } else { TRIES } {
            self.queues.eased().await;
            match self.queues.submit(runs.iter().map(|run| self.chunk(run)).collect()).await {
                Ok(()) => {
                    let mut book = self.book.lock().unwrap();
                    for run in runs {
                        book.accepted(&run.ids);
                        book.event(format_args!(
                            "accepted {} {} {:?}..{:?}",
                            run.tenant,
                            run.kind,
                            run.ids.first(),
                            run.ids.last()
                        ));
                    }
                    return;
                }
                Err(Refused::Full { retry_after, .. }) => {
                    self.book.lock().unwrap().count("full");
                    sleep(retry_after.min(Duration::from_secs(2))).await;
                }
                Err(Refused::Storage(_)) => {
                    self.book.lock().unwrap().count("storage");
                    pass_time(Duration::from_secs(2)).await;
                }
                Err(Refused::Stopping) => return,
            }
        }
    }

    fn chunk(&self, run: &Run) -> Chunk {
        Chunk {
            tenant: self.tenants[run.tenant].clone(),
            kind: run.kind,
            items: run.ids.len() as u32,
            oldest: UnixMillis::now(),
            accepted: UnixMillis::now(),
            bytes: run.bytes.clone(),
            follow: None,
        }
    }
}
