//! The one door to the queue, for every source of telemetry: HTTP, OTLP, DogStatsD.
//!
//! A source says who sends ([`Door::sender`] for a request, [`Door::listener`] for a socket without requests), reads and splits
//! what came into [`Part`]s, and hands them over with [`Door::accept`]: that assigns the items to their tenants, charges the
//! tenants' rates, and submits them to the queue, which keeps to the quotas. What a source tells its sender, and in which
//! protocol, is for the source to say: here are only the reasons.

use super::outcome::{Accepted, NotTaken, Rejection};
use super::shares::{Share, Shares};
use super::tickets::{Followed, Tickets};
use super::visits::{Visit, Visits};
use crate::deliver::{DeadLetters, Items, Reason};
use crate::ledger::Ledger;
use crate::queue::{Queues, Refused};
use crate::settings::{self, Settings};
use crate::tenancy::{Caller, Claims, Denied, NamedBy, Registry, Resolver, Tenant};
use crate::types::{Chunk, Current, Generation, Kind, TenantId, UnixMillis};
use crate::wire::{Invalid, Owner, Part, Split};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::warn;

/// What takes the items of a request: the queues, or their stand-in in a test.
pub trait Submit: Send + Sync + 'static {
    /// Takes each tenant's chunks, all of them or none. Gives the refusals of tenants whose chunks were not taken while others'
    /// were.
    ///
    /// # Errors
    /// When nothing was taken, with the first refusal.
    fn submit(self: &Arc<Self>, chunks: Vec<Chunk>) -> impl Future<Output = Result<Vec<Refused>, Refused>> + Send;

    /// Waits, for a short time at most, while the machine is busy with what was taken before.
    fn wait_for_capacity(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// The time that items are accepted at.
    fn now(&self) -> UnixMillis {
        UnixMillis::now()
    }

    /// The bytes that a tenant's dead letters may take.
    fn dead_letter_quota(&self, _tenant: &TenantId) -> u64 {
        u64::MAX
    }
}

impl Submit for Queues {
    fn submit(self: &Arc<Self>, chunks: Vec<Chunk>) -> impl Future<Output = Result<Vec<Refused>, Refused>> + Send {
        Queues::submit(self, chunks)
    }

    fn wait_for_capacity(&self) -> impl Future<Output = ()> + Send {
        Queues::wait_for_capacity(self)
    }

    fn now(&self) -> UnixMillis {
        self.machine().now()
    }

    fn dead_letter_quota(&self, tenant: &TenantId) -> u64 {
        Queues::dead_letter_quota(self, tenant)
    }
}

/// The door: what all sources share.
#[derive(Debug)]
pub struct Door<Q = Queues> {
    rules: Current<Rules>,
    registry: Arc<Registry>,
    queues: Arc<Q>,
    ledger: Arc<Ledger>,
    dead_letters: Arc<DeadLetters>,
    tickets: Tickets,
    visits: Visits,
    /// Has the account of items whose tenant is not known.
    unknown: TenantId,
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
    by: NamedBy,
    rules: Arc<Rules>,
}

impl Sender {
    /// The name of the tag by which items may name their tenant; none where they may not.
    pub fn tenant_tag(&self) -> Option<&str> {
        self.caller.tag(&self.rules.tenancy)
    }

    /// Whether items that were accepted for that generation may be sent again to whom the sender's tenant is now.
    pub fn may_replay(&self, generation: Generation) -> bool {
        match &self.caller {
            Caller::Tenant { tenant, .. } | Caller::Items { default: Some(tenant), .. } => {
                tenant.terms().1.recipients.contains(generation)
            }
            Caller::Items { default: None, .. } => false,
        }
    }

    /// The name of the attribute by which resources may name their tenant; none where they may not.
    pub fn tenant_attribute(&self) -> Option<&str> {
        self.caller.attribute(&self.rules.tenancy)
    }

    /// Who sends.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// What a source hands over.
#[derive(Debug)]
pub struct Submission {
    /// The items, and those that Datadog would refuse.
    pub split: Split,
    /// When they were accepted: the time that was given to [`crate::wire::split`].
    pub now: UnixMillis,
    /// Whether the sender asks for a ticket to follow the items with.
    pub follow: bool,
    /// Whether the sender has the items still and is told, so that where nothing is taken it can send them again. Else what
    /// is refused is counted as dropped, whatever becomes of the rest.
    pub can_resend: bool,
}

impl<Q: Submit> Door<Q> {
    /// The time that items are accepted at.
    pub fn now(&self) -> UnixMillis {
        self.queues.now()
    }

    /// A door of these tenants to these queues.
    pub fn new(settings: &Settings, registry: Arc<Registry>, queues: Arc<Q>, ledger: Arc<Ledger>) -> Self {
        Self {
            rules: Current::new(Rules::new(settings)),
            registry,
            queues,
            ledger,
            dead_letters: Arc::new(DeadLetters::new(&settings.state.dir)),
            tickets: Tickets::default(),
            visits: Visits::default(),
            unknown: TenantId::unknown(),
        }
    }

