//! `/metrics` in Prometheus' text format.
//!
//! What is counted on the way (requests, times, sizes) comes from the `metrics` recorder. What must hold together comes
//! straight from the ledger and the queues at the moment of the scrape: each account is read in one go, so accepted =
//! delivered + queued + dead-lettered + dropped holds in every scrape.

use crate::deliver::Delivery;
use crate::journal::Health;
use crate::ledger::{Balance, DropReason, Ledger};
use crate::queue::Queues;
use crate::tenancy::{Registry, TenantState};
use crate::types::{Endpoint, Kind, TenantId, UnixMillis};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The label of tenants beyond the configured number.
const OTHER: &str = "other";

/// Installs the process's metrics recorder.
///
/// # Errors
/// When one is installed already.
pub fn install_recorder() -> Result<PrometheusHandle, BuildError> {
    let seconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
    let bytes = [1e3, 4e3, 16e3, 64e3, 256e3, 512e3, 1e6, 2e6, 5e6];
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &seconds)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &bytes)?
        .install_recorder()
}

/// What `/metrics` shows.
#[derive(Debug)]
pub struct Exposition {
    recorder: PrometheusHandle,
    ledger: Arc<Ledger>,
    queues: Arc<Queues>,
    delivery: Arc<Delivery>,
    registry: Arc<Registry>,
    max_tenants: usize,
    /// Tenants with a label of their own, first come first served and for good: a series must not change its meaning.
    labelled: Mutex<HashSet<TenantId>>,
}

#[derive(Default)]
struct Row {
    balance: Balance,
    bytes: usize,
    oldest: Option<UnixMillis>,
}

impl Exposition {
    /// An exposition in which at most `max_tenants` tenants have labels of their own.
    pub fn new(
        recorder: PrometheusHandle,
        ledger: Arc<Ledger>,
        queues: Arc<Queues>,
        delivery: Arc<Delivery>,
        registry: Arc<Registry>,
        max_tenants: usize,
    ) -> Self {
        Self { recorder, ledger, queues, delivery, registry, max_tenants, labelled: Mutex::default() }
    }

    /// Whether the journal cannot be written.
    pub fn journal_fails(&self) -> bool {
        matches!(self.queues.journal().health(), Health::Failing(_))
    }

    /// The text of one scrape.
    pub fn render(&self, now: UnixMillis) -> String {
        self.recorder.run_upkeep();
        let mut text = self.recorder.render();
        let rows = self.rows();
        type Value = fn(&Row, UnixMillis) -> String;
        let families: [(&str, &str, Value); 7] = [
            ("items_accepted_total", "counter", |row, _| row.balance.accepted.to_string()),
            ("items_delivered_total", "counter", |row, _| row.balance.delivered.to_string()),
            ("items_dead_lettered_total", "counter", |row, _| row.balance.dead_lettered.to_string()),
            ("items_late_total", "counter", |row, _| row.balance.late.to_string()),
            ("queue_items", "gauge", |row, _| row.balance.queued.to_string()),
            ("queue_bytes", "gauge", |row, _| row.bytes.to_string()),
            ("queue_oldest_seconds", "gauge", |row, now| {
                let age = row.oldest.map_or(0, |oldest| (now.0 - oldest.0).max(0));
                format!("{}.{:03}", age / 1000, age % 1000)
            }),
        ];
        // Writing to a String cannot fail.
        for (name, form, value) in families {
            let _ = writeln!(text, "# TYPE dogsled_{name} {form}");
            for ((tenant, kind), row) in &rows {
                let value = value(row, now);
                let _ = writeln!(text, "dogsled_{name}{{tenant=\"{tenant}\",kind=\"{kind}\"}} {value}");
            }
        }
        let _ = writeln!(text, "# TYPE dogsled_items_dropped_total counter");
        for ((tenant, kind), row) in &rows {
            for reason in DropReason::ALL {
                let (name, count) = (reason.name(), row.balance.dropped[reason as usize]);
                let labels = format!("tenant=\"{tenant}\",kind=\"{kind}\",reason=\"{name}\"");
                let _ = writeln!(text, "dogsled_items_dropped_total{{{labels}}} {count}");
            }
        }
        self.tenant_states(&mut text);
        self.rate_limits(&mut text);
        self.dead_letters(&mut text);
        let journal = self.queues.journal();
        let figures = journal.figures();
        for (name, value) in [
            ("memory_queue_bytes", self.queues.memory_used() as u64),
            ("journal_bytes", figures.bytes),
            ("journal_live_bytes", figures.live_bytes),
            ("journal_segments", figures.segments as u64),
            ("journal_writable", u64::from(!self.journal_fails())),
        ] {
            let _ = writeln!(text, "# TYPE dogsled_{name} gauge\ndogsled_{name} {value}");
        }
        text
    }

