//! Notification of changes, whichever host made them.

use super::tenants::tenant_id;
use super::{Changes, Revision, Store, StoreError};
use std::pin::pin;
use std::time::Duration;
use tokio::task::AbortHandle;

/// The first and the longest pause after a failure: changes of others are seen within seconds of its end.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Yields the changes after a revision.
#[derive(Debug)]
pub struct Watch {
    store: Store,
    revision: Revision,
    /// The revision before the changes returned last.
    before: Revision,
    /// The pause before the next query; none while the store works.
    pause: Option<Duration>,
    listener: AbortHandle,
}

impl Store {
    /// The changes after a revision; everything after [`Revision::default`].
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
        Watch { store: self.clone(), revision: after, before: after, pause: None, listener: listener.abort_handle() }
    }
}

impl Watch {
    /// Waits for the next change.
    ///
    /// # Errors
    /// When the store cannot be read, so that changes are not seen. The next call tries again after a pause, and
    /// returns the changes made meanwhile, even if there are none.
    pub async fn next(&mut self) -> Result<Changes, StoreError> {
        let store = self.store.clone();
        if let Some(pause) = self.pause {
            tokio::time::sleep(pause).await;
        }
        loop {
            let mut told = pin!(store.inner.changed.notified());
            // From here on no change is missed, though nobody waits yet.
            told.as_mut().enable();
            let changes = match store.changes_since(self.revision).await {
                Ok(changes) => changes,
                Err(error) => {
                    self.slow_down();
                    return Err(error);
                }
            };
            let is_back = self.pause.take().is_some();
            self.before = self.revision;
            self.revision = changes.revision;
            if is_back || !changes.tenants.is_empty() {
                return Ok(changes);
            }
            // A timeout is no error: others may make changes without a notification.
            let _ = tokio::time::timeout(store.inner.backend.poll_interval(), told).await;
        }
    }

    /// Returns the last changes again after a pause, for a caller that could not process them.
    pub fn again(&mut self) {
        self.revision = self.before;
        self.slow_down();
    }

    fn slow_down(&mut self) {
        self.pause = Some(self.pause.map_or(PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE)));
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