    /// Applies another configuration to requests that begin from now on.
    pub fn reload(&self, settings: &Settings) {
        self.rules.set(Rules::new(settings));
    }

    /// Begins to close: requests are still taken, but it is told that they will not be for much longer.
    pub fn begin_to_close(&self) {
        self.visits.begin_to_close();
    }

    /// Whether it is closed or about to be.
    pub fn is_closing(&self) -> bool {
        self.visits.is_closing()
    }

    /// Waits until no request has come for `quiet`, and for `most` at most. Then no more are taken.
    pub async fn close_when_quiet(&self, quiet: Duration, most: Duration) {
        self.visits.close_when_quiet(quiet, most).await;
    }

    /// Waits until the requests that were taken are answered.
    pub async fn answered(&self) {
        self.visits.answered().await;
    }

    /// A request comes in; it is in flight until the visit ends.
    pub(super) fn enter(&self) -> Result<Visit<'_>, Rejection> {
        self.visits.enter().ok_or(Rejection::Stopping)
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
        let caller = rules
            .resolver(&self.registry)
            .caller(claims)
            .map_err(|denied| self.denied(denied).unwrap_or_else(|later| later))?;
        Ok(Sender { caller, by: claims.by, rules })
    }

    /// Who sends on a listener without requests: the tenant that the items name, or else this one, or else
    /// `tenancy.default`.
    pub fn listener(&self, tenant: Option<&TenantId>) -> Sender {
        let rules = self.rules.get();
        let default = tenant.or(rules.tenancy.default.as_ref()).and_then(|id| self.registry.get(id.as_str()));
        Sender { caller: Caller::Items { default, unknown_key: false }, by: NamedBy::Tag, rules }
    }

    /// The tenant of items that are named so, or not at all.
    ///
    /// # Errors
    /// When that is nobody, or not one that the sender may name.
    pub fn tenant_of(&self, sender: &Sender, named: Option<&str>) -> Result<Arc<Tenant>, Rejection> {
        let resolver = sender.rules.resolver(&self.registry);
        let tenant = resolver.tenant_of(&sender.caller, named, sender.by);
        tenant.map_err(|denied| self.denied(denied).unwrap_or_else(|later| later))
    }

    /// Waits, for a short time at most, while the machine is busy with what was taken before. To be called before a request is
    /// read, so that what waits is in the sender's memory and not in ours.
    pub async fn wait_for_capacity(&self) {
        self.queues.wait_for_capacity().await;
    }

    /// Takes what can be taken: each tenant's items are decided on by themselves, and those that Datadog would refuse are set
    /// aside as dead letters of their tenant.
    ///
    /// # Errors
    /// Where nothing could be taken: why not the first items. Nothing is counted or set aside then, unless the sender
    /// cannot send it again.
    pub async fn accept(&self, sender: &Sender, submission: Submission) -> Result<Accepted, Rejection> {
        let Submission { split: Split { parts, invalid }, now, follow, can_resend } = submission;
        let mut shares = self.shares(sender, &parts, &invalid)?;
        shares.charge(Instant::now());
        let items = parts.iter().map(|p| p.items).chain(invalid.iter().map(|i| i.items)).map(u64::from).sum();
        let followed = if follow { self.tickets.issue(items, &shares.tenants()) } else { None };
        let kinds: Vec<_> = parts.iter().map(|part| (part.kind, part.items)).collect();
        let chunks = parts.into_iter().zip(&shares.of_parts).filter_map(|(part, share)| {
            let tenant = &share.as_ref().ok().and_then(|&index| shares.open(index))?.tenant;
            Some(Chunk {
                tenant: tenant.id.clone(),
                kind: part.kind,
                generation: tenant.generation(),
                items: part.items,
                oldest: part.oldest,
                accepted: now,
                bytes: part.bytes,
                follow: followed.as_ref().map(|followed| followed.follow.clone()),
            })
        });
        let chunks: Vec<_> = chunks.collect();
        let mut is_taken = !chunks.is_empty();
        if is_taken {
            match self.queues.submit(chunks).await {
                Ok(refused) => shares.refuse(refused),
                Err(refused) => {
                    shares.refuse_all(&refused);
                    is_taken = false;
                }
            }
        }
        if !is_taken && (can_resend || kinds.is_empty() && invalid.is_empty()) {
            if let Some(followed) = followed {
                self.tickets.withdraw(&followed);
            }
            shares.give_back(|_| true);
            return match shares.first_rejection().or_else(|| Some(invalid.first()?.fault.clone().into())) {
                Some(rejection) => Err(rejection),
                None => Ok(Accepted::default()),
            };
        }
        let mut not_taken = Vec::new();
        for ((kind, items), share) in kinds.into_iter().zip(&shares.of_parts) {
            let rejection = match share {
                Ok(index) => shares.list[*index].rejection.as_ref().map(|why| (Some(&shares.list[*index].tenant), why)),
                Err(why) => Some((None, why)),
            };
            if let Some((tenant, why)) = rejection {
                not_taken.push(self.refuse(tenant.map(|tenant| &tenant.id), kind, items, why));
            }
        }
        for (invalid, share) in invalid.into_iter().zip(&shares.of_invalid) {
            let share = share.as_ref().map(|&index| &shares.list[index]);
            not_taken.push(match share {
                Ok(Share { tenant, rejection: None, .. }) => self.set_aside(tenant, invalid, now).await,
                Ok(Share { tenant, rejection: Some(why), .. }) => {
                    self.refuse(Some(&tenant.id), invalid.kind, invalid.items, why)
                }
                Err(why) => self.refuse(None, invalid.kind, invalid.items, why),
            });
        }
        if let Some(followed) = &followed {
            for NotTaken { items, is_kept, .. } in &not_taken {
                let items = u32::try_from(*items).unwrap_or(u32::MAX);
                if *is_kept { followed.follow.dead_lettered(items) } else { followed.follow.dropped(items) }
            }
        }
        shares.give_back(|share| share.rejection.is_some());
        let ticket = followed.map(|followed| followed.ticket.clone());
        Ok(Accepted { tenants: shares.tenants(), ticket, not_taken })
    }

