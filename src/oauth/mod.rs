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
pub use connect::{Begun, Connected};
pub use context::{Clock, Oauth, PartnerFault};
pub use disconnect::Disconnected;
pub use error::{BeginError, FinishError};
pub use keys::{KeyTrouble, KeyUse};
pub use listener::Connect;
pub use site::{Field, SiteError, Why, check_domain, check_site};
pub use status::{Status, Trouble, status};

use crate::outbound::SetupError;
use crate::settings::Settings;
use crate::store::{Change, Guard, Store, StoreError, TenantRecord};
use crate::tenancy::Registry;
use crate::types::{TenantId, UnixMillis};
use context::Inner;
use std::sync::Arc;
use tracing::{info, warn};

impl Oauth {
    /// The client of the configuration.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(settings: &Settings, store: Store, registry: Arc<Registry>, clock: Clock) -> Result<Self, SetupError> {
        Ok(Self(Arc::new(Inner::new(settings, store, registry, clock)?)))
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
        self.0.in_flight.end().await;
    }

    /// Waits until [`end`](Self::end) was called and nothing is under way any more.
    pub async fn ended(&self) {
        self.0.in_flight.ended().await;
    }

    /// How many such things are under way.
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.count()
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
