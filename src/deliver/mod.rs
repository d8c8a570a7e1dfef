//! Submission: pace, send, judge the answer, try again, divide, bury.
//!
//! `judge`, `gate`, `pace`, `auth` and `endpoint` are pure; `driver` strings them together for one tenant; `work` does
//! what takes time. [`Delivery`] gives each tenant that has something to send a driver.

mod auth;
mod backlog;
mod client;
mod dead_letter;
mod driver;
mod endpoint;
mod gate;
mod judge;
mod pace;
mod permits;
mod work;

pub use client::{Client, ClientError, Destination, Validity};
pub use dead_letter::{DeadLetters, Reason};

use crate::ledger::Ledger;
use crate::payload::Builder;
use crate::queue::{LaneFigures, Queues, TenantQueue};
use crate::settings::Settings;
use crate::tenancy::Registry;
use crate::types::{Endpoint, TenantId};
use driver::{Rules, Sender};
use permits::Permits;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tracing::error;
use work::Tools;

/// Delivers what is in the queues.
#[derive(Debug)]
pub struct Delivery {
    queues: Arc<Queues>,
    registry: Arc<Registry>,
    ledger: Arc<Ledger>,
    tools: Arc<Tools>,
    rules: Rules,
    senders: Mutex<HashMap<TenantId, Arc<Sender>>>,
    flush: watch::Sender<bool>,
}

/// A driver that panicked is started again after this time.
const RESTART: Duration = Duration::from_secs(1);

impl Delivery {
    /// A delivery as configured.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(
        settings: &Settings,
        queues: Arc<Queues>,
        registry: Arc<Registry>,
        ledger: Arc<Ledger>,
    ) -> Result<Self, ClientError> {
        let delivery = &settings.delivery;
        let tools = Tools {
            client: Client::new(delivery, settings.datadog.ca_file.as_deref())?,
            builder: Builder::new(settings.batch.compression, settings.batch.level),
            permits: Permits::new(delivery.concurrency, delivery.concurrency_per_tenant),
            cores: queues.cores(),
            dead_letters: DeadLetters::new(settings.state.dir.join("dead-letters")),
            drop_late: delivery.drop_late,
        };
        Ok(Self {
            queues,
            registry,
            ledger,
            tools: Arc::new(tools),
            rules: Rules::new(settings),
            senders: Mutex::default(),
            flush: watch::Sender::new(false),
        })
    }

    /// Delivers until it is dropped.
    pub async fn run(&self) {
        let mut drivers: JoinSet<()> = JoinSet::new();
        let mut tenants: HashMap<Id, Arc<TenantQueue>> = HashMap::new();
        loop {
            let queue = tokio::select! {
                queue = self.queues.next_ready() => queue,
                Some(ended) = drivers.join_next_with_id() => match ended {
                    Ok((id, ())) => {
                        tenants.remove(&id);
                        continue;
                    }
                    Err(panic) => {
                        let Some(queue) = tenants.remove(&panic.id()) else { continue };
                        error!(tenant = %queue.id, %panic, "a sender failed; it is started again with what it held");
                        metrics::counter!("dogsled_panics_total", "part" => "sender").increment(1);
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
        let Some(sender) = self.sender(&queue) else { return };
        let flush = self.flush.subscribe();
        let driver = drivers.spawn(async move {
            tokio::time::sleep(after).await;
            sender.drive(flush).await;
        });
        tenants.insert(driver.id(), queue);
    }

    /// Makes every batch due at once, as at shutdown.
    pub fn flush(&self) {
        self.flush.send_replace(true);
    }

    /// What a tenant has taken from its queue and not settled yet, by kind.
    pub fn figures(&self, tenant: &TenantId) -> Vec<LaneFigures> {
        self.known(tenant).map(|sender| sender.figures()).unwrap_or_default()
    }

    /// How many requests a tenant may still send to each endpoint, where Datadog has told and the limit has not been
    /// reset since.
    pub fn rate_limits_left(&self, tenant: &TenantId) -> Vec<(Endpoint, u64)> {
        self.known(tenant).map(|sender| sender.rate_limits_left(Instant::now())).unwrap_or_default()
    }

    fn known(&self, tenant: &TenantId) -> Option<Arc<Sender>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned()
    }

    fn sender(&self, queue: &Arc<TenantQueue>) -> Option<Arc<Sender>> {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = senders.get(&queue.id) {
            return Some(sender.clone());
        }
        let tenant = self.registry.get(queue.id.as_str())?;
        let sender = Sender::new(tenant, queue.clone(), self.ledger.clone(), self.tools.clone(), self.rules);
        let sender = Arc::new(sender);
        senders.insert(queue.id.clone(), sender.clone());
        Some(sender)
    }
}
