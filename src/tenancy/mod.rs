//! The live registry of tenants: who exists, where its telemetry goes, which token stands for it.

mod registry;
mod resolve;

pub use registry::Registry;
pub use resolve::{Advice, Caller, Claims, Denied, Resolver};

use crate::settings::Site;
use crate::types::{Secret, TenantId};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Whether and how a tenant's telemetry flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum TenantState {
    /// Registered without a key: telemetry is held.
    Pending,
    /// Delivered as it comes.
    Active,
    /// Waiting for a rate limit to reset.
    Throttled,
    /// Waiting to try again after a failure.
    Retrying,
    /// Datadog refuses the key: telemetry is held.
    Unauthorized,
    /// Held by the operator.
    Paused,
}

impl TenantState {
    /// All states, in the order of their discriminants.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Active, Self::Throttled, Self::Retrying, Self::Unauthorized, Self::Paused];

    /// The name used in metrics and listings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Throttled => "throttled",
            Self::Retrying => "retrying",
            Self::Unauthorized => "unauthorized",
            Self::Paused => "paused",
        }
    }
}

/// Whether a tenant may submit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Not yet: it is not connected.
    None,
    /// No more: its key is refused or its authorisation revoked.
    Refused,
    /// With this API key.
    Key(Secret),
}

/// One tenant.
#[derive(Debug)]
pub struct Tenant {
    /// Its name.
    pub id: TenantId,
    /// Where its telemetry goes.
    pub site: Site,
    access: Mutex<Access>,
    changed: Notify,
    state: AtomicU8,
}

impl Tenant {
    /// A tenant that is active when it has a key and pending when it has none.
    pub fn new(id: TenantId, site: Site, key: Option<Secret>) -> Self {
        let state = if key.is_some() { TenantState::Active } else { TenantState::Pending };
        let access = key.map_or(Access::None, Access::Key);
        Self { id, site, access: Mutex::new(access), changed: Notify::new(), state: AtomicU8::new(state as u8) }
    }

    /// Its API key.
    pub fn key(&self) -> Option<Secret> {
        match &*self.lock() {
            Access::Key(key) => Some(key.clone()),
            Access::None | Access::Refused => None,
        }
    }

    /// Gives it a key, or takes it away; says whether that changed anything.
    pub fn set_access(&self, access: Access) -> bool {
        let mut present = self.lock();
        if *present == access {
            return false;
        }
        self.set_state(match access {
            Access::None => TenantState::Pending,
            Access::Refused => TenantState::Unauthorized,
            Access::Key(_) => TenantState::Active,
        });
        *present = access;
        self.changed.notify_one();
        true
    }

    /// Waits for the next change of its access, for the one that delivers for it.
    pub async fn access_changed(&self) {
        self.changed.notified().await;
    }

    /// The state of a tenant without a key.
    pub fn state_without_key(&self) -> TenantState {
        if *self.lock() == Access::Refused { TenantState::Unauthorized } else { TenantState::Pending }
    }

    fn lock(&self) -> MutexGuard<'_, Access> {
        self.access.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its state.
    pub fn state(&self) -> TenantState {
        TenantState::ALL[usize::from(self.state.load(Ordering::Relaxed))]
    }

    /// Changes its state.
    pub fn set_state(&self, state: TenantState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }
}
