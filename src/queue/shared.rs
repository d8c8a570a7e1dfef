//! What the queues of all tenants share.

use super::ages::Ages;
use super::budget::Budget;
use super::finalizer::Acknowledge;
use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::machine::Machine;
use std::sync::Arc;
use tokio::sync::Semaphore;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) machine: Machine,
    pub(super) ages: Ages,
    pub(super) ledger: Arc<Ledger>,
    pub(super) journal: Arc<Journal>,
    pub(super) acks: Arc<dyn Acknowledge>,
    pub(super) memory: Arc<Budget>,
    pub(super) disk: Arc<Budget>,
    /// Bounds how many read spilled items back at once, since each takes memory that is in no account: after an outage a
    /// thousand tenants want to.
    pub(super) readers: Semaphore,
}
