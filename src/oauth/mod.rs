//! How a tenant comes by its API key, and keeps it: the customer authorises the partner's OAuth client in Datadog, and
//! with that a key is created: a single one per organisation, which Datadog shows once.
//!
//! The rules that everything here follows:
//!
//! - Only hosts on the list of sites are ever asked ([`site`](check_domain)), whatever a browser says.
//! - A key is stored before anything else is done with it, and used only once its organisation is verified.
//! - What must not happen twice (spending a refresh token, creating a key) happens under a lease of the store, which is
//!   valid across all hosts, and is recorded there before it begins. An interrupted operation is recognised by that
//!   record, and never repeated automatically.
//! - Each step is a task of its own: a browser that disconnects or a caller that is dropped interrupts nothing. Nor
//!   does the shutdown of the daemon, which waits for operations in flight and begins no new ones ([`Oauth::end`]).
//!
//! `site`, `pkce`, `callback`, `answers` and `status` are pure; `datadog` asks; `connect`, `keys`, `refresh`, `disconnect`
//! and `background` do. [`Connect`] is the listener that browsers are sent back to.

mod answers;
mod background;
mod callback;
mod connect;
mod context;
mod datadog;
mod disconnect;
mod error;
mod in_flight;
mod keys;
mod listener;
mod metrics;
mod pages;
mod pkce;
mod refresh;
mod site;
mod status;
mod words;

pub use callback::CallbackError;
pub use connect::{Begun, Connected, Returned};
pub use context::{Clock, Oauth, PartnerFault};
pub use disconnect::Disconnected;
pub use error::{BeginError, FinishError};
pub use keys::{KeyTrouble, KeyUse};
pub use listener::Connect;
pub use site::{Field, SiteError, Why, check_domain, check_site};
pub use status::{Status, Trouble, status};

use crate::outbound::SetupError;
use crate::settings::{Settings, Site};
use crate::store::{Change, Guard, Store, StoreError, TenantRecord};
use crate::tenancy::Registry;
use crate::types::{Secret, TenantId, UnixMillis};
use answers::Validation;
use context::{Inner, later};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

impl Oauth {
    /// The client of the configuration.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(settings: &Settings, store: Store, registry: Arc<Registry>, clock: Clock) -> Result<Self, SetupError> {
        Ok(Self(Arc::new(Inner::new(settings, store, registry, clock)?)))
    }

    /// Applies another configuration, except for the listener and `datadog.ca_file`. To be called before tenants that
    /// were added to the file, or removed from it, are applied to this host. Returns whether all tenants are to be
    /// [looked at again](Self::look_again).
    pub fn reload(&self, settings: &Arc<Settings>) -> bool {
        let inner = &self.0;
        let before = inner.settings.set(settings.clone());
        inner.datadog.reload(&settings.oauth);
        let is_renewed = before.oauth.client_id != settings.oauth.client_id
            || before.oauth.client_secret != settings.oauth.client_secret;
        if is_renewed {
            // Refusals of the former client say nothing about this one.
            inner.partner_fault().take();
            inner.pauses().clear();
        }
        is_renewed || before.datadog.sites != settings.datadog.sites
    }

    /// Applies all tenants to this host again, and schedules each.
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
                "tenants of the store keep the sites and schedules of the former configuration until they change or the daemon restarts: {error}"
            ),
        }
    }

    /// The refusal of the partner's client, if Datadog refuses it.
    pub fn partner_fault(&self) -> Option<PartnerFault> {
        self.0.partner_fault().clone()
    }

    /// Begins no more operations that must not be interrupted, and waits for those in flight: the creation of a key,
    /// which Datadog shows once, or a refresh, after which the old token may be invalid.
    pub async fn end(&self) {
        self.0.in_flight.end().await;
    }

    /// Waits until [`end`](Self::end) was called and nothing is in flight any more.
    pub async fn ended(&self) {
        self.0.in_flight.ended().await;
    }

    /// The number of such operations in flight.
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.count()
    }

    /// Applies a tenant's stored state to this host at once, instead of when the change is noticed.
    pub async fn publish(&self, record: &TenantRecord) {
        self.0.publish(record).await;
    }

    /// The organisation of a key, as far as Datadog says it at present.
    pub async fn organisation_of(&self, site: &Site, key: &Secret) -> Option<String> {
        match self.0.datadog.validate(site, key).await {
            Validation::Valid(organisation) => organisation,
            Validation::Invalid(_) | Validation::Unknown(_) | Validation::NoSuchEndpoint => None,
        }
    }

    /// Releases telemetry held for another organisation to the one connected now, by the operator's decision. Until
    /// then [`TenantRecord::held_for`] is set, and none of it may be sent.
    ///
    /// # Errors
    /// When there is no such tenant, or the store fails.
    pub async fn release_held(&self, tenant: &TenantId) -> Result<TenantRecord, StoreError> {
        let changes = [Change::HeldFor(None), Change::ReleasedBefore(later(self.0.now(), Duration::from_millis(1)))];
        let record = self.0.store.apply(tenant, Guard::default(), &changes).await?;
        info!(%tenant, "telemetry held for another organisation was released by the operator");
        Ok(record)
    }

    /// Drops telemetry held for another organisation and accepted before a time, by the operator's decision: this host
    /// has dropped its share. Others find [`TenantRecord::dropped_before`].
    ///
    /// # Errors
    /// When there is no such tenant, or the store fails.
    pub async fn drop_held(&self, tenant: &TenantId, before: UnixMillis) -> Result<TenantRecord, StoreError> {
        let changes = [Change::HeldFor(None), Change::DroppedBefore(before)];
        let record = self.0.store.apply(tenant, Guard::default(), &changes).await?;
        self.dropped(&record).await;
        Ok(record)
    }

    /// The time before which this host has yet to drop a tenant's telemetry, which is held until then.
    pub fn to_drop(&self, record: &TenantRecord) -> Option<UnixMillis> {
        self.0.to_drop(record)
    }

    /// Notes that this host has dropped what it had [to drop](Self::to_drop): later telemetry is delivered.
    pub async fn dropped(&self, record: &TenantRecord) {
        if let Some(before) = record.dropped_before {
            self.0.dropped().insert(record.id.clone(), before);
        }
        self.0.publish(record).await;
    }
}
