//! How a tenant comes by its API key, and keeps it: the customer authorises the partner's OAuth client in Datadog, and
//! with that a key is created, of which there is one per organisation and which Datadog shows once.
//!
//! The rules that everything here follows:
//!
//! - Nothing is asked of a host that is not on the list of sites ([`site`](check_domain)), whatever a browser says.
//! - A key is in the store before anything else is done with it, and is used only once it is known whose it is.
//! - What must not happen twice (spending a refresh token, creating a key) happens under a lease of the store, which holds
//!   for all hosts that share it, and is noted there before it is begun. What was cut off in the middle is told from that
//!   note, and never repeated by itself.
//! - Each step is a task of its own: a browser that goes away, or a caller that is dropped, cuts off nothing. Nor does the end
//!   of the daemon, which waits for what is under way and lets nothing new begin ([`Oauth::end`]).
//!
//! `site`, `pkce`, `callback`, `answers` and `status` are pure; `datadog` asks; `connect`, `keys`, `refresh`, `disconnect`
//! and `background` do. [`Connect`] is the listener that browsers are sent back to.

mod answers;
mod background;
mod callback;
mod connect;
mod datadog;
mod disconnect;
mod error;
mod keys;
mod listener;
mod metrics;
mod pages;
mod pkce;
mod refresh;
mod site;
mod status;
mod under_way;
mod words;

pub use callback::CallbackError;
pub use connect::{Begun, Connected, KeyUse};
pub use disconnect::Disconnected;
pub use error::{BeginError, FinishError};
pub use keys::KeyTrouble;
pub use listener::{Connect, ConnectError};
pub use site::{Field, SiteError, Why, check_domain, check_site};
pub use status::{Status, Trouble, status};

use crate::outbound::SetupError;
use crate::settings::{Settings, Site};
use crate::store::{Change, Connection, Guard, Lease, Store, StoreError, TenantRecord};
use crate::tenancy::{Access, Hold, Registry, Tenant};
use crate::types::{Current, TenantId, UnixMillis};
use datadog::Datadog;
use metrics::OauthMetrics;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};
use under_way::UnderWay;

/// What the leases of a tenant are for: its tokens and its key.
const PURPOSE: &str = "oauth";

/// How long a lease is taken for; longer than any one step between two renewals.
const LEASE: Duration = Duration::from_secs(90);

/// How long a customer who has clicked waits for what else is under way for their tenant.
const LEASE_PATIENCE: Duration = Duration::from_secs(30);

/// How long what must not be lost is tried to be kept, when the store fails.
const KEEPING: Duration = Duration::from_secs(60);

/// The wall clock. Tests have their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> UnixMillis + Send + Sync>);

