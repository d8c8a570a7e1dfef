//! Items delivered in a second: the growth of a counter between two looks at the daemon's metrics.

use crate::cli::admin::{Client, Failure};
use crate::ledger::metrics::DELIVERED;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Instant;

/// The items delivered so far, by tenant.
#[derive(Debug)]
pub(super) struct Sample {
    at: Instant,
    delivered: BTreeMap<String, f64>,
}

/// Items delivered in a second, by tenant. Those that share a label in the metrics (`tenancy.max_labels`) are not here.
#[derive(Debug, Default)]
pub(super) struct Rates(BTreeMap<String, f64>);

impl Sample {
    /// Looks at the metrics.
    #[expect(clippy::disallowed_methods, reason = "a command, run once, with no clock to pause")]
    pub(super) async fn take(client: &Client) -> Result<Self, Failure> {
        let text = client.metrics().await?;
        Ok(Self { at: Instant::now(), delivered: delivered(&text) })
    }

    /// What was delivered in a second since then.
    pub(super) fn since(&self, before: &Self) -> Rates {
        let seconds = self.at.duration_since(before.at).as_secs_f64().max(0.001);
        let rate = |(tenant, now): (&String, &f64)| {
            // A daemon that was started meanwhile counts from zero.
            let then = before.delivered.get(tenant).copied().filter(|then| then <= now).unwrap_or_default();
            (tenant.clone(), (now - then) / seconds)
        };
        Rates(self.delivered.iter().map(rate).collect())
    }
}

impl Rates {
    /// That of a tenant, if it is known.
    pub(super) fn of(&self, tenant: &str) -> Option<f64> {
        self.0.get(tenant).copied()
    }

    /// The daemon's answer, with `delivered_per_second` of every tenant.
    pub(super) fn added_to(&self, mut answer: Value) -> Value {
        for tenant in answer["tenants"].as_array_mut().into_iter().flatten() {
            let rate = tenant["id"].as_str().and_then(|id| self.of(id)).map(|rate| (rate * 10.0).round() / 10.0);
            tenant["delivered_per_second"] = rate.into();
        }
        answer
    }
}

fn delivered(metrics: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in metrics.lines() {
        // Neither a tenant's id nor a kind holds a quotation mark or a brace.
        let series = line.strip_prefix(DELIVERED.name()).and_then(|rest| rest.strip_prefix('{'));
        let Some((labels, value)) = series.and_then(|rest| rest.split_once("} ")) else { continue };
        let tenant = labels.split(',').find_map(|label| label.strip_prefix("tenant=\"")?.strip_suffix('"'));
        if let (Some(tenant), Ok(value)) = (tenant, value.trim().parse::<f64>()) {
            *sums.entry(tenant.to_owned()).or_default() += value;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    const METRICS: &str = "\
# TYPE dogsled_items_delivered_total counter
dogsled_items_delivered_total{tenant=\"acme\",kind=\"logs\"} 30
dogsled_items_delivered_total{tenant=\"acme\",kind=\"series_v2\"} 12
dogsled_items_delivered_total{kind=\"logs\",tenant=\"globex\"} 5
dogsled_items_accepted_total{tenant=\"acme\",kind=\"logs\"} 99
";

    #[test]
    fn all_kinds_of_a_tenant_are_counted_together() {
        let expected = BTreeMap::from([("acme".to_owned(), 42.0), ("globex".to_owned(), 5.0)]);
        assert_eq!(delivered(METRICS), expected);
    }

    #[test]
    fn rates_survive_a_restart_of_the_daemon() {
        let at = Instant::now();
        let before =
            Sample { at, delivered: BTreeMap::from([("acme".to_owned(), 22.0), ("globex".to_owned(), 100.0)]) };
        let now = Sample { at: at + Duration::from_secs(2), delivered: delivered(METRICS) };
        let rates = now.since(&before);
        assert_eq!((rates.of("acme"), rates.of("globex"), rates.of("initech")), (Some(10.0), Some(2.5), None));
        let answer = rates.added_to(json!({ "tenants": [{ "id": "acme" }, { "id": "initech" }] }));
        let told: Vec<_> =
            answer["tenants"].as_array().unwrap().iter().map(|row| &row["delivered_per_second"]).collect();
        assert_eq!(told, [&json!(10.0), &Value::Null]);
    }
}
