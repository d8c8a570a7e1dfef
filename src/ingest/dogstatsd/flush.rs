//! From closed buckets into the queue.

use super::hub::Hub;
use crate::ingest::Submission;
use crate::types::TenantId;
use crate::wire::dogstatsd::Reason;
use crate::wire::{Part, Split};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::warn;

/// How often it is looked whether a bucket's time has passed; events and service checks go out that often.
const TICK: Duration = Duration::from_secs(1);

/// Contexts that are written at a time, which no line waits longer than.
const STEP: u32 = 128;

/// Tenants whose buckets are put into the queue at once.
const AT_ONCE: usize = 64;

/// How long a tenant's bucket is offered to a queue that has no room: as long as there is another one.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long one offer waits for the next.
const PAUSE: Duration = Duration::from_secs(1);

/// Puts closed buckets into the queue until told to stop, and then the open one.
pub(super) async fn run(hub: Arc<Hub>, stop: watch::Receiver<bool>) {
    let mut stopping = stop.clone();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut offers = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = stopping.changed() => break,
            _ = tick.tick() => {}
        }
        hub.tick();
        loop {
            let (parts, is_done) = hub.advance(STEP);
            offer(&hub, parts, &stop, &mut offers).await;
            if is_done {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let parts = hub.finish();
    offer(&hub, parts, &stop, &mut offers).await;
    while offers.join_next().await.is_some() {}
}

/// Offers parts to the queue, each tenant's apart: one whose queue is full costs others nothing.
async fn offer(hub: &Arc<Hub>, parts: Vec<Part>, stop: &watch::Receiver<bool>, offers: &mut JoinSet<()>) {
    let mut by_tenant: BTreeMap<String, Vec<Part>> = BTreeMap::new();
    for part in parts {
        by_tenant.entry(part.tenant.clone().unwrap_or_default()).or_default().push(part);
    }
    for (tenant, parts) in by_tenant {
        while offers.len() >= AT_ONCE {
            offers.join_next().await;
        }
        offers.spawn(offer_one(hub.clone(), tenant, parts, stop.clone()));
    }
    while offers.try_join_next().is_some() {}
}

async fn offer_one(hub: Arc<Hub>, tenant: String, parts: Vec<Part>, stop: watch::Receiver<bool>) {
    let until = Instant::now() + PATIENCE;
    let door = hub.door();
    let sender = door.listener(TenantId::new(&tenant).ok().as_ref());
    loop {
        // The last offer counts what is not taken as dropped.
        let is_last = Instant::now() >= until || *stop.borrow();
        let submission = Submission {
            split: Split { parts: parts.clone(), invalid: Vec::new() },
            now: hub.machine().now(),
            follow: false,
            can_resend: !is_last,
        };
        match door.accept(&sender, submission).await {
            Ok(accepted) => {
                if let Some(not_taken) = accepted.not_taken.first() {
                    if not_taken.tenant.is_none() {
                        hub.forget_tenants();
                    }
                    let items = accepted.refused_items();
                    warn!(tenant, items, "what was aggregated of DogStatsD is dropped: {}", not_taken.message);
                }
                return;
            }
            Err(_) if !is_last => sleep(PAUSE).await,
            Err(rejection) => {
                // Not all tenants are known, so that nobody has an account of it.
                hub.refuse(Reason::UnknownTenant);
                warn!(tenant, "what was aggregated of DogStatsD is dropped: {rejection}");
                return;
            }
        }
    }
}
