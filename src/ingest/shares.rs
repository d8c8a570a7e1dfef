//! The shares that tenants have in a submission, each of which is decided on by itself.

use super::outcome::Rejection;
use crate::queue::Refused;
use crate::tenancy::{Charge, Tenant};
use crate::types::TenantId;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

/// All shares of a submission.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// In the order of their first items.
    pub(super) list: Vec<Share>,
    /// The share of each part, or why it has none.
    pub(super) of_parts: Vec<Result<usize, Rejection>>,
    /// The share of each run of items that Datadog would refuse, or why it has none.
    pub(super) of_invalid: Vec<Result<usize, Rejection>>,
    /// Where each tenant's is, once there are several.
    index: HashMap<TenantId, usize>,
}

/// One tenant's share.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) tenant: Arc<Tenant>,
    items: u64,
    bytes: u64,
    /// What it took of its tenant's rate.
    charge: Option<Charge>,
    /// Why it is not taken.
    pub(super) rejection: Option<Rejection>,
}

impl Shares {
    /// Adds items to a tenant's share; gives its index.
    pub(super) fn add(&mut self, tenant: Arc<Tenant>, items: u32, bytes: usize) -> usize {
        let index = self.share_of(tenant);
        let share = &mut self.list[index];
        share.items += u64::from(items);
        share.bytes += bytes as u64;
        index
    }

    fn share_of(&mut self, tenant: Arc<Tenant>) -> usize {
        if let Some(last) = self.list.len().checked_sub(1) {
            // Successive parts are mostly of one tenant, and most submissions are.
            if Arc::ptr_eq(&self.list[last].tenant, &tenant) {
                return last;
            }
            if last == 0 {
                self.index.insert(self.list[0].tenant.id.clone(), 0);
            }
            if let Some(&index) = self.index.get(&tenant.id) {
                return index;
            }
            self.index.insert(tenant.id.clone(), self.list.len());
        }
        self.list.push(Share { tenant, items: 0, bytes: 0, charge: None, rejection: None });
        self.list.len() - 1
    }

    /// Charges each tenant's rate.
    pub(super) fn charge(&mut self, now: Instant) {
        for share in &mut self.list {
            let Some(meter) = share.tenant.limited() else { continue };
            match meter.charge(share.items, share.bytes, now) {
                Ok(charge) => share.charge = Some(charge),
                Err(exceeded) => {
                    share.rejection = Some(Rejection::TooFast { tenant: share.tenant.id.clone(), exceeded });
                }
            }
        }
    }

    /// A share that nothing speaks against so far.
    pub(super) fn open(&self, index: usize) -> Option<&Share> {
        Some(&self.list[index]).filter(|share| share.rejection.is_none())
    }

    /// Notes the tenants that the queue had no room for.
    pub(super) fn refuse(&mut self, refused: Vec<Refused>) {
        for refused in refused {
            let Refused::Full { tenant, .. } = &refused else { continue };
            let share = self.list.iter_mut().find(|share| share.tenant.id == *tenant);
            if let Some(share) = share {
                share.rejection = Some(refused.into());
            }
        }
    }

    /// Notes that the queue has taken nothing.
    pub(super) fn refuse_all(&mut self, refused: &Refused) {
        for share in self.list.iter_mut().filter(|share| share.rejection.is_none()) {
            share.rejection = Some(refused.clone().into());
        }
    }

    /// Gives back what some shares took of their tenants' rates.
    pub(super) fn give_back(&mut self, is_due: impl Fn(&Share) -> bool) {
        for share in self.list.iter_mut().filter(|share| is_due(share)) {
            share.charge.take().into_iter().for_each(Charge::give_back);
        }
    }

    /// Why the first part is not taken that is not.
    pub(super) fn first_rejection(&self) -> Option<Rejection> {
        self.of_parts.iter().chain(&self.of_invalid).find_map(|share| match share {
            Ok(index) => self.list[*index].rejection.clone(),
            Err(rejection) => Some(rejection.clone()),
        })
    }

    /// The tenants whose shares nothing speaks against.
    pub(super) fn tenants(&self) -> Vec<Arc<Tenant>> {
        self.list.iter().filter(|share| share.rejection.is_none()).map(|share| share.tenant.clone()).collect()
    }
}
