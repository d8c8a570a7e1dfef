//! The one door to the queue, for every source of telemetry: HTTP, OTLP, DogStatsD.
//!
//! A source says who sends ([`Door::sender`] for a request, [`Door::listener`] for a socket without requests), reads and splits
//! what came into [`Part`]s, and hands them over with [`Door::accept`]: that assigns the items to their tenants, charges the
//! tenants' rates, and submits them to the queue, which keeps to the quotas. What a source tells its sender, and in which
//! protocol, is for the source to say: here are only the reasons.

use super::tickets::{Followed, Tickets};
use crate::queue::{Queues, Refused};
use crate::settings::{self, Settings};
use crate::tenancy::{Caller, Charge, Claims, Denied, Exceeded, Meter, Registry, Resolver, Tenant};
use crate::types::{Chunk, Current, TenantId, UnixMillis};
use crate::wire::Part;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// When to send again after the store of tenants was out of reach, or the disk failed.
const OUTAGE_RETRY: Duration = Duration::from_secs(5);

/// When to send again to a daemon that is stopping: its successor should be there by then.
const STOPPING_RETRY: Duration = Duration::from_secs(5);

/// What takes the items of a request: the queues, or their stand-in in a test.
pub trait Submit: Send + Sync + 'static {
    /// Takes all chunks or none.
    ///
    /// # Errors
    /// See [`Refused`].
    fn submit(self: &Arc<Self>, chunks: Vec<Chunk>) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Waits, for a short time at most, while the machine is busy with what was taken before.
    fn wait_for_capacity(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

impl Submit for Queues {
    fn submit(self: &Arc<Self>, chunks: Vec<Chunk>) -> impl Future<Output = Result<(), Refused>> + Send {
        Queues::submit(self, chunks)
    }

    fn wait_for_capacity(&self) -> impl Future<Output = ()> + Send {
        Queues::wait_for_capacity(self)
    }
}

/// The door: what all sources share.
#[derive(Debug)]
pub struct Door<Q = Queues> {
    rules: Current<Rules>,
    registry: Arc<Registry>,
    queues: Arc<Q>,
    tickets: Tickets,
    closed: AtomicBool,
}

/// The part of the configuration that says whose items are whose.
#[derive(Debug)]
struct Rules {
    tenancy: settings::Tenancy,
    require_token: bool,
}

impl Rules {
    fn new(settings: &Settings) -> Self {
        Self { tenancy: settings.tenancy.clone(), require_token: settings.ingest.require_token }
    }

    fn resolver<'a>(&'a self, registry: &'a Registry) -> Resolver<'a> {
        Resolver { registry, tenancy: &self.tenancy, require_token: self.require_token }
    }
}

/// Who sends, as far as the head of a request or its listener says; and the configuration that was in force then, which
/// applies to the request until its end.
#[derive(Debug, Clone)]
pub struct Sender {
    caller: Caller,
    rules: Arc<Rules>,
}

impl Sender {
    /// The name of the tag by which items may name their tenant; none where they may not.
    pub fn tenant_tag(&self) -> Option<&str> {
        self.caller.tag(&self.rules.tenancy)
    }

    /// Who sends.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// What a source hands over.
#[derive(Debug)]
pub struct Submission {
    /// The items, in their order.
    pub parts: Vec<Part>,
    /// When they were accepted: the time that was given to [`crate::wire::split`].
    pub now: UnixMillis,
    /// Whether the sender asks for a ticket to follow the items with.
    pub follow: bool,
}

/// What was taken, durable as `journal.fsync` asks for.
#[derive(Debug)]
pub struct Accepted {
    /// The tenant of each part.
    pub tenants: Vec<Arc<Tenant>>,
    /// Names the request to [`Door::followed`].
    pub ticket: Option<String>,
}

/// Why nothing was taken. `Display` is the text for the sender.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Rejection {
    /// The items have no tenant, or not one that the sender may name.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The items' tenant or the token is unknown, but not all tenants are known at present.
    #[error("unknown tenant or token, but the store of tenants is out of reach at present: send this again")]
    StoreUnreachable,
    /// The tenant sends faster than its rate.
    #[error("tenant {tenant} sends too fast, {exceeded}: send this again later")]
    TooFast {
        /// Whose rate it is.
        tenant: TenantId,
        /// The rate.
        exceeded: Exceeded,
    },
    /// The queue of a tenant is full.
    #[error("{refused}: send this again later")]
    Full {
        /// In the queue's words.
        refused: Refused,
        /// When there may be room.
        retry_after: Duration,
    },
    /// The disk fails. Where and why is for the daemon's own log, not for senders.
    #[error("nothing can be stored at present: send this again later")]
    Storage,
    /// The daemon is shutting down.
    #[error("the daemon is shutting down: send this again")]
    Stopping,
}

impl Rejection {
    /// When to send the same again; none where that would not help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Denied(_) => None,
            Self::StoreUnreachable | Self::Storage => Some(OUTAGE_RETRY),
            Self::Stopping => Some(STOPPING_RETRY),
            Self::TooFast { exceeded, .. } => Some(exceeded.retry_after),
            Self::Full { retry_after, .. } => Some(*retry_after),
        }
    }
}