    fn rows(&self) -> BTreeMap<(String, Kind), Row> {
        let mut rows: BTreeMap<(String, Kind), Row> = BTreeMap::new();
        for (tenant, kind, balance) in self.ledger.read() {
            rows.entry((self.label(&tenant), kind)).or_default().balance.add(&balance);
        }
        for queue in self.queues.all() {
            let tenant = self.label(&queue.id);
            let waiting = queue.figures();
            let under_way = self.delivery.figures(&queue.id);
            for lane in waiting.into_iter().chain(under_way) {
                let row = rows.entry((tenant.clone(), lane.kind)).or_default();
                row.bytes += lane.bytes;
                row.oldest = row.oldest.into_iter().chain(lane.oldest).min();
            }
        }
        rows
    }

    /// One series a tenant and state, 1 for the state it is in; under `other`, how many are in each. Where there are
    /// not labels enough for all, tenants that have sent nothing take none from those that will.
    fn tenant_states(&self, text: &mut String) {
        let mut states: BTreeMap<String, [u64; TenantState::ALL.len()]> = BTreeMap::new();
        let tenants = self.registry.all();
        let enough = tenants.len() <= self.max_tenants;
        for tenant in tenants {
            let label = if enough || self.is_labelled(&tenant.id) { tenant.id.as_str() } else { OTHER };
            states.entry(label.to_owned()).or_default()[tenant.state() as usize] += 1;
        }
        let _ = writeln!(text, "# TYPE dogsled_tenant_state gauge");
        for (tenant, counts) in states {
            for (state, count) in TenantState::ALL.into_iter().zip(counts) {
                let state = state.name();
                let _ = writeln!(text, "dogsled_tenant_state{{tenant=\"{tenant}\",state=\"{state}\"}} {count}");
            }
        }
    }

    /// What is left of rate limits, where Datadog tells of any; under `other`, the least that one of them has left.
    fn rate_limits(&self, text: &mut String) {
        let mut least: BTreeMap<(String, Endpoint), u64> = BTreeMap::new();
        for queue in self.queues.all() {
            for (endpoint, left) in self.delivery.rate_limits_left(&queue.id) {
                let known = least.entry((self.label(&queue.id), endpoint)).or_insert(left);
                *known = left.min(*known);
            }
        }
        let _ = writeln!(text, "# TYPE dogsled_rate_limit_remaining gauge");
        for ((tenant, endpoint), left) in least {
            let labels = format!("tenant=\"{tenant}\",endpoint=\"{}\"", endpoint.path());
            let _ = writeln!(text, "dogsled_rate_limit_remaining{{{labels}}} {left}");
        }
    }

    /// What dead letters take on the disk, of tenants that have any.
    fn dead_letters(&self, text: &mut String) {
        let _ = writeln!(text, "# TYPE dogsled_dead_letter_bytes gauge");
        // What the system does not tell cannot be shown; it is told when the next letter is to be written.
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for (tenant, bytes) in self.delivery.dead_letter_bytes().unwrap_or_default() {
            *sums.entry(self.label(&tenant)).or_default() += bytes;
        }
        for (tenant, bytes) in sums {
            let _ = writeln!(text, "dogsled_dead_letter_bytes{{tenant=\"{tenant}\"}} {bytes}");
        }
    }

    fn is_labelled(&self, tenant: &TenantId) -> bool {
        self.labelled().contains(tenant)
    }

    fn labelled(&self) -> MutexGuard<'_, HashSet<TenantId>> {
        self.labelled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn label(&self, tenant: &TenantId) -> String {
        let mut labelled = self.labelled();
        if labelled.contains(tenant) {
            return tenant.to_string();
        }
        if labelled.len() >= self.max_tenants {
            return OTHER.to_owned();
        }
        labelled.insert(tenant.clone());
        tenant.to_string()
    }
}
