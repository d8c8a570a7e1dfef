//! What `/metrics` shows.

use std::collections::BTreeMap;

/// One scrape: values by name and labels.
#[derive(Debug, Default)]
pub struct Scrape {
    values: BTreeMap<String, Vec<Sample>>,
}

/// Labels and value.
type Sample = (BTreeMap<String, String>, f64);

impl Scrape {
    /// Reads the text format, as far as the daemon uses it.
    pub fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line:?}"));
            let label = |pair: &str| {
                let (name, value) = pair.split_once('=').unwrap();
                (name.to_owned(), value.trim_matches('"').to_owned())
            };
            let labels = labels.split(',').filter(|pair| !pair.is_empty()).map(label).collect();
            scrape.values.entry(name.to_owned()).or_default().push((labels, value.parse().unwrap()));
        }
        scrape
    }

    /// The sum of all series of a name that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |have: &BTreeMap<String, String>| {
            labels.iter().all(|(name, value)| have.get(*name).is_some_and(|have| have == value))
        };
        self.values.get(name).into_iter().flatten().filter(|(have, _)| fits(have)).map(|(_, value)| value).sum()
    }

    /// How many series of a name there are.
    pub fn count(&self, name: &str) -> usize {
        self.values.get(name).map_or(0, Vec::len)
    }

    /// A count of items of a tenant, of all kinds, such as `items_delivered_total`.
    pub fn items(&self, tenant: &str, name: &str) -> u64 {
        self.sum(&format!("dogsled_{name}"), &[("tenant", tenant)]) as u64
    }

    /// Whether nothing of a tenant is queued.
    pub fn is_empty(&self, tenant: &str) -> bool {
        self.items(tenant, "queue_items") == 0
    }

    /// The state of a tenant.
    pub fn state(&self, tenant: &str) -> Option<String> {
        let states = self.values.get("dogsled_tenant_state")?.iter();
        let mut states = states.filter(|(labels, value)| labels["tenant"] == tenant && *value == 1.0);
        states.next().map(|(labels, _)| labels["state"].clone())
    }

    /// Every tenant and kind with accepted items.
    pub fn accounts(&self) -> Vec<(String, String)> {
        let accepted = self.values.get("dogsled_items_accepted_total").into_iter().flatten();
        accepted.map(|(labels, _)| (labels["tenant"].clone(), labels["kind"].clone())).collect()
    }

    /// Fails unless accepted = delivered + queued + dead-lettered + dropped, for every tenant and kind.
    pub fn assert_balanced(&self) {
        for (tenant, kind) in self.accounts() {
            let labels = [("tenant", tenant.as_str()), ("kind", kind.as_str())];
            let of = |name: &str| self.sum(&format!("dogsled_{name}"), &labels);
            let accepted = of("items_accepted_total");
            let parts = ["items_delivered_total", "queue_items", "items_dead_lettered_total", "items_dropped_total"];
            let parts = parts.map(|name| (name, of(name)));
            let sum: f64 = parts.iter().map(|(_, value)| value).sum();
            assert_eq!(accepted, sum, "{tenant} {kind}: {parts:?}");
        }
    }
}
