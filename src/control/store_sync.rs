//! Opening the store, however long that takes, and keeping in step with it from then on: following what other hosts
//! change, and replacing keys that Datadog refuses.

use super::{Control, IN_BOTH, Open};
use crate::deliver::KeyRefused;
use crate::oauth::{Clock, Connect, KeyTrouble, Oauth};
use crate::store::{Origin, Revision, Store, StoreError, TenantRecord};
use crate::types::{Generation, TenantId};
use crate::vault::Source;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info, warn};

/// The first and the longest pause after the store could not be opened.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long the start of the daemon waits for the store.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the keys of the configuration file are looked at, and Datadog is asked for a key's organisation.
const LOOK: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// The first and the longest pause after a refused key could not be replaced.
const KEY_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_KEY_PAUSE: Duration = Duration::from_secs(300);

/// Opens the store for a [`Control`], and keeps it going.
#[derive(Debug)]
pub struct StoreSync {
    control: Arc<Control>,
    connect: Option<Connect>,
    refusals: mpsc::UnboundedReceiver<KeyRefused>,
    loaded: Option<Revision>,
}

impl StoreSync {
    /// Tries once to open the store and to load its tenants, before telemetry is taken. What fails is tried again by
    /// [`run`](Self::run).
    #[expect(clippy::disallowed_methods, reason = "one refusal a key: bounded by the tenants")]
    pub async fn begin(control: Arc<Control>, connect: Option<Connect>) -> Self {
        let (tell, refusals) = mpsc::unbounded_channel();
        control.delivery.tell_refusals(tell);
        let mut this = Self { control, connect, refusals, loaded: None };
        let slow = || "it did not answer in time".to_owned();
        match tokio::time::timeout(OPEN_TIMEOUT, this.open()).await.unwrap_or_else(|_| Err(slow())) {
            Ok(loaded) => this.loaded = Some(loaded),
            Err(failure) => this.complain(failure),
        }
        this
    }

    /// Works until [`Control::end`] has come to its end, and gives what goes on until that is dropped.
    pub async fn run(mut self) -> JoinSet<()> {
        let mut pause = PAUSE;
        let loaded = loop {
            if let Some(loaded) = self.loaded {
                break loaded;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            match self.open().await {
                Ok(loaded) => self.loaded = Some(loaded),
                Err(failure) => self.complain(failure),
            }
        };
        let mut tasks = JoinSet::new();
        let Some(open) = self.control.open.get().cloned() else { return tasks };
        let oauth = open.oauth.clone();
        tasks.spawn({
            let oauth = oauth.clone();
            async move { oauth.run().await }
        });
        let (control, following) = (self.control.clone(), open.clone());
        tasks.spawn(async move { control.follow(&following, loaded).await });
        tasks.spawn(identify_file_keys(self.control.clone(), oauth.clone()));
        tasks.spawn(replace_keys(self.control, open, self.refusals));
        match self.connect {
            Some(connect) => connect.serve(oauth).await,
            None => oauth.ended().await,
        }
        tasks
    }

    async fn open(&self) -> Result<Revision, String> {
        let control = &self.control;
        let open = match control.open.get() {
            Some(open) => open.clone(),
            None => {
                let settings = control.settings();
                let source = Source::configured(&settings, std::env::var_os("CREDENTIALS_DIRECTORY").as_deref());
                let message = |error: StoreError| error.to_string();
                let store = Store::open(&settings.store.url, &settings.state.dir, source).await.map_err(message)?;
                let oauth = Oauth::new(&settings, store.clone(), control.registry.clone(), Clock::default())
                    .map_err(|error| error.to_string())?;
                Open { store, oauth }
            }
        };
        let loaded = control.load(&open).await.map_err(|error| error.to_string())?;
        let place = open.store.address().to_owned();
        // The configuration may have been read again meanwhile.
        let _alone = control.reloading.lock().await;
        if open.oauth.reload(&control.settings()) {
            open.oauth.look_again().await;
        }
        // It is set once, here.
        let _ = control.open.set(open);
        control.set_failure(None);
        control.registry.set_partial(false);
        info!(place, "store of tenants opened");
        Ok(loaded)
    }

    fn complain(&self, failure: String) {
        // The same once is enough.
        if self.control.failure().as_ref() != Some(&failure) {
            error!(
                "tenants of the store are not served yet, their telemetry is refused (503), and it is tried again; \
                 tenants of the configuration file are served: {failure}"
            );
        }
        self.control.set_failure(Some(failure));
    }
}

impl Control {
    /// Shows the tenants of the store to this host, tokens first: an unknown token must not be an unknown tenant's.
    async fn load(&self, open: &Open) -> Result<Revision, StoreError> {
        let mut tokens: std::collections::BTreeMap<TenantId, Vec<[u8; 32]>> = Default::default();
        for token in open.store.ingest_tokens(None).await? {
            tokens.entry(token.tenant).or_default().push(token.digest);
        }
        for (tenant, digests) in tokens {
            if !self.is_of_file(&tenant) {
                self.registry.set_tokens(&tenant, digests);
            }
        }
        let loaded = open.oauth.load().await?;
        for record in open.store.tenants().await? {
            if self.is_of_file(&record.id) {
                warn!(tenant = %record.id, "{IN_BOTH}");
            } else {
                self.drop_decided(open, &record).await;
            }
        }
        Ok(loaded)
    }

