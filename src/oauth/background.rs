//! Background work: refreshing tokens, verifying new keys, reporting interrupted key creations, and applying other
//! hosts' changes to this one.

use super::callback::Hint;
use super::context::{Inner, LEASE, Oauth, PURPOSE, Pause, later};
use super::keys::NoKey;
use super::refresh;
use super::status::Trouble;
use crate::store::{Change, Connection, Lease, Origin, Revision, StoreError, TenantRecord};
use crate::types::{TenantId, UnixMillis};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// The first and the longest pause after a failure.
const PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// The wait while another host works on the tenant.
const TAKEN: Duration = Duration::from_secs(5);

/// The most tenants processed at once.
const AT_ONCE: usize = 16;

/// The longest wait before looking again: the wall clock may be set.
const LOOK: Duration = Duration::from_secs(60);

/// What a tenant needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// Its key's organisation must be verified.
    Verify,
    /// An interrupted key creation must be reported.
    TellOfLostKey,
    /// The organisation of a key that the operator gave is not known yet.
    Identify,
    /// Its tokens are due for a refresh.
    Refresh,
}

impl Oauth {
    /// Registers the store's tenants on this host. To be awaited before telemetry is accepted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load(&self) -> Result<Revision, StoreError> {
        let revision = self.0.store.changes_since(Revision::default()).await?.revision;
        for record in self.0.store.tenants().await? {
            self.0.show(&record).await?;
        }
        Ok(revision)
    }

    /// Applies a tenant's change to this host, or its removal, whichever host made it.
    ///
    /// # Errors
    /// When the store fails; this host keeps the former state of the tenant.
    pub async fn follow(&self, tenant: &TenantId) -> Result<Option<TenantRecord>, StoreError> {
        let record = self.0.store.tenant(tenant).await?;
        match &record {
            Some(record) => self.0.show(record).await?,
            None => self.0.forget(tenant),
        }
        self.0.changed.tell(tenant.clone());
        Ok(record)
    }

    /// Processes each tenant's due work until dropped. Changes are announced by [`follow`](Self::follow).
    pub async fn run(&self) {
        let changed = &self.0.changed;
        let mut due: BTreeMap<TenantId, UnixMillis> = BTreeMap::new();
        let mut pause = Duration::from_secs(1);
        loop {
            match self.0.store.tenants().await {
                Ok(tenants) => break due.extend(tenants.into_iter().map(|tenant| (tenant.id, UnixMillis(0)))),
                Err(error) => warn!("cannot list the tenants yet, so their tokens are not refreshed: {error}"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE);
        }
        loop {
            due.extend(changed.take().into_iter().map(|tenant| (tenant, UnixMillis(0))));
            let now = self.0.now();
            let ready: Vec<_> = due.iter().filter(|(_, at)| **at <= now).map(|(tenant, _)| tenant.clone()).collect();
            // For tenants whose task fails without a result.
            due.extend(ready.iter().map(|tenant| (tenant.clone(), later(now, LONGEST_PAUSE))));
            for (tenant, next) in self.attend(ready).await {
                match next {
                    Some(at) => due.insert(tenant, at),
                    None => due.remove(&tenant),
                };
            }
            let next = due.values().min().map_or(LOOK, |at| {
                Duration::from_millis(u64::try_from(at.0.saturating_sub(self.0.now().0)).unwrap_or_default())
            });
            // The timeout is the normal case.
            let _ = tokio::time::timeout(next.min(LOOK), changed.told.notified()).await;
        }
    }

    /// Processes the due work of all tenants once. [`run`](Self::run) repeats that for ever.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn run_once(&self) -> Result<(), StoreError> {
        let tenants = self.0.store.tenants().await?.into_iter().map(|tenant| tenant.id).collect();
        self.attend(tenants).await;
        Ok(())
    }

    /// Processes the due work of these tenants, and returns when to look at each again.
    async fn attend(&self, tenants: Vec<TenantId>) -> Vec<(TenantId, Option<UnixMillis>)> {
        let mut tasks = JoinSet::new();
        let mut done = Vec::with_capacity(tenants.len());
        let finished = |ended: Result<_, tokio::task::JoinError>, done: &mut Vec<_>| match ended {
            Ok(next) => done.push(next),
            Err(panic) => {
                warn!(%panic, "background work for a tenant panicked; it is tried again in ten minutes, or when the tenant changes")
            }
        };
        for tenant in tenants {
            if tasks.len() >= AT_ONCE
                && let Some(ended) = tasks.join_next().await
            {
                finished(ended, &mut done);
            }
            let inner = self.0.clone();
            tasks.spawn(async move {
                let next = inner.attend(&tenant).await;
                (tenant, next)
            });
        }
        while let Some(ended) = tasks.join_next().await {
            finished(ended, &mut done);
        }
        done
    }
}