impl Clock {
    /// A clock that shows what `now` says.
    pub fn new(now: impl Fn() -> UnixMillis + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    fn now(&self) -> UnixMillis {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(UnixMillis::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// The partner's OAuth client and all that is done with it. Clones share it.
#[derive(Debug, Clone)]
pub struct Oauth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    registry: Arc<Registry>,
    datadog: Datadog,
    settings: Current<Settings>,
    clock: Clock,
    partner: Mutex<Option<PartnerFault>>,
    pauses: Mutex<HashMap<TenantId, Pause>>,
    changed: background::Changed,
    /// Up to when this host has dropped what was held of tenants.
    dropped: Mutex<HashMap<TenantId, UnixMillis>>,
    under_way: UnderWay,
    metrics: OauthMetrics,
}

/// Datadog refuses the partner's own client: no tenant can connect or refresh until that is put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartnerFault {
    /// Since when.
    pub since: UnixMillis,
    /// Datadog's words.
    pub words: String,
    /// When it is next tried by itself.
    pub next: UnixMillis,
}

/// How long something that failed is left alone.
#[derive(Debug, Clone, Copy)]
struct Pause {
    tries: u32,
    until: UnixMillis,
}

/// How long a refused client is left alone; somebody must put it right.
const PARTNER_PAUSE: Duration = Duration::from_secs(300);

impl Oauth {
    /// The client of the configuration.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(settings: &Settings, store: Store, registry: Arc<Registry>, clock: Clock) -> Result<Self, SetupError> {
        Ok(Self(Arc::new(Inner {
            store,
            registry,
            datadog: Datadog::new(settings)?,
            settings: Current::new(settings.clone()),
            clock,
            partner: Mutex::default(),
            pauses: Mutex::default(),
            changed: background::Changed::default(),
            dropped: Mutex::default(),
            under_way: UnderWay::default(),
            metrics: OauthMetrics::default(),
        })))
    }

    /// Goes by another configuration from now on, but for the listener and `datadog.ca_file`. To be called before tenants that
    /// have come into the file, or left it, are shown to this host. Says whether all tenants are to be
    /// [looked at again](Self::look_again).
    pub fn reload(&self, settings: &Arc<Settings>) -> bool {
        let inner = &self.0;
        let before = inner.settings.set(settings.clone());
        inner.datadog.reload(&settings.oauth);
        let is_renewed = before.oauth.client_id != settings.oauth.client_id
            || before.oauth.client_secret != settings.oauth.client_secret;
        if is_renewed {
            // What the former client was refused says nothing about this one.
            inner.partner_fault().take();
            inner.pauses().clear();
        }
        is_renewed || before.datadog.sites != settings.datadog.sites
    }

    /// Shows all tenants to this host again, and does what is due for each.
    pub async fn look_again(&self) {
        let inner = &self.0;
        match inner.store.tenants().await {
            Ok(tenants) => {
                for record in &tenants {
                    inner.publish(record).await;
                    inner.changed.tell(record.id.clone());
                }
            }
            Err(error) => warn!(
                "tenants of the store go on with the sites and at the times of the former configuration, until they change \
                 or a restart: {error}"
            ),
        }
    }

    /// Whether Datadog refuses the partner's client, and since when.
    pub fn partner_fault(&self) -> Option<PartnerFault> {
        self.0.partner_fault().clone()
    }

    /// Lets nothing begin any more that must not be cut off in the middle, and waits until nothing of that kind is under way: the
    /// creation of a key, which Datadog shows once, or a refresh, after which the old token may be worthless.
    pub async fn end(&self) {
        self.0.under_way.end().await;
    }

    /// Waits until [`end`](Self::end) was called and nothing is under way any more.
    pub async fn ended(&self) {
        self.0.under_way.ended().await;
    }

    /// How many such things are under way.
    pub fn under_way(&self) -> usize {
        self.0.under_way.count()
    }

    /// Lets this host's deliveries have a tenant as the store has it, at once instead of when the change is seen.
    pub async fn publish(&self, record: &TenantRecord) {
        self.0.publish(record).await;
    }

    /// The operator's word that what is held for another organisation may go to the one that is connected now. Until then
    /// [`TenantRecord::held_for`] is set, and nothing of it may be sent.
    ///
    /// # Errors
    /// When there is no such tenant, or the store fails.
    pub async fn release_held(&self, tenant: &TenantId) -> Result<TenantRecord, StoreError> {
        let record = self.0.store.apply(tenant, Guard::default(), &[Change::HeldFor(None)]).await?;
        info!(%tenant, "what was held for another organisation is released by the operator");
        Ok(record)
    }

    /// The operator's word that what is held for another organisation, and was accepted before a time, is to be dropped: this
    /// host has dropped what it had. Others have [`TenantRecord::dropped_before`] from then on.
    ///
    /// # Errors
    /// When there is no such tenant, or the store fails.
    pub async fn drop_held(&self, tenant: &TenantId, before: UnixMillis) -> Result<TenantRecord, StoreError> {
        let changes = [Change::HeldFor(None), Change::DroppedBefore(before)];
        let record = self.0.store.apply(tenant, Guard::default(), &changes).await?;
        self.dropped(&record).await;
        Ok(record)
    }

    /// What a tenant's telemetry must be older than for this host to drop it, which it has not done yet. It is held until then.
    pub fn to_drop(&self, record: &TenantRecord) -> Option<UnixMillis> {
        self.0.to_drop(record)
    }

    /// This host has dropped what it had [to drop](Self::to_drop): what came later goes on.
    pub async fn dropped(&self, record: &TenantRecord) {
        if let Some(before) = record.dropped_before {
            self.0.dropped().insert(record.id.clone(), before);
        }
        self.0.publish(record).await;
    }
}

impl Inner {
    fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    fn partner_fault(&self) -> MutexGuard<'_, Option<PartnerFault>> {
        self.partner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the partner's client is refused; says so loudly the first time.
    fn note_partner_fault(&self, words: &str) {
        let now = self.now();
        let mut fault = self.partner_fault();
        let since = fault.as_ref().map_or(now, |fault| fault.since);
        if fault.is_none() {
            error!(
                "Datadog refuses this service's own OAuth client ({words}): set oauth.client_id and client_secret_file to \
                 those of Datadog's Developer Platform. Until then no tenant can connect and no token is refreshed; \
                 telemetry goes on"
            );
        }
        *fault = Some(PartnerFault { since, words: words.to_owned(), next: later(now, PARTNER_PAUSE) });
    }

    fn clear_partner_fault(&self) {
        if self.partner_fault().take().is_some() {
            info!("Datadog takes this service's OAuth client again");
        }
    }

    fn pauses(&self) -> MutexGuard<'_, HashMap<TenantId, Pause>> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dropped(&self) -> MutexGuard<'_, HashMap<TenantId, UnixMillis>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn to_drop(&self, record: &TenantRecord) -> Option<UnixMillis> {
        record.dropped_before.filter(|before| self.dropped().get(&record.id).is_none_or(|done| done < before))
    }

