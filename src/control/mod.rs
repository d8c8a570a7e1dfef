//! What the operator can do with tenants: the service behind the admin API.
//!
//! It works on the store; the deliveries of this host follow at once, those of other hosts within seconds ([`StoreSync`]).
//! Tenants of the configuration file are shown, and changed nowhere but there. The store may be out of reach for a while,
//! at the start too: tenants of the file do not depend on it, and everything else says so.

mod error;
mod operations;
mod reload;
mod show;
mod store_sync;
mod view;

pub use error::ControlError;
pub use store_sync::StoreSync;

use crate::deliver::Delivery;
use crate::oauth::Oauth;
use crate::queue::Queues;
use crate::settings::Settings;
use crate::store::Store;
use crate::tenancy::Registry;
use crate::types::{Current, TenantId};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What is said of a tenant that the configuration file and the store both have.
const IN_BOTH: &str =
    "is both in the configuration file and in the store: the file counts; remove it from one of the two";

/// The service. Shared by all who ask.
#[derive(Debug)]
pub struct Control {
    registry: Arc<Registry>,
    queues: Arc<Queues>,
    delivery: Arc<Delivery>,
    settings: Current<Settings>,
    /// Held while another configuration is applied.
    reloading: tokio::sync::Mutex<()>,
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
    /// A service whose store is not open yet; [`StoreSync`] opens it.
    pub fn new(settings: &Settings, registry: Arc<Registry>, queues: Arc<Queues>, delivery: Arc<Delivery>) -> Self {
        registry.set_partial(true);
        Self {
            registry,
            queues,
            delivery,
            settings: Current::new(settings.clone()),
            reloading: tokio::sync::Mutex::default(),
            open: OnceLock::new(),
            failure: Mutex::default(),
        }
    }

    /// The configuration in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.get()
    }

    /// Whether a tenant is in the configuration file.
    fn is_of_file(&self, tenant: &TenantId) -> bool {
        self.settings().tenants.contains_key(tenant)
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

    /// Lets nothing begin any more that must not be cut off in the middle, and waits for what has begun; see [`Oauth::end`].
    pub async fn end(&self) {
        if let Some(open) = self.open.get() {
            open.oauth.end().await;
        }
    }

    /// How many such things are in flight.
    pub fn in_flight(&self) -> usize {
        self.open.get().map_or(0, |open| open.oauth.in_flight())
    }

    /// Whether the store was ever opened.
    pub fn is_open(&self) -> bool {
        self.open.get().is_some()
    }

    /// Whether the store cannot be used at present; [`status`](Self::status) says why.
    pub fn is_cut_off(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether no telemetry at all can be taken for now, since no tenant could be read yet.
    pub fn is_blind(&self) -> bool {
        self.registry.is_blind()
    }

    /// The store and the OAuth client, for a tenant that is not of the configuration file.
    fn open_for(&self, tenant: &TenantId) -> Result<&Open, ControlError> {
        if self.is_of_file(tenant) {
            return Err(ControlError::Static(tenant.clone()));
        }
        self.open()
    }
}
