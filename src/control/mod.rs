//! What the operator can do with tenants: the service behind the admin API.
//!
//! It works on the store; the deliveries of this host follow at once, those of other hosts within seconds. Tenants of the
//! configuration file are shown, and changed nowhere but there. The store may be out of reach for a while, at the start
//! too: tenants of the file do not depend on it, and everything else says so.

mod error;
mod operations;
mod show;
mod upkeep;
mod view;

pub use error::ControlError;
pub use operations::{Fate, NewTenantSpec, TenantChanges};
pub use upkeep::Opener;
pub use view::{
    BegunView, ConnectedView, DisconnectedView, ErrorView, HeldView, KeyCameFrom, KeyOrigin, KeyView, NewTokenView,
    OauthView, OrganisationView, QueueView, RateLimitView, RemovedView, Source, State, StatusView, StoreView,
    TenantList, TenantView, TokenList, TokenView, TokensView,
};

use crate::deliver::Delivery;
use crate::oauth::Oauth;
use crate::queue::Queues;
use crate::settings::{Sites, StoreUrl};
use crate::store::Store;
use crate::tenancy::Registry;
use crate::types::TenantId;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The service. Shared by all who ask.
#[derive(Debug)]
pub struct Control {
    registry: Arc<Registry>,
    queues: Arc<Queues>,
    delivery: Arc<Delivery>,
    /// Tenants of the configuration file.
    configured: BTreeSet<TenantId>,
    sites: Sites,
    default_site: String,
    can_connect: bool,
    place: StoreUrl,
    open: OnceLock<Open>,
    /// Why the store cannot be opened or read at present.
    failure: Mutex<Option<String>>,
}

/// What there is once the store is open.
#[derive(Debug, Clone)]
struct Open {
    store: Store,
    oauth: Oauth,
}

impl Control {
    /// A service whose store is not open yet; [`Opener`] opens it.
    pub fn new(
        settings: &crate::settings::Settings,
        registry: Arc<Registry>,
        queues: Arc<Queues>,
        delivery: Arc<Delivery>,
    ) -> Self {
        registry.set_partial(true);
        Self {
            registry,
            queues,
            delivery,
            configured: settings.tenants.keys().cloned().collect(),
            sites: settings.datadog.sites.clone(),
            default_site: settings.datadog.default_site.clone(),
            can_connect: settings.oauth.is_configured(),
            place: settings.store.url.clone(),
            open: OnceLock::new(),
            failure: Mutex::default(),
        }
    }

    fn open(&self) -> Result<&Open, ControlError> {
        self.open
            .get()
            .ok_or_else(|| ControlError::NotOpen(self.failure().unwrap_or_else(|| "it is being opened".into())))
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_failure(&self, failure: Option<String>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// Lets nothing begin any more that must not be cut off in the middle, and waits until nothing of that kind is under way;
    /// see [`Oauth::end`].
    pub async fn end(&self) {
        if let Some(open) = self.open.get() {
            open.oauth.end().await;
        }
    }

    /// How many such things are under way.
    pub fn under_way(&self) -> usize {
        self.open.get().map_or(0, |open| open.oauth.under_way())
    }

    /// Whether the store cannot be used at present; [`status`](Self::status) says why.
    pub fn is_cut_off(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether telemetry of no tenant at all can be taken for now, since those that there are cannot be read.
    pub fn is_blind(&self) -> bool {
        self.registry.is_blind()
    }

    /// The store and the OAuth client, for a tenant that is not of the configuration file.
    fn open_for(&self, tenant: &TenantId) -> Result<&Open, ControlError> {
        if self.configured.contains(tenant) {
            return Err(ControlError::Static(tenant.clone()));
        }
        self.open()
    }
}