impl From<Refused> for Rejection {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full { retry_after, .. } => Self::Full { refused, retry_after },
            Refused::Storage(_) => Self::Storage,
            Refused::Stopping => Self::Stopping,
        }
    }
}

impl<Q: Submit> Door<Q> {
    /// A door of these tenants to these queues.
    pub fn new(settings: &Settings, registry: Arc<Registry>, queues: Arc<Q>) -> Self {
        Self {
            rules: Current::new(Rules::new(settings)),
            registry,
            queues,
            tickets: Tickets::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Applies another configuration to requests that begin from now on.
    pub fn reload(&self, settings: &Settings) {
        self.rules.set(Rules::new(settings));
    }

    /// Takes nothing more from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether nothing more is taken.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Who exists.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Who sends a request whose head says this.
    ///
    /// # Errors
    /// When that is nobody, or nobody who may.
    pub fn sender(&self, claims: &Claims<'_>) -> Result<Sender, Rejection> {
        let rules = self.rules.get();
        let caller = rules.resolver(&self.registry).caller(claims).map_err(|denied| self.rejection(denied))?;
        Ok(Sender { caller, rules })
    }

    /// Who sends on a listener without requests: the tenant that the items name, or else this one, or else
    /// `tenancy.default`.
    pub fn listener(&self, tenant: Option<&TenantId>) -> Sender {
        let rules = self.rules.get();
        let default = tenant.or(rules.tenancy.default.as_ref()).and_then(|id| self.registry.get(id.as_str()));
        Sender { caller: Caller::Items { default, unknown_key: false }, rules }
    }

    /// Waits, for a short time at most, while the machine is busy with what was taken before. To be called before a request is
    /// read, so that what waits is in the sender's memory and not in ours.
    pub async fn wait_for_capacity(&self) {
        self.queues.wait_for_capacity().await;
    }

    /// Takes all items or none.
    ///
    /// # Errors
    /// Why nothing was taken.
    pub async fn accept(&self, sender: &Sender, submission: Submission) -> Result<Accepted, Rejection> {
        let Submission { parts, now, follow } = submission;
        let resolver = sender.rules.resolver(&self.registry);
        let named = parts.iter().map(|part| (part.tenant.as_deref(), part.items));
        let tenants = resolver.assign(&sender.caller, named).map_err(|denied| self.rejection(denied))?;
        let charges = charge(&parts, &tenants)?;
        let followed =
            if follow { self.tickets.issue(parts.iter().map(|p| u64::from(p.items)).sum(), &tenants) } else { None };
        let chunks = parts.into_iter().zip(&tenants).map(|(part, tenant)| Chunk {
            tenant: tenant.id.clone(),
            kind: part.kind,
            items: part.items,
            oldest: part.oldest,
            accepted: now,
            bytes: part.bytes,
            follow: followed.as_ref().map(|followed| followed.follow.clone()),
        });
        if let Err(refused) = self.queues.submit(chunks.collect()).await {
            if let Some(followed) = followed {
                self.tickets.withdraw(&followed);
            }
            charges.into_iter().for_each(Charge::give_back);
            return Err(refused.into());
        }
        Ok(Accepted { tenants, ticket: followed.map(|followed| followed.ticket.clone()) })
    }

    /// The request of a ticket.
    pub(super) fn followed(&self, ticket: &str) -> Option<Arc<Followed>> {
        self.tickets.find(ticket)
    }

    /// What a denial is as long as not all tenants are known.
    fn rejection(&self, denied: Denied) -> Rejection {
        let is_unknown = matches!(denied, Denied::Unknown { .. } | Denied::TokenUnknown(_));
        if is_unknown && self.registry.is_partial() { Rejection::StoreUnreachable } else { denied.into() }
    }
}

/// Charges the tenants' rates with a request, all of them or none.
fn charge(parts: &[Part], tenants: &[Arc<Tenant>]) -> Result<Vec<Charge>, Rejection> {
    let mut needs: BTreeMap<&TenantId, (&Arc<Meter>, u64, u64)> = BTreeMap::new();
    for (part, tenant) in parts.iter().zip(tenants) {
        let Some(meter) = tenant.limited() else { continue };
        let (_, items, bytes) = needs.entry(&tenant.id).or_insert((meter, 0, 0));
        *items += u64::from(part.items);
        *bytes += part.bytes.len() as u64;
    }
    let now = Instant::now();
    let mut charges = Vec::with_capacity(needs.len());
    for (tenant, (meter, items, bytes)) in needs {
        match meter.charge(items, bytes, now) {
            Ok(charge) => charges.push(charge),
            Err(exceeded) => {
                charges.into_iter().for_each(Charge::give_back);
                return Err(Rejection::TooFast { tenant: tenant.clone(), exceeded });
            }
        }
    }
    Ok(charges)
}
