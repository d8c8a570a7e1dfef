//! What operators, and OAuth on behalf of customers, do to tenants while telemetry flows.

use super::datadog::Datadog;
use super::machine::{elapsed, now};
use crate::settings::Site;
use crate::tenancy::{Access, Hold, Registry, Tenant};
use crate::types::{Secret, TenantId, UnixMillis};
use std::sync::Arc;
use std::time::Duration;

/// What is done to a tenant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Pause,
    /// Its key is taken away.
    Revoke,
    /// It gets another key of the same organisation.
    Exchange,
    /// It gets the key of another organisation, and what was accepted before is held.
    Move,
    /// It is not there any more.
    Remove,
    /// What waits is dropped.
    Purge,
    /// It is there, with a key, and nothing is held.
    Restore,
}

/// All of them but the last, which follows the others.
pub(super) const TROUBLES: [Change; 6] =
    [Change::Pause, Change::Revoke, Change::Exchange, Change::Move, Change::Remove, Change::Purge];

/// What a tenant may send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Permission {
    present: bool,
    keyed: bool,
    pub(super) paused: bool,
    /// How many keys it had before this one.
    pub(super) generation: u64,
    /// When it got this one.
    pub(super) since: Duration,
    pub(super) before: Option<UnixMillis>,
    /// What was accepted earlier is purged, as long as the process lives that has been told so.
    pub(super) purged: Option<UnixMillis>,
}

impl Default for Permission {
    fn default() -> Self {
        Self {
            present: true,
            keyed: true,
            paused: false,
            generation: 0,
            since: Duration::ZERO,
            before: None,
            purged: None,
        }
    }
}

impl Permission {
    pub(super) fn has_key(&self) -> bool {
        self.present && self.keyed
    }

    pub(super) fn change(&mut self, change: Change) {
        match change {
            Change::Pause => self.paused = true,
            Change::Revoke => self.keyed = false,
            Change::Exchange => self.renew(),
            Change::Move => {
                self.renew();
                self.before = Some(now());
            }
            Change::Remove => self.present = false,
            // That is not a term, but done at once.
            Change::Purge => {}
            Change::Restore => {
                if !self.keyed {
                    self.renew();
                }
                *self = Self { present: true, paused: false, before: None, ..*self };
            }
        }
    }

    fn renew(&mut self) {
        self.keyed = true;
        self.generation += 1;
        self.since = elapsed();
    }

    /// Has this permission apply from this moment on, for the process and for the invariants.
    pub(super) fn enact(&self, id: &TenantId, index: usize, site: &Site, registry: &Registry, datadog: &Datadog) {
        datadog.set_permission(index, *self);
        if !self.present {
            registry.remove(id);
            return;
        }
        let tenant = registry.get(id.as_str()).unwrap_or_else(|| {
            let tenant = Arc::new(Tenant::new(id.clone(), site.clone(), None));
            registry.insert(tenant.clone());
            tenant
        });
        let access = match self.keyed {
            true => Access::Key(Secret::new(format!("{:016x}{index:016x}", self.generation))),
            false => Access::Refused,
        };
        tenant.set_terms(access, Hold { paused: self.paused, before: self.before });
    }
}

/// Which key of which tenant it is.
pub(super) fn read_key(key: &[u8]) -> (u64, usize) {
    let number = u128::from_str_radix(std::str::from_utf8(key).unwrap(), 16).unwrap();
    ((number >> 64) as u64, number as u64 as usize)
}
