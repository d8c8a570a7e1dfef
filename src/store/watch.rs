//! Learning of changes, whichever host made them.

use super::tenants::tenant_id;
use super::{Changes, Revision, Store, StoreError};
use std::pin::pin;
use std::time::Duration;
use tokio::task::AbortHandle;
use tracing::{info, warn};

/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Yields what changes from some revision on.
#[derive(Debug)]
pub struct Watch {
    store: Store,
    revision: Revision,
    listener: AbortHandle,
}

impl Store {
    /// What changed after a revision; everything after [`Revision::default`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn changes_since(&self, revision: Revision) -> Result<Changes, StoreError> {
        const CHANGED: &str = "SELECT id FROM dogsled_tenants WHERE revision > $1 \
             UNION SELECT tenant FROM dogsled_removed WHERE revision > $1";
        let mut tx = self.read().await?;
        let row = tx.query_one("SELECT revision FROM dogsled_meta", vec![]).await?;
        let Some(mut row) = row else { return Err(StoreError::Damaged("dogsled_meta has no row".into())) };
        let now = Revision(row.int()?);
        if now == revision {
            return Ok(Changes { revision, tenants: vec![] });
        }
        // A smaller one is of a restored backup: whoever watches must look at everything again.
        let after = if now < revision { Revision::default() } else { revision };
        let rows = tx.query(CHANGED, vec![after.0.into()]).await?;
        let mut tenants = rows.into_iter().map(|mut row| tenant_id(&row.text()?)).collect::<Result<Vec<_>, _>>()?;
        tenants.sort();
        Ok(Changes { revision: now, tenants })
    }

    /// Watches for changes after a revision. Needs a tokio runtime.
    pub fn watch(&self, after: Revision) -> Watch {
        let store = self.clone();
        let listener = tokio::spawn(async move { store.inner.backend.listen(&store.inner.changed).await });
        Watch { store: self.clone(), revision: after, listener: listener.abort_handle() }
    }
}

impl Watch {
    /// Waits for the next change. While the store cannot be reached, it goes on trying.
    pub async fn next(&mut self) -> Changes {
        let store = self.store.clone();
        let mut pause = None;
        loop {
            let mut told = pin!(store.inner.changed.notified());
            // From here on no change is missed, though nobody waits yet.
            told.as_mut().enable();
            match store.changes_since(self.revision).await {
                Ok(changes) => {
                    if pause.take().is_some() {
                        info!("store {}: can be read again", store.place());
                    }
                    self.revision = changes.revision;
                    if !changes.tenants.is_empty() {
                        return changes;
                    }
                    // Running out of time is no error: others may change something without telling.
                    let _ = tokio::time::timeout(store.inner.backend.poll_interval(), told).await;
                }
                Err(error) => {
                    if pause.is_none() {
                        warn!("changes by other hosts are not seen for now: {error}");
                    }
                    let wait = pause.map_or(Duration::from_secs(1), |pause: Duration| (pause * 2).min(LONGEST_PAUSE));
                    pause = Some(wait);
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// The last revision that was seen.
    pub fn revision(&self) -> Revision {
        self.revision
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.listener.abort();
    }
}
