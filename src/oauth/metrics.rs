//! What the OAuth client counts.

use crate::metric::Metric;
use metrics::Counter;

const REFRESHES: Metric<Counter> =
    Metric::new("dogsled_token_refresh_total", "Attempts to refresh a tenant's tokens, by outcome");

/// Refreshes by outcome.
#[derive(Debug)]
pub(super) struct OauthMetrics {
    pub(super) refreshed: Counter,
    pub(super) revoked: Counter,
    pub(super) failed: Counter,
}

impl Default for OauthMetrics {
    fn default() -> Self {
        let outcome = |name| REFRESHES.with(&[("outcome", name)]);
        Self { refreshed: outcome("ok"), revoked: outcome("revoked"), failed: outcome("failed") }
    }
}
