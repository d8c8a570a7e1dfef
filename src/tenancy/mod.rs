//! The live registry of tenants: who exists, where its telemetry goes, which token stands for it.

mod file_keys;
mod meter;
pub(crate) mod metrics;
mod registry;
mod resolve;

pub use file_keys::FileKeys;
pub use meter::{Charge, Exceeded, Meter, Meters};
pub use registry::Registry;
pub use resolve::{Advice, Caller, Claims, Denied, NamedBy, Resolver};

use crate::settings::Site;
use crate::types::{Generation, Secret, TenantId, UnixMillis};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::watch;
use utoipa::ToSchema;

/// Whether and how a tenant's telemetry flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
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

/// Whether a tenant has a key to submit with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Not yet: it is not connected.
    None,
    /// No more: its key is refused or its authorisation revoked.
    Refused,
    /// With this API key.
    Key(Secret),
}

/// Telemetry that is held although there is a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hold {
    /// Everything, by the operator's decision.
    pub paused: bool,
    /// Telemetry that was accepted for anyone else.
    pub recipients: Recipients,
    /// Telemetry accepted before this time is not held for its recipient: the operator has released it.
    pub released: Option<UnixMillis>,
}

/// The generations whose telemetry may be sent with the key in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipients {
    /// Telemetry accepted now is stamped with it.
    pub present: Generation,
    /// Others that are for the same organisation.
    pub others: Vec<Generation>,
}

impl Recipients {
    /// Whether telemetry of this generation is theirs.
    pub fn contains(&self, generation: Generation) -> bool {
        generation == self.present || self.others.contains(&generation)
    }
}

impl Hold {
    /// Whether telemetry of this generation, the oldest of it accepted at that time, waits for the operator's decision.
    pub fn awaits_decision(&self, generation: Generation, oldest: UnixMillis) -> bool {
        !self.recipients.contains(generation) && self.released.is_none_or(|released| oldest >= released)
    }

    /// Whether such telemetry must not be sent.
    pub fn applies(&self, generation: Generation, oldest: UnixMillis) -> bool {
        self.paused || self.awaits_decision(generation, oldest)
    }
}

#[derive(Debug)]
struct Terms {
    access: Access,
    hold: Hold,
}

/// A tenant as the daemon sees it.
#[derive(Debug)]
pub struct Tenant {
    /// The id that requests name.
    pub id: TenantId,
    /// Where its telemetry goes.
    pub site: Site,
    terms: Mutex<Terms>,
    state: AtomicU8,
    /// Notified of every change of the permission, once the tenant is in a registry.
    changes: OnceLock<watch::Sender<()>>,
    /// Kept there, too.
    meter: OnceLock<Arc<Meter>>,
}

impl Tenant {
    /// A tenant that is active when it has a key and pending when it has none.
    pub fn new(id: TenantId, site: Site, key: Option<Secret>) -> Self {
        let state = if key.is_some() { TenantState::Active } else { TenantState::Pending };
        let access = key.map_or(Access::None, Access::Key);
        let terms = Mutex::new(Terms { access, hold: Hold::default() });
        Self { id, site, terms, state: AtomicU8::new(state as u8), changes: OnceLock::new(), meter: OnceLock::new() }
    }

    /// Its API key.
    pub fn key(&self) -> Option<Secret> {
        self.terms().0
    }

    /// The generation that telemetry accepted now is stamped with.
    pub fn generation(&self) -> Generation {
        self.lock().hold.recipients.present
    }

    /// Its API key and what must be held, read together.
    pub fn terms(&self) -> (Option<Secret>, Hold) {
        let terms = self.lock();
        match &terms.access {
            Access::Key(key) => (Some(key.clone()), terms.hold.clone()),
            Access::None | Access::Refused => (None, terms.hold.clone()),
        }
    }

    /// Sets its key and what is held; returns whether that changed anything.
    pub fn set_terms(&self, access: Access, hold: Hold) -> bool {
        let mut present = self.lock();
        if present.access == access && present.hold == hold {
            return false;
        }
        *present = Terms { access, hold };
        self.set_state(present.state_at_rest());
        drop(present);
        if let Some(changes) = self.changes.get() {
            changes.send_replace(());
        }
        true
    }

    /// Its meter, if it has a rate limit.
    pub fn limited(&self) -> Option<&Arc<Meter>> {
        self.meter.get().filter(|meter| meter.is_limited())
    }

    /// The state of a tenant while nothing is being sent.
    pub fn state_at_rest(&self) -> TenantState {
        self.lock().state_at_rest()
    }

    fn lock(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its current state.
    pub fn state(&self) -> TenantState {
        TenantState::ALL[usize::from(self.state.load(Ordering::Relaxed))]
    }

    /// Changes its state.
    pub fn set_state(&self, state: TenantState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }
}

impl Terms {
    fn state_at_rest(&self) -> TenantState {
        match self.access {
            _ if self.hold.paused => TenantState::Paused,
            Access::None => TenantState::Pending,
            Access::Refused => TenantState::Unauthorized,
            Access::Key(_) => TenantState::Active,
        }
    }
}
