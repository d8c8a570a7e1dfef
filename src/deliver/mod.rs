//! Submission: pace, send, judge the answer; then finalize, requeue, split, or write to the dead letters.
//!
//! A `job` is a payload's life, and a `sender` has those of one tenant in its `backlog`. `drive` starts their steps,
//! as far as `endpoint` (with `pace` and the `circuit_breaker`), `auth`, `permission` and `permits` let it; `run`
//! does them, and `outcome` decides, with `judge`, what follows. [`Delivery`] has every tenant with something to send
//! driven.

mod auth;
mod backlog;
mod checkpoint;
mod circuit_breaker;
mod client;
mod dead_letter;
mod drive;
mod endpoint;
mod job;
mod judge;
pub(crate) mod metrics;
mod outcome;
mod pace;
mod permission;
mod permits;
mod purge;
mod run;
mod sender;
mod unacked;

#[cfg(test)]
mod tests;

pub use client::{Client, ClientError, Destination, Soon, Transport, Validity};
pub use dead_letter::{Content, DeadLetters, Items, Letter, Line, Lines, Reason, Rewrite, RewriteError};
#[cfg(test)]
pub(crate) use judge::read_limits;
pub use judge::{Answer, Quota};
pub use run::KeyRefused;
pub use sender::LastError;

use crate::ledger::Ledger;
use crate::metric;
use crate::payload::Builder;
#[cfg(test)]
use crate::payload::Payload;
use crate::queue::{LaneFigures, Queues, TenantQueue};
use crate::settings::Settings;
use crate::tenancy::{Recipients, Registry, TenantState};
use crate::types::{Current, Endpoint, TenantId, UnixMillis};
use permits::Permits;
use run::Tools;
use sender::{Phase, Rules, Sender};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tracing::{error, warn};

/// Delivers the items in the queues.
#[derive(Debug)]
pub struct Delivery {
    queues: Arc<Queues>,
    registry: Arc<Registry>,
    ledger: Arc<Ledger>,
    tools: Arc<Tools>,
    rules: Arc<Current<Rules>>,
    senders: Mutex<HashMap<TenantId, Arc<Sender>>>,
    phase: watch::Sender<Phase>,
}

/// A driver that panicked is started again after this time.
const RESTART: Duration = Duration::from_secs(1);

impl Delivery {
    /// A delivery as configured.
    pub fn new(
        settings: &Settings,
        client: Box<dyn Transport>,
        queues: Arc<Queues>,
        registry: Arc<Registry>,
        ledger: Arc<Ledger>,
    ) -> Self {
        let delivery = &settings.delivery;
        let tools = Tools {
            machine: queues.machine().clone(),
            client,
            builder: Current::new(builder(settings)),
            permits: Permits::new(delivery.concurrency, delivery.concurrency_per_tenant),
            cores: queues.cores(),
            dead_letters: DeadLetters::new(&settings.state.dir),
            drop_late: AtomicBool::new(delivery.drop_late),
            refusals: OnceLock::new(),
        };
        Self {
            queues,
            registry,
            ledger,
            tools: Arc::new(tools),
            rules: Arc::new(Current::new(Rules::new(settings))),
            senders: Mutex::default(),
            phase: watch::Sender::new(Phase::Usual),
        }
    }

    /// Applies another configuration, except `delivery.concurrency`, `concurrency_per_tenant` and `timeout`.
    pub fn reload(&self, settings: &Settings) {
        self.rules.set(Rules::new(settings));
        self.tools.builder.set(builder(settings));
        self.tools.drop_late.store(settings.delivery.drop_late, Ordering::Relaxed);
        // Batches may be due earlier.
        self.all().iter().for_each(|sender| sender.queue.nudge());
    }

    /// Delivers until [`end`](Self::end), and then until nothing is in flight.
    pub async fn run(&self) {
        let mut phase = self.phase.subscribe();
        let mut drivers: JoinSet<()> = JoinSet::new();
        let mut tenants: HashMap<Id, Arc<TenantQueue>> = HashMap::new();
        loop {
            let ending = *phase.borrow_and_update() == Phase::Ending;
            if ending && drivers.is_empty() {
                return;
            }
            let queue = tokio::select! {
                biased;
                queue = self.queues.next_ready(), if !ending => queue,
                Ok(()) = phase.changed() => continue,
                Some(ended) = drivers.join_next_with_id() => match ended {
                    Ok((id, ())) => {
                        tenants.remove(&id);
                        continue;
                    }
                    Err(panic) => {
                        let Some(queue) = tenants.remove(&panic.id()) else { continue };
                        error!(tenant = %queue.id, %panic, "a sender failed; it is started again with what it held");
                        metric::panics("sender").increment(1);
                        self.start(&mut drivers, &mut tenants, queue, RESTART);
                        continue;
                    }
                },
            };
            self.start(&mut drivers, &mut tenants, queue, Duration::ZERO);
        }
    }

    fn start(
        &self,
        drivers: &mut JoinSet<()>,
        tenants: &mut HashMap<Id, Arc<TenantQueue>>,
        queue: Arc<TenantQueue>,
        after: Duration,
    ) {
        let sender = self.sender(&queue);
        let phase = self.phase.subscribe();
        let driver = drivers.spawn(async move {
            tokio::time::sleep(after).await;
            sender.drive(phase).await;
        });
        tenants.insert(driver.id(), queue);
    }

    /// Makes every batch due at once, as at shutdown.
    pub fn flush(&self) {
        self.enter(Phase::Flushing);
    }

