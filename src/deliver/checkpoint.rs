//! At the end of the daemon: batches that were finalized in part.
//!
//! A batch of which nothing was finalized is in the journal as it came. Of one that was split, some items may be with
//! Datadog and some not; the rest is written to the journal once more, in place of the records of the batch.

use super::job::Job;
use crate::journal::{Entry, Journal};
use crate::payload::Payload;
use crate::queue::{Finalizer, entry_of};
use crate::types::Chunk;
use std::io;
use std::sync::Arc;
use tracing::error;

/// Writes the rest of partly finalized batches; `jobs` are in order of acceptance.
pub(super) async fn write(jobs: &[Job], journal: &Journal) {
    for (finalizer, rest) in partly_finalized(jobs) {
        let written = match joined(&rest) {
            Ok(entry) => journal.seal(entry, finalizer.seqs(), |_| ()).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let (Err(error), Some(first)) = (written, rest.first()) {
            error!(
                tenant = %first.tenant, kind = %first.kind,
                "the rest of a batch that Datadog took in part cannot be written, and all of it will be sent again: {error}"
            );
        }
    }
}

/// The payloads of each batch of which some items are finalized.
pub(super) fn partly_finalized(jobs: &[Job]) -> Vec<(Arc<Finalizer>, Vec<Arc<Payload>>)> {
    let mut batches: Vec<(Arc<Finalizer>, Vec<Arc<Payload>>)> = Vec::new();
    for payload in jobs.iter().filter_map(Job::payload).filter(|payload| !payload.finalizer.is_whole()) {
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
        generation: first.generation,
        items: rest.iter().map(|payload| payload.items).sum(),
        oldest: rest.iter().map(|payload| payload.oldest).min().unwrap_or_default(),
        accepted: rest.iter().map(|payload| payload.accepted).min().unwrap_or_default(),
        bytes: bytes.into(),
        follow: None,
    }))
}
