//! What all parts of the client share: its store, its clock, Datadog, and how a tenant's change is kept and shown to this host.

use super::datadog::Datadog;
use super::error::FinishError;
use super::in_flight::InFlight;
use super::metrics::OauthMetrics;
use super::status::status;
use crate::outbound::SetupError;
use crate::settings::{Settings, Site};
use crate::store::{Change, Connection, Guard, Lease, Store, StoreError, TenantRecord};
use crate::tenancy::{Access, Hold, Registry, Tenant};
use crate::types::{Current, TenantId, UnixMillis};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

/// What the leases of a tenant are for: its tokens and its key.
pub(super) const PURPOSE: &str = "oauth";

/// How long a lease is taken for; longer than any one step between two renewals.
pub(super) const LEASE: Duration = Duration::from_secs(90);

/// How long a customer who has clicked waits for what else is under way for their tenant.
pub(super) const LEASE_PATIENCE: Duration = Duration::from_secs(30);

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
pub struct Oauth(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) registry: Arc<Registry>,
    pub(super) datadog: Datadog,
    pub(super) settings: Current<Settings>,
    pub(super) clock: Clock,
    pub(super) partner: Mutex<Option<PartnerFault>>,
    pub(super) pauses: Mutex<HashMap<TenantId, Pause>>,
    pub(super) changed: Changed,
    /// Up to when this host has dropped what was held of tenants.
    pub(super) dropped: Mutex<HashMap<TenantId, UnixMillis>>,
    pub(super) in_flight: InFlight,
    pub(super) metrics: OauthMetrics,
}

/// Tenants that have changed since they were last attended to.
#[derive(Debug, Default)]
pub(super) struct Changed {
    tenants: Mutex<BTreeSet<TenantId>>,
    pub(super) told: Notify,
}

impl Changed {
    pub(super) fn tell(&self, tenant: TenantId) {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant);
        self.told.notify_one();
    }

    pub(super) fn take(&self) -> BTreeSet<TenantId> {
        std::mem::take(&mut *self.tenants.lock().unwrap_or_else(PoisonError::into_inner))
    }
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
pub(super) struct Pause {
    pub(super) tries: u32,
    pub(super) until: UnixMillis,
}

/// How long a refused client is left alone; somebody must put it right.
const PARTNER_PAUSE: Duration = Duration::from_secs(300);

impl Inner {
    pub(super) fn new(
        settings: &Settings,
        store: Store,
        registry: Arc<Registry>,
        clock: Clock,
    ) -> Result<Self, SetupError> {
        Ok(Self {
            store,
            registry,
            datadog: Datadog::new(settings)?,
            settings: Current::new(settings.clone()),
            clock,
            partner: Mutex::default(),
            pauses: Mutex::default(),
            changed: Changed::default(),
            dropped: Mutex::default(),
            in_flight: InFlight::default(),
            metrics: OauthMetrics::default(),
        })
    }

    pub(super) fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    pub(super) fn partner_fault(&self) -> MutexGuard<'_, Option<PartnerFault>> {
        self.partner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the partner's client is refused; says so loudly the first time.
    pub(super) fn note_partner_fault(&self, words: &str) {
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

    pub(super) fn clear_partner_fault(&self) {
        if self.partner_fault().take().is_some() {
            info!("Datadog takes this service's OAuth client again");
        }
    }

    pub(super) fn pauses(&self) -> MutexGuard<'_, HashMap<TenantId, Pause>> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn dropped(&self) -> MutexGuard<'_, HashMap<TenantId, UnixMillis>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn to_drop(&self, record: &TenantRecord) -> Option<UnixMillis> {
        record.dropped_before.filter(|before| self.dropped().get(&record.id).is_none_or(|done| done < before))
    }

    /// Does something on a task of its own, which is cut off neither by a browser that goes away nor by the end of the daemon.
    pub(super) async fn apart<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, FinishError> {
        let place = self.in_flight.begin().ok_or(FinishError::Ending)?;
        let done = tokio::spawn(async move {
            let _place = place;
            work.await
        });
        done.await.map_err(|_| FinishError::Internal)
    }

    /// Takes the lease for a tenant's tokens and key, waiting at most `patience` for whoever has it.
    pub(super) async fn lease(&self, tenant: &TenantId, patience: Duration) -> Result<Option<Lease>, StoreError> {
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
    pub(super) async fn keep(
        &self,
        lease: &Lease,
        tenant: &TenantId,
        changes: &[Change],
    ) -> Result<TenantRecord, StoreError> {
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
    pub(super) async fn publish(&self, record: &TenantRecord) {
        if let Err(failed) = self.show(record).await {
            warn!(tenant = %record.id, "its change is not seen by this host's deliveries yet: {failed}");
        }
    }

    /// Lets this host's deliveries have a tenant as the store has it.
    pub(super) async fn show(&self, record: &TenantRecord) -> Result<(), StoreError> {
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
    pub(super) fn is_of_file(&self, tenant: &TenantId) -> bool {
        self.settings.get().tenants.contains_key(tenant)
    }

    pub(super) fn site_of(&self, record: &TenantRecord) -> Option<Site> {
        self.settings.get().datadog.sites.get(&record.site)
    }
}

/// A time and some time.
pub(super) fn later(time: UnixMillis, wait: Duration) -> UnixMillis {
    UnixMillis(time.0.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
}