    /// Starts nothing new; [`run`](Self::run) returns once all requests in flight are answered. One without an answer may
    /// have arrived, and would be sent again by the next run.
    pub fn end(&self) {
        self.enter(Phase::Ending);
        self.tools.permits.close();
    }

    fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
        for sender in self.all() {
            sender.queue.nudge();
        }
    }

    /// When memory is short, takes it from tenants that cannot deliver at present: their queued items are in the journal,
    /// too.
    pub fn relieve(&self) {
        if !self.queues.memory_is_short() {
            return;
        }
        for sender in self.all() {
            // A rate limit is soon reset.
            if !matches!(sender.shown(), Some(TenantState::Active | TenantState::Throttled)) {
                sender.queue.unload();
            }
        }
    }

    /// At the end, when nothing is in flight any more: writes the rest of batches that were finalized in part to the journal
    /// in their place, so that nothing is delivered twice by the next run.
    pub async fn checkpoint(&self) {
        for sender in self.all() {
            checkpoint::write(&sender.jobs(), self.queues.journal()).await;
        }
    }

    /// What [`checkpoint`](Self::checkpoint) would write.
    #[cfg(test)]
    pub(crate) fn partly_finalized(&self) -> Vec<Arc<Payload>> {
        let rest = |sender: &Arc<Sender>| checkpoint::partly_finalized(&sender.jobs());
        self.all().iter().flat_map(rest).flat_map(|(_, rest)| rest).collect()
    }

    /// By name.
    fn all(&self) -> Vec<Arc<Sender>> {
        let mut all: Vec<_> = self.senders.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        all.sort_unstable_by(|a, b| a.queue.id.cmp(&b.queue.id));
        all
    }

    /// The items that a tenant's sender has, by lane.
    pub fn figures(&self, tenant: &TenantId) -> Vec<LaneFigures> {
        self.known(tenant).map(|sender| sender.figures()).unwrap_or_default()
    }

    /// The requests that a tenant may still send to each endpoint, where Datadog has told and the limit has not been reset
    /// since.
    pub fn rate_limits_left(&self, tenant: &TenantId) -> Vec<(Endpoint, u64)> {
        self.known(tenant).map(|sender| sender.rate_limits_left(Instant::now())).unwrap_or_default()
    }

    /// The last failure of a tenant's delivery in this run.
    pub fn last_error(&self, tenant: &TenantId) -> Option<LastError> {
        self.known(tenant)?.last_error()
    }

    /// Sends keys that Datadog refuses to `to`, once each time. Only the first receiver is taken.
    pub fn tell_refusals(&self, to: mpsc::UnboundedSender<KeyRefused>) {
        // There is one receiver.
        let _ = self.tools.refusals.set(to);
    }

    /// Drops a tenant's items that were accepted before a time, none of the spared recipients, as `purged`; returns how many.
    /// Those in flight are dropped when they come back without having been delivered.
    ///
    /// # Errors
    /// When the journal cannot be read; some may be dropped then and some not.
    pub async fn purge(&self, tenant: &TenantId, before: UnixMillis, spared: Option<&Recipients>) -> io::Result<u64> {
        let held = self.known(tenant).map_or(0, |sender| sender.purge(before, spared));
        let queue = self.queues.all().into_iter().find(|queue| queue.id == *tenant);
        let waiting = match queue {
            Some(queue) => queue.purge(before, spared).await?,
            None => 0,
        };
        Ok(held + waiting)
    }

    /// Removes a tenant's dead letters.
    ///
    /// # Errors
    /// When another process is at them, or they cannot be removed.
    pub async fn purge_dead_letters(&self, tenant: &TenantId) -> io::Result<()> {
        let (tools, tenant) = (self.tools.clone(), tenant.clone());
        let purge = move || match Rewrite::begin(&tools.dead_letters, &tenant).map_err(io::Error::other)? {
            Some(rewrite) => rewrite.finish(|_| false).map_err(io::Error::other),
            None => Ok(()),
        };
        self.tools.machine.on_blocking_pool("dead letters", purge).await
    }

    /// The tenants with dead letters, and the bytes of them.
    ///
    /// # Errors
    /// When their directory cannot be read.
    pub fn dead_letter_bytes(&self) -> io::Result<Vec<(TenantId, u64)>> {
        self.tools.dead_letters.tenants()
    }

    /// Counts the dead letters of all tenants against their quotas on disk. To be called now and then: commands take some
    /// away.
    pub async fn measure_dead_letters(&self) {
        let tools = self.tools.clone();
        let measure = move || tools.dead_letters.tenants();
        match self.tools.machine.on_blocking_pool("dead letters", measure).await {
            Ok(mut sizes) => {
                sizes.retain(|(tenant, _)| self.registry.get(tenant.as_str()).is_some());
                self.queues.set_dead_letter_bytes(&sizes.into_iter().collect());
            }
            Err(error) => warn!("the size of the dead letters is unknown: {error}"),
        }
    }

    fn known(&self, tenant: &TenantId) -> Option<Arc<Sender>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned()
    }

    /// The sender of a queue, whether or not its tenant is known: it looks the tenant up whenever tenants change.
    fn sender(&self, queue: &Arc<TenantQueue>) -> Arc<Sender> {
        let new = || {
            let (registry, ledger, tools) = (self.registry.clone(), self.ledger.clone(), self.tools.clone());
            Arc::new(Sender::new(queue.clone(), registry, ledger, tools, self.rules.clone()))
        };
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        senders.entry(queue.id.clone()).or_insert_with(new).clone()
    }
}

fn builder(settings: &Settings) -> Builder {
    Builder::new(settings.batch.compression, settings.batch.level)
}
