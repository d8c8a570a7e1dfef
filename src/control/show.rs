//! Showing tenants.

use super::view::time;
use super::{Control, ControlError};
use crate::api::{KeyView, OauthView, QueueView, Source, StatusView, StoreView, TenantList, TenantView, TokensView};
use crate::oauth;
use crate::queue::LaneFigures;
use crate::store::{StoreError, TenantRecord};
use crate::tenancy::{Hold, Tenant, TenantState};
use crate::types::{TenantId, UnixMillis};
use std::collections::HashMap;
use std::sync::Arc;

impl Control {
    /// All tenants by their ids. When the store fails, those of the configuration file.
    pub async fn list(&self) -> TenantList {
        let now = UnixMillis::now();
        let settings = self.settings();
        let mut tenants: Vec<TenantView> = settings
            .tenants
            .keys()
            .filter_map(|id| self.registry.get(id.as_str()))
            .map(|tenant| self.of_file(&tenant))
            .collect();
        let records = match self.open() {
            Ok(open) => open.store.tenants().await.map_err(ControlError::from),
            Err(error) => Err(error),
        };
        let (records, incomplete) = match records {
            Ok(records) => (records, None),
            Err(error) => (vec![], Some(error.to_string())),
        };
        let theirs = records.iter().filter(|record| !settings.tenants.contains_key(&record.id));
        let queues = self.queue_by_tenant(now);
        tenants.extend(theirs.map(|record| self.of_store(record, queues.get(&record.id).copied(), now)));
        tenants.sort_by(|a, b| a.id.cmp(&b.id));
        TenantList { tenants, incomplete }
    }

    /// One tenant.
    ///
    /// # Errors
    /// When there is no such tenant, or the store fails.
    pub async fn show(&self, id: &TenantId) -> Result<TenantView, ControlError> {
        if self.is_of_file(id)
            && let Some(tenant) = self.registry.get(id.as_str())
        {
            return Ok(self.of_file(&tenant));
        }
        let record = self.open()?.store.tenant(id).await?.ok_or_else(|| StoreError::UnknownTenant(id.clone()))?;
        Ok(self.view(&record))
    }