impl Inner {
    /// Forgets a tenant that was removed.
    fn forget(&self, tenant: &TenantId) {
        if !self.is_of_file(tenant) {
            self.registry.remove(tenant);
        }
        self.pauses().remove(tenant);
        self.dropped().remove(tenant);
    }

    /// Processes a tenant's due work, and returns when to look again; `None` when only a change can make something due.
    async fn attend(self: &Arc<Self>, tenant: &TenantId) -> Option<UnixMillis> {
        match self.try_attend(tenant).await {
            Ok(next) => next,
            Err(error) => {
                debug!(%tenant, "its background work failed: {error}");
                Some(self.pause(tenant))
            }
        }
    }

    async fn try_attend(self: &Arc<Self>, tenant: &TenantId) -> Result<Option<UnixMillis>, StoreError> {
        let Some(record) = self.store.tenant(tenant).await? else {
            self.forget(tenant);
            return Ok(None);
        };
        let now = self.now();
        let Some((_, at)) = task(&record, now) else { return Ok(None) };
        let paused = self.pauses().get(tenant).map(|pause| pause.until).filter(|until| *until > now);
        if let Some(later) = paused.or((at > now).then_some(at)) {
            return Ok(Some(later));
        }
        let Some(_place) = self.in_flight.begin() else { return Ok(Some(later(now, LONGEST_PAUSE))) };
        let Some(lease) = self.store.lock(tenant, PURPOSE, LEASE).await? else { return Ok(Some(later(now, TAKEN))) };
        // Under the lease: another host may have done it meanwhile.
        let Some(record) = self.store.tenant(tenant).await? else { return Ok(None) };
        let done = match task(&record, now) {
            Some((task, at)) if at <= now => self.perform(task, &lease, &record).await,
            _ => Ok(()),
        };
        lease.release().await?;
        if done.is_err() {
            return Ok(Some(self.pause(tenant)));
        }
        self.pauses().remove(tenant);
        let record = self.store.tenant(tenant).await?;
        Ok(record.and_then(|record| task(&record, now)).map(|(_, at)| at))
    }

    async fn perform(&self, task: Task, lease: &Lease, record: &TenantRecord) -> Result<(), String> {
        match task {
            Task::Verify => match self.verify(lease, record.clone(), &Hint::default(), 1).await {
                Ok(record) if record.connection == Connection::Connected => Ok(()),
                Ok(_) => Err("not yet".into()),
                Err(NoKey::Trouble(_) | NoKey::Held(..)) => Ok(()),
                Err(NoKey::Later(words)) => Err(words),
                Err(NoKey::Store(error)) => Err(error.to_string()),
            },
            Task::TellOfLostKey => {
                let trouble = Trouble::key_lost("this service was stopped in between");
                let told = self.keep(lease, &record.id, &[Change::Connection(trouble.connection())]).await;
                told.map(drop).map_err(|error| error.to_string())
            }
            Task::Identify => self.identify(lease, record).await,
            Task::Refresh if !self.settings.get().oauth.is_configured() => Err("no OAuth client is configured".into()),
            Task::Refresh if self.partner_fault().as_ref().is_some_and(|fault| fault.next > self.now()) => {
                Err("Datadog refuses this service's OAuth client".into())
            }
            Task::Refresh => self.refresh_due(lease, record).await,
        }
    }

    /// Backs off from a tenant, longer each time.
    #[expect(clippy::disallowed_methods, reason = "jitter that no simulation goes through")]
    fn pause(&self, tenant: &TenantId) -> UnixMillis {
        let mut pauses = self.pauses();
        let tries = pauses.get(tenant).map_or(0, |pause| pause.tries);
        let wait = PAUSE.saturating_mul(2_u32.saturating_pow(tries)).min(LONGEST_PAUSE);
        // With jitter: a thousand tenants that failed together must not come back together.
        let until = later(self.now(), wait.mul_f64(0.5 + 0.5 * rand::random::<f64>()));
        pauses.insert(tenant.clone(), Pause { tries: tries.saturating_add(1), until });
        until
    }
}

/// The next task of a tenant, and when it is due. Pure.
fn task(record: &TenantRecord, now: UnixMillis) -> Option<(Task, UnixMillis)> {
    let oauth_key = record.key.as_ref().is_some_and(|key| key.origin == Origin::OAuth);
    if record.connection == Connection::Pending && oauth_key {
        return Some((Task::Verify, now));
    }
    if record.connection == Connection::Pending && record.key_creation_begun.is_some() {
        return Some((Task::TellOfLostKey, now));
    }
    if record.connection == Connection::Connected
        && record.key.as_ref().is_some_and(|key| key.origin == Origin::Static)
        && record.generations.organisation().is_none()
    {
        return Some((Task::Identify, now));
    }
    let tokens = record.tokens.as_ref()?;
    Some((Task::Refresh, refresh::due(&record.id, tokens, now)))
}