    /// Who is concerned by a submission.
    fn shares(&self, sender: &Sender, parts: &[Part], invalid: &[Invalid]) -> Result<Shares, Rejection> {
        let resolver = sender.rules.resolver(&self.registry);
        let mut shares = Shares::default();
        for part in parts {
            let share = match resolver.tenant_of(&sender.caller, part.tenant.as_deref(), sender.by) {
                Ok(tenant) => Ok(shares.add(tenant, part.items, part.bytes.len())),
                Err(denied) => Err(self.denied(denied)?),
            };
            shares.of_parts.push(share);
        }
        for invalid in invalid {
            let tenant = match &invalid.owner {
                Owner::Sender => resolver.tenant_of(&sender.caller, None, sender.by),
                Owner::Tenant(name) => resolver.tenant_of(&sender.caller, Some(name), sender.by),
                Owner::Unknown => {
                    shares.of_invalid.push(Err(invalid.fault.clone().into()));
                    continue;
                }
            };
            let share = match tenant {
                Ok(tenant) => Ok(shares.add(tenant, invalid.items, invalid.bytes.len())),
                Err(denied) => Err(self.denied(denied)?),
            };
            shares.of_invalid.push(share);
        }
        Ok(shares)
    }

    /// Counts items as dropped.
    fn refuse(&self, tenant: Option<&TenantId>, kind: Kind, items: u32, why: &Rejection) -> NotTaken {
        let items = u64::from(items);
        self.ledger.account(tenant.unwrap_or(&self.unknown), kind).refuse(items);
        NotTaken { tenant: tenant.cloned(), items, is_kept: false, message: why.to_string() }
    }

    /// Keeps items that Datadog would refuse as a dead letter.
    async fn set_aside(&self, tenant: &Tenant, invalid: Invalid, now: UnixMillis) -> NotTaken {
        let (generation, tenant) = (tenant.generation(), &tenant.id);
        let (message, kind, items) = (invalid.words(), invalid.kind, invalid.items);
        let body = [kind.prefix(), &invalid.bytes, kind.suffix()].concat();
        let refused = Items { tenant: tenant.clone(), kind, generation, items, accepted: now, body };
        let reason = Reason { status: None, message: format!("invalid: {message}") };
        let dead_letters = self.dead_letters.clone();
        let max_bytes = self.queues.dead_letter_quota(tenant);
        let write = move || dead_letters.write_items(refused, &reason, now, max_bytes);
        let written = tokio::task::spawn_blocking(write).await;
        match written.unwrap_or_else(|panic| Err(io::Error::other(panic).into())) {
            Ok(_) => {
                self.ledger.account(tenant, kind).set_aside(u64::from(items));
                NotTaken { tenant: Some(tenant.clone()), items: u64::from(items), is_kept: true, message }
            }
            Err(error) => {
                warn!(%tenant, %kind, items, %error, "items that Datadog would refuse cannot be set aside, and are dropped");
                self.refuse(Some(tenant), kind, items, &Rejection::Storage)
            }
        }
    }

    /// The request of a ticket.
    pub(super) fn followed(&self, ticket: &str) -> Option<Arc<Followed>> {
        self.tickets.find(ticket)
    }

    /// Why items are denied.
    ///
    /// # Errors
    /// Where that is so only as long as not all tenants are known: their sender is to try again later.
    fn denied(&self, denied: Denied) -> Result<Rejection, Rejection> {
        let is_unknown = matches!(denied, Denied::Unknown { .. } | Denied::TokenUnknown(_));
        if is_unknown && self.registry.is_partial() { Err(Rejection::StoreUnreachable) } else { Ok(denied.into()) }
    }
}