    /// Everything at a glance; `not_ready` says why telemetry is not taken.
    pub async fn status(&self, not_ready: Option<&str>) -> StatusView {
        let TenantList { tenants, incomplete } = self.list().await;
        let mut queue = QueueView::default();
        for one in self.queue_by_tenant(UnixMillis::now()).into_values() {
            queue.add(one);
        }
        let open = self.open.get();
        let place = open.map_or_else(|| self.settings().store.url.to_string(), |open| open.store.address().to_owned());
        let refused = open.and_then(|open| open.oauth.partner_fault()).map(|fault| fault.words);
        StatusView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            not_ready: not_ready.map(str::to_owned),
            store: StoreView { place, open: open.is_some(), error: incomplete },
            oauth: OauthView { configured: self.settings().oauth.is_configured(), refused },
            queue,
            tenants,
        }
    }

    /// What is queued of all tenants that ever had items.
    fn queue_by_tenant(&self, now: UnixMillis) -> HashMap<TenantId, QueueView> {
        let queues = self.queues.all();
        queues.into_iter().map(|queue| (queue.id.clone(), self.sum_of(&queue.id, queue.figures(), now))).collect()
    }

    fn sum_of(&self, id: &TenantId, lanes: Vec<LaneFigures>, now: UnixMillis) -> QueueView {
        let hold = self.registry.get(id.as_str()).map(|tenant| tenant.terms().1);
        let mut view = QueueView::default();
        for figures in lanes.into_iter().chain(self.delivery.figures(id)) {
            let oldest = figures.oldest.filter(|_| figures.items > 0);
            let awaits =
                |hold: &Hold| oldest.is_some_and(|oldest| hold.awaits_decision(figures.lane.generation, oldest));
            view.add(QueueView {
                items: figures.items,
                bytes: figures.bytes as u64,
                oldest_seconds: oldest.map(|oldest| seconds(oldest, now)),
                held_items: if hold.as_ref().is_some_and(awaits) { figures.items } else { 0 },
            });
        }
        view
    }

    /// What is queued of a tenant.
    pub(super) fn queue_of(&self, id: &TenantId) -> QueueView {
        let queue = self.queues.all().into_iter().find(|queue| queue.id == *id);
        queue.map_or_else(QueueView::default, |queue| self.sum_of(id, queue.figures(), UnixMillis::now()))
    }

    pub(super) fn view(&self, record: &TenantRecord) -> TenantView {
        self.of_store(record, Some(self.queue_of(&record.id)), UnixMillis::now())
    }

    fn of_store(&self, record: &TenantRecord, queue: Option<QueueView>, now: UnixMillis) -> TenantView {
        let id = &record.id;
        let live = self.registry.get(id.as_str());
        let state = live.map_or(TenantState::Pending, |tenant| tenant.state());
        let queue = queue.unwrap_or_default();
        // Another organisation's telemetry concerns the operator only while some of it is queued here.
        let held = record.held_for.as_ref().filter(|_| queue.held_items > 0);
        let shown = TenantRecord { held_for: held.cloned(), ..record.clone() };
        let oauth::Status { text: status, mut to_do } = oauth::status(&shown, now);
        if queue.held_items > 0 && held.is_none() {
            let decide = decide_held(id, queue.held_items);
            to_do = Some(to_do.map_or_else(|| decide.clone(), |first| format!("{first} {decide}")));
        }
        let (own, settings) = (record.own(), self.settings());
        TenantView {
            id: id.to_string(),
            display_name: record.display_name.clone(),
            site: record.site.clone(),
            source: Source::Store,
            state,
            paused: record.paused,
            status,
            to_do,
            organisation: record.organisation.as_ref().map(Into::into),
            held_for: held.map(Into::into),
            key: record.key.as_ref().map(|key| KeyView::new(key, now)),
            tokens: record.tokens.as_ref().map(|tokens| TokensView::new(tokens, now)),
            limits: own.limits,
            journal: own.journal,
            in_effect: own.over(settings.allowance()).into(),
            queue,
            rate_limits: self.delivery.rate_limits_left(id).into_iter().map(Into::into).collect(),
            last_error: self.delivery.last_error(id).map(Into::into),
            created_at: Some(time(record.created)),
            updated_at: Some(time(record.updated)),
        }
    }

    fn of_file(&self, tenant: &Arc<Tenant>) -> TenantView {
        let id = &tenant.id;
        let (key, state) = (tenant.key(), tenant.state());
        let (status, to_do) = match (&key, state) {
            (None, _) => {
                let to_do = format!("Set tenants.{id}.api_key_file, and reload the configuration.");
                ("without an API key; telemetry is held".to_owned(), Some(to_do))
            }
            (Some(_), TenantState::Unauthorized) => {
                let to_do = format!("Put a good key into tenants.{id}.api_key_file, and reload the configuration.");
                ("Datadog refuses the API key of the configuration file; telemetry is held".to_owned(), Some(to_do))
            }
            _ => (format!("has the API key of the configuration file, on {}", tenant.site.name), None),
        };
        let queue = self.queue_of(id);
        let to_do = to_do.or_else(|| (queue.held_items > 0).then(|| decide_held(id, queue.held_items)));
        let meter = self.registry.meters().of(id);
        let own = meter.overrides();
        TenantView {
            id: id.to_string(),
            display_name: String::new(),
            site: tenant.site.name.clone(),
            source: Source::Static,
            state,
            paused: false,
            status,
            to_do,
            organisation: None,
            held_for: None,
            key: key.map(|_| KeyView::of_file()),
            tokens: None,
            limits: own.limits,
            journal: own.journal,
            in_effect: meter.allowance().into(),
            queue,
            rate_limits: self.delivery.rate_limits_left(id).into_iter().map(Into::into).collect(),
            last_error: self.delivery.last_error(id).map(Into::into),
            created_at: None,
            updated_at: None,
        }
    }
}

/// What is to be done about telemetry that was accepted for an earlier tenant, or for the organisation of a former key.
fn decide_held(id: &TenantId, items: u64) -> String {
    format!(
        "{items} items were accepted for an earlier tenant {id}, or for another organisation than the key's, and are held: \
         send them to the present organisation (`dogsled tenant held release {id}`) or drop them (`dogsled tenant held drop \
         {id}`)."
    )
}

/// The age of something, in seconds.
fn seconds(since: UnixMillis, now: UnixMillis) -> f64 {
    (now.0 - since.0).max(0) as f64 / 1e3
}
