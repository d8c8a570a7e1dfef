//! Another configuration while everything goes on.

use super::{Control, IN_BOTH};
use crate::settings::Settings;
use crate::tenancy::TenantState;
use crate::types::TenantId;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::warn;

impl Control {
    /// The files with the keys of the configuration's tenants that Datadog refuses.
    pub fn refused_key_files(&self) -> BTreeSet<PathBuf> {
        let settings = self.settings();
        let refused = self.registry.all().into_iter().filter(|tenant| tenant.state() == TenantState::Unauthorized);
        refused.filter_map(|tenant| settings.api_key_file(&tenant.id).map(Path::to_owned)).collect()
    }

    /// Applies another configuration, one that [`Settings::plan`] has made, to tenants, queues, deliveries and the OAuth
    /// client. Gives notes for the operator.
    pub async fn reload(&self, settings: Settings) -> Vec<String> {
        let _alone = self.reloading.lock().await;
        let settings = Arc::new(settings);
        let before = self.settings.set(settings.clone());
        self.queues.reload(&settings);
        self.delivery.reload(&settings);
        let open = self.open.get();
        let again = open.filter(|open| open.oauth.reload(&settings));
        let gone = self.registry.configure(&before, &settings);
        // From here on, the store may have to be waited for.
        if let Some(open) = again {
            open.oauth.look_again().await;
        }
        let mut notes = Vec::new();
        for tenant in &gone {
            notes.extend(self.release(tenant).await);
        }
        let new = settings.tenants.keys().filter(|id| !before.tenants.contains_key(*id));
        if let Some(open) = open {
            for tenant in new {
                if open.store.tenant(tenant).await.is_ok_and(|record| record.is_some()) {
                    notes.push(format!("tenant {tenant} {IN_BOTH}"));
                }
            }
        }
        notes.iter().for_each(|note| warn!("{note}"));
        notes
    }

    /// Lets go of a tenant that is no longer in the configuration file: the store may have it, too.
    async fn release(&self, id: &TenantId) -> Option<String> {
        if let Some(open) = self.open.get() {
            match self.take_over(open, vec![id.clone()]).await {
                Ok(()) if self.registry.get(id.as_str()).is_some() => {
                    return Some(format!(
                        "tenant {id} is no longer in the configuration file, but in the store, which counts from now on"
                    ));
                }
                Ok(()) => {}
                Err(error) => {
                    warn!(tenant = %id, "if the store has it, that is seen when it changes, or with a restart: {error}");
                }
            }
        }
        // Without a store, nobody has let go of it yet.
        self.registry.remove(id);
        let items = self.queue_of(id).items;
        (items > 0).then(|| {
            format!(
                "tenant {id} is no longer in the configuration file, and {items} items of it are queued: they are kept until it is \
                 there again, or until they are too old (journal.max_age)"
            )
        })
    }
}