    /// Does something on a task of its own, which is cut off neither by a browser that goes away nor by the end of the daemon.
    async fn apart<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, FinishError> {
        let place = self.under_way.begin().ok_or(FinishError::Ending)?;
        let done = tokio::spawn(async move {
            let _place = place;
            work.await
        });
        done.await.map_err(|_| FinishError::Internal)
    }

    /// Takes the lease for a tenant's tokens and key, waiting at most `patience` for whoever has it.
    async fn lease(&self, tenant: &TenantId, patience: Duration) -> Result<Option<Lease>, StoreError> {
        let end = Instant::now() + patience;
        loop {
            let lease = self.store.lock(tenant, PURPOSE, LEASE).await?;
            if lease.is_some() || Instant::now() >= end {
                return Ok(lease);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Makes changes under a lease and shows them to this host. What comes from Datadog exists nowhere else, so that a
    /// store that fails for a moment is tried again.
    async fn keep(&self, lease: &Lease, tenant: &TenantId, changes: &[Change]) -> Result<TenantRecord, StoreError> {
        let end = Instant::now() + KEEPING;
        let mut pause = Duration::from_millis(100);
        loop {
            let guard = Guard { lease: Some(lease), revision: None };
            match self.store.apply(tenant, guard, changes).await {
                Ok(record) => {
                    self.publish(&record).await;
                    return Ok(record);
                }
                Err(failed) if failed.is_transient() && Instant::now() < end => {
                    warn!(%tenant, "not kept yet, trying again: {failed}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                    // When it is lost, the change is refused, and that is told.
                    let _ = lease.renew(LEASE).await;
                }
                Err(failed) => return Err(failed),
            }
        }
    }

    /// Lets this host's deliveries have a tenant as the store has it now. When that fails, the change is seen all the same,
    /// when those who follow the store come to it.
    async fn publish(&self, record: &TenantRecord) {
        if let Err(failed) = self.show(record).await {
            warn!(tenant = %record.id, "its change is not seen by this host's deliveries yet: {failed}");
        }
    }

    /// Lets this host's deliveries have a tenant as the store has it.
    async fn show(&self, record: &TenantRecord) -> Result<(), StoreError> {
        let id = &record.id;
        let settings = self.settings.get();
        if settings.tenants.contains_key(id) {
            return Ok(());
        }
        let Some(site) = settings.datadog.sites.get(&record.site) else {
            error!(tenant = %id, "its site {:?} is not known any more: add [datadog.sites.\"{}\"]", record.site, record.site);
            return Ok(());
        };
        let known = self.registry.get(id.as_str());
        let access = match &record.connection {
            Connection::Pending => Access::None,
            Connection::Unauthorized { .. } => Access::Refused,
            Connection::Connected => match self.store.api_key(id).await {
                Ok(key) => key.map_or(Access::None, |key| Access::Key(key.key)),
                Err(failed) if failed.is_transient() => return Err(failed),
                Err(failed) => {
                    error!(tenant = %id, "its API key cannot be read: {failed}");
                    if known.is_some() {
                        return Ok(());
                    }
                    // It exists, so its telemetry is taken, and held.
                    Access::None
                }
            },
        };
        self.registry.meters().set(id, record.own());
        let is_new = known.is_none();
        let tenant = known.filter(|tenant| tenant.site == site).unwrap_or_else(|| {
            let tenant = Arc::new(Tenant::new(id.clone(), site, None));
            self.registry.insert(tenant.clone());
            tenant
        });
        // Whatever is older than the key was meant for the organisation before it.
        let foreign = record.held_for.as_ref().and(record.key.as_ref()).map(|key| key.created);
        let before = foreign.max(self.to_drop(record));
        if tenant.set_terms(access, Hold { paused: record.paused, before }) {
            let text = || status(record, self.now()).text;
            match &record.connection {
                Connection::Unauthorized { reason, instructions } => warn!(tenant = %id, "{reason}. {instructions}"),
                // At the start there may be thousands.
                _ if is_new => debug!(tenant = %id, "{}", text()),
                _ => info!(tenant = %id, "{}", text()),
            }
        }
        Ok(())
    }

    /// Whether a tenant is of the configuration file, so that the store does not govern it.
    fn is_of_file(&self, tenant: &TenantId) -> bool {
        self.settings.get().tenants.contains_key(tenant)
    }

    fn site_of(&self, record: &TenantRecord) -> Option<Site> {
        self.settings.get().datadog.sites.get(&record.site)
    }
}

/// A time and some time.
fn later(time: UnixMillis, wait: Duration) -> UnixMillis {
    UnixMillis(time.0.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
}
