//! The states of tenants.

use crate::metric::Metric;
use metrics::Gauge;

pub(crate) const STATE: Metric<Gauge> = Metric::new(
    "dogsled_tenant_state",
    "1 for the state that a tenant is in; for the tenant other, how many are in it",
);
