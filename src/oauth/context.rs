//! The context shared by all parts of the client: store, clock, Datadog, and how a tenant's change is stored and
//! applied to this host.

use super::datadog::Datadog;
use super::error::FinishError;
use super::in_flight::InFlight;
use super::metrics::OauthMetrics;
use super::status::status;
use crate::outbound::SetupError;
use crate::settings::{Settings, Site};
use crate::store::{Change, Connection, Guard, Lease, Store, StoreError, TenantRecord};
use crate::tenancy::{Access, Hold, Recipients, Registry, Tenant};
use crate::types::{Current, TenantId, UnixMillis};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

/// The purpose of a tenant's leases: its tokens and its key.
pub(super) const PURPOSE: &str = "oauth";

/// The duration of a lease; longer than any step between two renewals.
pub(super) const LEASE: Duration = Duration::from_secs(90);

/// How long a customer who has clicked waits for another operation on their tenant.
pub(super) const LEASE_PATIENCE: Duration = Duration::from_secs(30);

/// How long storing an irreplaceable secret is retried while the store fails.
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

/// The partner's OAuth client. Clones share it.
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
    /// The time before which this host has dropped held telemetry, by tenant.
    pub(super) dropped: Mutex<HashMap<TenantId, UnixMillis>>,
    pub(super) in_flight: InFlight,
    pub(super) metrics: OauthMetrics,
}

/// Tenants that have changed since they were last processed.
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

/// Datadog refuses the partner's own client: no tenant can connect or refresh until that is fixed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartnerFault {
    /// When that was first seen.
    pub since: UnixMillis,
    /// Datadog's message.
    pub words: String,
    /// When it is next tried.
    pub next: UnixMillis,
}

/// The backoff of a tenant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pause {
    pub(super) tries: u32,
    pub(super) until: UnixMillis,
}

/// The pause after the client was refused; somebody must fix that.
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

    /// Notes that the partner's client is refused; logs it the first time.
    pub(super) fn note_partner_fault(&self, words: &str) {
        let now = self.now();
        let mut fault = self.partner_fault();
        let since = fault.as_ref().map_or(now, |fault| fault.since);
        if fault.is_none() {
            error!(
                "Datadog refuses this service's own OAuth client ({words}): set oauth.client_id and client_secret_file to \
                 those of Datadog's Developer Platform. Until then no tenant can connect and no token is refreshed; delivery goes on"
            );
        }
        *fault = Some(PartnerFault { since, words: words.to_owned(), next: later(now, PARTNER_PAUSE) });
    }

    pub(super) fn clear_partner_fault(&self) {
        if self.partner_fault().take().is_some() {
            info!("Datadog accepts this service's OAuth client again");
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

    /// Runs work on a task of its own, which neither a disconnecting browser nor the daemon's shutdown interrupts.
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

    /// Takes the lease for a tenant's tokens and key, waiting at most `patience` for its holder.
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

    /// Stores changes under a lease and applies them to this host. Secrets from Datadog exist nowhere else, so
    /// transient failures of the store are retried.
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
                    warn!(%tenant, "its change is not stored yet, retrying: {failed}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                    // If the lease is lost, the change is refused with an error.
                    let _ = lease.renew(LEASE).await;
                }
                Err(failed) => return Err(failed),
            }
        }
    }

    /// Applies a tenant's stored state to this host's deliveries. If that fails, the change is applied later by those
    /// who follow the store.
    pub(super) async fn publish(&self, record: &TenantRecord) {
        if let Err(failed) = self.show(record).await {
            warn!(tenant = %record.id, "its change is not applied on this host yet: {failed}");
        }
    }

    /// Applies a tenant's stored state to this host's deliveries.
    pub(super) async fn show(&self, record: &TenantRecord) -> Result<(), StoreError> {
        let id = &record.id;
        let settings = self.settings.get();
        if settings.tenants.contains_key(id) {
            return Ok(());
        }
        let Some(site) = settings.datadog.sites.get(&record.site) else {
            error!(tenant = %id, "its site {:?} is no longer configured: add [datadog.sites.\"{}\"]", record.site, record.site);
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
                    // It exists, so its telemetry is accepted and held.
                    Access::None
                }
            },
        };
        self.registry.meters().set(id, record.own());
        let is_new = known.is_none();
        let hold = Hold {
            paused: record.paused,
            recipients: Recipients {
                present: record.generations.present(),
                others: record.generations.others().collect(),
            },
            released: record.generations.released(),
        };
        let present = known.filter(|tenant| tenant.site == site);
        let is_registered = present.is_some();
        let tenant = present.unwrap_or_else(|| Arc::new(Tenant::new(id.clone(), site, None)));
        let has_changed = tenant.set_terms(access, hold);
        if !is_registered {
            // Only now: nothing may be accepted for it before its generation is known.
            self.registry.insert(tenant);
        }
        if has_changed {
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
