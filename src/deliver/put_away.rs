//! At the end of the daemon: batches that were settled in part.
//!
//! What was not settled at all is in the journal as it came. Of a batch that was divided, some items may be with Datadog
//! and some not; these are written to the journal once more, in place of the records that the batch was made of.

use super::work::Work;
use crate::journal::{Entry, Journal};
use crate::payload::Payload;
use crate::queue::{Finalizer, entry_of};
use crate::types::Chunk;
use std::io;
use std::sync::Arc;
use tracing::error;

/// Writes what is left of partly settled batches; `works` are in order of acceptance.
pub(super) async fn put_away<'a>(works: impl Iterator<Item = &'a Work>, journal: &Journal) {
    for (finalizer, rest) in partly_settled(works) {
        let Some(first) = rest.first() else { continue };
        let failed = |error: &dyn std::fmt::Display| {
            error!(
                tenant = %first.tenant, kind = %first.kind,
                "a batch that Datadog took in part could not be put away, and all of it will be sent again: {error}"
            );
        };
        match joined(&rest) {
            Ok(entry) => {
                if let Err(error) = journal.seal(entry, finalizer.seqs(), |_| ()).await {
                    failed(&error);
                }
            }
            Err(error) => failed(&error),
        }
    }
}

/// The payloads of each batch of which some items are settled.
pub(super) fn partly_settled<'a>(works: impl Iterator<Item = &'a Work>) -> Vec<(Arc<Finalizer>, Vec<Arc<Payload>>)> {
    let mut batches: Vec<(Arc<Finalizer>, Vec<Arc<Payload>>)> = Vec::new();
    for payload in works.filter_map(Work::payload).filter(|payload| !payload.finalizer.is_whole()) {
        match batches.iter_mut().find(|(finalizer, _)| Arc::ptr_eq(finalizer, &payload.finalizer)) {
            Some((_, rest)) => rest.push(payload.clone()),
            None => batches.push((payload.finalizer.clone(), vec![payload.clone()])),
        }
    }
    batches
}

/// Payloads of one batch as one entry. It is within the kind's limits, since the batch was.
fn joined(rest: &[Arc<Payload>]) -> io::Result<Entry> {
    let Some(first) = rest.first() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let mut bytes = Vec::new();
    for payload in rest {
        if !bytes.is_empty() {
            bytes.extend_from_slice(first.kind.separator());
        }
        bytes.extend_from_slice(payload.run(&payload.unpack()?));
    }
    Ok(entry_of(&Chunk {
        tenant: first.tenant.clone(),
        kind: first.kind,
        items: rest.iter().map(|payload| payload.items).sum(),
        oldest: rest.iter().map(|payload| payload.oldest).min().unwrap_or_default(),
        accepted: rest.iter().map(|payload| payload.accepted).min().unwrap_or_default(),
        bytes: bytes.into(),
        follow: None,
    }))
}
