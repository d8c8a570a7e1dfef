//! What operators, and OAuth on behalf of customers, do to tenants while telemetry flows.

use super::datadog::Datadog;
use super::machine::{elapsed, now};
use crate::settings::Site;
use crate::tenancy::{Access, Hold, Recipients, Registry, Tenant};
use crate::types::{Generation, Secret, TenantId, UnixMillis};
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
    pub(super) key_number: u64,
    /// When it got this one.
    pub(super) since: Duration,
    /// How many organisations it had before this one.
    organisation: u64,
    /// What was accepted earlier for another organisation is released to this one.
    released: Option<UnixMillis>,
    /// What was accepted earlier is purged, as long as the process lives that has been told so.
    pub(super) purged: Option<UnixMillis>,
}

impl Default for Permission {
    fn default() -> Self {
        Self {
            present: true,
            keyed: true,
            paused: false,
            key_number: 0,
            since: Duration::ZERO,
            organisation: 0,
            released: None,
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
                self.organisation += 1;
                self.released = None;
            }
            Change::Remove => self.present = false,
            // That is not a term, but done at once.
            Change::Purge => {}
            Change::Restore => {
                if !self.keyed {
                    self.renew();
                }
                let released = Some(UnixMillis(now().0 + 1));
                *self = Self { present: true, paused: false, released, ..*self };
            }
        }
    }

    /// For whom telemetry is accepted.
    pub(super) fn recipient(&self) -> Generation {
        Generation(self.organisation)
    }

    pub(super) fn hold(&self) -> Hold {
        let recipients = Recipients { present: self.recipient(), others: Vec::new() };
        Hold { paused: self.paused, recipients, released: self.released }
    }

    fn renew(&mut self) {
        self.keyed = true;
        self.key_number += 1;
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
            true => Access::Key(Secret::new(format!("{:016x}{index:016x}", self.key_number))),
            false => Access::Refused,
        };
        tenant.set_terms(access, self.hold());
    }
}

/// Which key of which tenant it is.
pub(super) fn read_key(key: &[u8]) -> (u64, usize) {
    let number = u128::from_str_radix(std::str::from_utf8(key).unwrap(), 16).unwrap();
    ((number >> 64) as u64, number as u64 as usize)
}
