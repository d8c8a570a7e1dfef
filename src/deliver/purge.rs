//! Telemetry that an operator has told to drop. Pure.

use crate::tenancy::Recipients;
use crate::types::{Generation, UnixMillis};

/// What is to be dropped of a tenant, also when it comes back from Datadog.
#[derive(Debug, Default)]
pub(super) struct Purge {
    /// Everything accepted before this time.
    all: Option<UnixMillis>,
    /// Everything accepted before this time for anyone else.
    foreign: Option<(UnixMillis, Recipients)>,
}

impl Purge {
    /// Drops what was accepted before a time too; nothing of these recipients, if they are given.
    pub(super) fn add(&mut self, before: UnixMillis, spared: Option<&Recipients>) {
        match spared {
            None => self.all = self.all.max(Some(before)),
            Some(spared) => self.foreign = Some((before, spared.clone())),
        }
    }

    /// Whether items of this generation, accepted then, are to be dropped.
    pub(super) fn includes(&self, generation: Generation, accepted: UnixMillis) -> bool {
        self.all.is_some_and(|before| accepted < before)
            || self.foreign.as_ref().is_some_and(|(before, spared)| accepted < *before && !spared.contains(generation))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_none() && self.foreign.is_none()
    }
}