    /// Follows what any host changes. While the store cannot be read, an unknown tenant may be a new one.
    async fn follow(&self, open: &Open, loaded: Revision) {
        let mut watch = open.store.watch(loaded);
        loop {
            let seen = match watch.next().await {
                Ok(changes) => self.take_over(open, changes.tenants).await.inspect_err(|_| watch.again()),
                Err(failed) => Err(failed),
            };
            match &seen {
                Err(failed) if !self.is_cut_off() => error!(
                    "tenants go on with the keys that they have; their tokens are not refreshed, changes are not seen, \
                     unknown tenants are told to come again (503), and the store is tried again: {failed}"
                ),
                Ok(()) if self.is_cut_off() => info!(place = open.store.address(), "the store can be read again"),
                _ => {}
            }
            self.registry.set_partial(seen.is_err());
            self.set_failure(seen.err().map(|failed| failed.to_string()));
        }
    }

    /// Shows tenants that have changed to this host, tokens first.
    pub(super) async fn take_over(&self, open: &Open, tenants: Vec<TenantId>) -> Result<(), StoreError> {
        for tenant in tenants.iter().filter(|tenant| !self.is_of_file(tenant)) {
            let followed = match self.load_tokens(&open.store, tenant).await {
                Ok(()) => open.oauth.follow(tenant).await,
                Err(failed) => Err(failed),
            };
            match followed {
                Ok(Some(record)) => self.drop_decided(open, &record).await,
                Ok(None) => {}
                Err(failed) if failed.is_transient() => return Err(failed),
                Err(failed) => error!(%tenant, "its change is not seen before it changes again: {failed}"),
            }
        }
        Ok(())
    }

    /// Drops what the operator has told any host to drop of a tenant, where this one has not done it yet.
    async fn drop_decided(&self, open: &Open, record: &TenantRecord) {
        let Some(before) = open.oauth.to_drop(record) else { return };
        match self.drop_held(&record.id, before).await {
            Ok(items) => {
                info!(tenant = %record.id, items, "what was held for another organisation is dropped, as the operator decided");
                open.oauth.dropped(record).await;
            }
            Err(failed) => error!(
                tenant = %record.id,
                "what the operator decided to drop is held until the tenant changes, or the next start: the journal cannot \
                 be read: {failed}"
            ),
        }
    }
}

/// Learns the organisations of keys of the configuration file, so that what was accepted for a former key of the same
/// organisation goes on, and nothing that was accepted for another one.
async fn identify_file_keys(control: Arc<Control>, oauth: Oauth) {
    let mut due: HashMap<Generation, Instant> = HashMap::new();
    loop {
        let now = Instant::now();
        let settings = control.settings();
        // Not all at once at the start, when nothing depends on it.
        let first = now + settings.delivery.validate_interval.min(ASK_AGAIN);
        let unknown = control.registry.unidentified(&settings);
        due.retain(|generation, _| unknown.iter().any(|(_, key)| Generation::of_key(key) == *generation));
        for (tenant, key) in unknown {
            let at = due
                .entry(Generation::of_key(&key))
                .or_insert_with(|| if control.queue_of(&tenant.id).held_items > 0 { now } else { first });
            if *at > now {
                continue;
            }
            *at = now + ASK_AGAIN;
            if let Some(organisation) = oauth.organisation_of(&tenant.site, &key).await
                && let Err(failed) = control.registry.identify(&tenant, &key, &organisation)
            {
                error!(tenant = %tenant.id, "the organisation of its key cannot be kept in the state directory: {failed}");
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Has keys that Datadog refuses replaced, one attempt at a time for each tenant.
async fn replace_keys(control: Arc<Control>, open: Open, mut refusals: mpsc::UnboundedReceiver<KeyRefused>) {
    let mut attempts: JoinSet<TenantId> = JoinSet::new();
    let mut busy = BTreeSet::new();
    loop {
        tokio::select! {
            Some(ended) = attempts.join_next() => match ended {
                Ok(tenant) => drop(busy.remove(&tenant)),
                Err(panic) => error!(%panic, "replacing a key failed; it is tried again with the next refusal"),
            },
            refused = refusals.recv() => {
                let Some(refused) = refused else { return };
                let KeyRefused { tenant, key } = &refused;
                if control.is_of_file(tenant) {
                    if let Err(failed) = control.registry.note_refused(tenant, key) {
                        error!(%tenant, "that its key is refused cannot be kept in the state directory: {failed}");
                    }
                } else if busy.insert(tenant.clone()) {
                    attempts.spawn(replace_key(control.clone(), open.clone(), refused));
                }
            }
        }
    }
}

/// Tries until the tenant has another key, or somebody must act.
#[expect(clippy::disallowed_methods, reason = "jitter that no simulation goes through")]
async fn replace_key(control: Arc<Control>, open: Open, refused: KeyRefused) -> TenantId {
    let KeyRefused { tenant, key } = refused;
    let mut pause = KEY_PAUSE;
    let in_use = || control.registry.get(tenant.as_str()).and_then(|tenant| tenant.key()).is_some_and(|k| k == key);
    while in_use() {
        let message = match by_oauth(&open, &tenant).await {
            // A key that the operator gave is validated again and again, and may become good.
            Ok(false) => break,
            Ok(true) => match open.oauth.key_refused(&tenant, &key).await {
                Ok(KeyTrouble::Replaced | KeyTrouble::Verifying | KeyTrouble::Unauthorized(_)) => break,
                Ok(KeyTrouble::Later(message)) => message,
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        warn!(%tenant, "its refused API key could not be replaced yet, and it is tried again: {message}");
        tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * rand::random::<f64>())).await;
        pause = (pause * 2).min(LONGEST_KEY_PAUSE);
    }
    tenant
}

async fn by_oauth(open: &Open, tenant: &TenantId) -> Result<bool, StoreError> {
    let record = open.store.tenant(tenant).await?;
    Ok(record.and_then(|record| record.key).is_some_and(|key| key.origin == Origin::OAuth))
}
