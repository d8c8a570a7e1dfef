//! `/metrics` in Prometheus' text format.
//!
//! What is counted on the way (requests, times, sizes) comes from the `metrics` recorder. What must hold together comes
//! straight from the ledger and the queues at the moment of the scrape: each account is read in one go, so accepted =
//! delivered + queued + dead-lettered + dropped holds in every scrape.

use crate::deliver::Delivery;
use crate::deliver::metrics::{DEAD_LETTER_BYTES, RATE_LIMIT_REMAINING};
use crate::journal::{Health, metrics as journal};
use crate::ledger::{Balance, DropReason, Ledger, metrics as ledger};
use crate::metric::{Metric, Recorder};
use crate::queue::{Queues, metrics as queue};
use crate::tenancy::metrics::STATE;
use crate::tenancy::{Registry, TenantState};
use crate::types::{Endpoint, Kind, TenantId, UnixMillis};
use metrics::Counter;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The label of tenants beyond the configured number.
const OTHER: &str = "other";

/// What `/metrics` shows.
#[derive(Debug)]
pub struct Exposition {
    recorder: Recorder,
    ledger: Arc<Ledger>,
    queues: Arc<Queues>,
    delivery: Arc<Delivery>,
    registry: Arc<Registry>,
    max_tenants: usize,
    /// Tenants with a label of their own, first come first served and for good: a series must not change its meaning.
    labelled: Mutex<HashSet<TenantId>>,
}

/// One figure of a balance.
type Figure = fn(&Balance) -> u64;

/// The labels of what is counted by tenant and kind.
const OF: [&str; 2] = ["tenant", "kind"];

fn labels((tenant, kind): &(String, Kind)) -> [&str; 2] {
    [tenant, kind.name()]
}

#[derive(Default)]
struct Row {
    balance: Balance,
    bytes: usize,
    oldest: Option<UnixMillis>,
}

impl Row {
    fn age_seconds(&self, now: UnixMillis) -> String {
        let age = self.oldest.map_or(0, |oldest| (now.0 - oldest.0).max(0));
        format!("{}.{:03}", age / 1000, age % 1000)
    }
}

impl Exposition {
    /// An exposition in which at most `max_tenants` tenants have labels of their own.
    pub fn new(
        recorder: Recorder,
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
        let mut exposition = self.recorder.render();
        let rows = self.rows();
        let text = &mut exposition;
        let balances: [(&Metric<Counter>, Figure); 4] = [
            (&ledger::ACCEPTED, |balance| balance.accepted),
            (&ledger::DELIVERED, |balance| balance.delivered),
            (&ledger::DEAD_LETTERED, |balance| balance.dead_lettered),
            (&ledger::LATE, |balance| balance.late),
        ];
        for (metric, value) in balances {
            metric.expose(text, OF, rows.iter().map(|(of, row)| (labels(of), value(&row.balance))));
        }
        let dropped = rows.iter().flat_map(|(of, row)| {
            DropReason::ALL.map(|reason| ([&*of.0, of.1.name(), reason.name()], row.balance.dropped[reason as usize]))
        });
        ledger::DROPPED.expose(text, ["tenant", "kind", "reason"], dropped);
        ledger::QUEUED.expose(text, OF, rows.iter().map(|(of, row)| (labels(of), row.balance.queued)));
        queue::BYTES.expose(text, OF, rows.iter().map(|(of, row)| (labels(of), row.bytes)));
        queue::OLDEST.expose(text, OF, rows.iter().map(|(of, row)| (labels(of), row.age_seconds(now))));
        self.tenant_states(text);
        self.rate_limits(text);
        self.dead_letters(text);
        let journal = self.queues.journal();
        let figures = journal.figures();
        let gauges = [
            (&queue::MEMORY, self.queues.memory_used() as u64),
            (&journal::BYTES, figures.bytes),
            (&journal::LIVE_BYTES, figures.live_bytes),
            (&journal::SEGMENTS, figures.segments as u64),
            (&journal::WRITABLE, u64::from(!self.journal_fails())),
        ];
        for (metric, value) in gauges {
            metric.expose(text, [], [([""; 0], value)]);
        }
        exposition
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
                let row = rows.entry((tenant.clone(), lane.lane.kind)).or_default();
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
        let series = states.iter().flat_map(|(tenant, counts)| {
            TenantState::ALL.map(|state| ([tenant.as_str(), state.name()], counts[state as usize]))
        });
        STATE.expose(text, ["tenant", "state"], series);
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
        let series = least.iter().map(|((tenant, endpoint), left)| ([tenant.as_str(), endpoint.path()], left));
        RATE_LIMIT_REMAINING.expose(text, ["tenant", "endpoint"], series);
    }

    /// What dead letters take on the disk, of tenants that have any.
    fn dead_letters(&self, text: &mut String) {
        // What the system does not tell cannot be shown; it is told when the next letter is to be written.
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for (tenant, bytes) in self.delivery.dead_letter_bytes().unwrap_or_default() {
            *sums.entry(self.label(&tenant)).or_default() += bytes;
        }
        DEAD_LETTER_BYTES.expose(text, ["tenant"], sums.iter().map(|(tenant, bytes)| ([tenant], bytes)));
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
