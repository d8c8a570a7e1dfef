//! Refreshing tokens, once per tenant at a time across hosts: Datadog may invalidate a refresh token on use.

use super::answers::NoGrant;
use super::context::{Inner, LEASE, later};
use super::status::Trouble;
use crate::store::{Change, Guard, Lease, NewTokens, Replaces, StoreError, TenantRecord, TokensInfo};
use crate::types::{Secret, TenantId, UnixMillis};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tracing::{debug, error, info, warn};

/// The outcome of a refresh.
pub(super) enum Refreshed {
    /// The new access token; all tokens are stored.
    Fresh(Secret),
    /// The authorisation has ended, and the tenant's status says so.
    Revoked(Trouble),
    /// There is nothing to refresh.
    NoTokens,
    /// A later attempt may succeed.
    Later(String),
}

impl Inner {
    /// Refreshes the tokens of a tenant. The new refresh token is stored in the step that discards the old one.
    pub(super) async fn refresh(&self, lease: &Lease, record: &TenantRecord) -> Result<Refreshed, StoreError> {
        let tenant = &record.id;
        let Some(tokens) = self.store.tokens(tenant).await? else { return Ok(Refreshed::NoTokens) };
        let Some(site) = self.site_of(record) else {
            return Ok(Refreshed::Later(format!("its site {} is no longer configured", record.site)));
        };
        lease.renew(LEASE).await?;
        let outcome = self.datadog.refresh(&site, &tokens.refresh).await;
        let outcomes = &self.metrics;
        let counter = match &outcome {
            Ok(_) => &outcomes.refreshed,
            Err(NoGrant::Invalid(_)) => &outcomes.revoked,
            Err(_) => &outcomes.failed,
        };
        counter.increment(1);
        let grant = match outcome {
            Ok(grant) => grant,
            Err(NoGrant::Invalid(words)) => {
                let trouble = Trouble::revoked(&words);
                let changes = [Change::Tokens(None), Change::Connection(trouble.connection())];
                self.keep(lease, tenant, &changes).await?;
                return Ok(Refreshed::Revoked(trouble));
            }
            Err(NoGrant::Partner(words)) => {
                self.note_partner_fault(&words);
                return Ok(Refreshed::Later(words));
            }
            Err(NoGrant::Later(words) | NoGrant::Refused(words)) => return Ok(Refreshed::Later(words)),
        };
        self.clear_partner_fault();
        let scopes = if grant.scopes.is_empty() { tokens.info.scopes } else { grant.scopes };
        let new = NewTokens {
            access: grant.access.clone(),
            // Without a new one, the old one stays valid.
            refresh: grant.refresh.unwrap_or(tokens.refresh),
            expires: later(self.now(), grant.life),
            scopes,
            replaces: Replaces::Generation(tokens.info.generation),
        };
        let refresh = new.refresh.clone();
        let changes = [Change::Tokens(Some(new))];
        let kept = match self.keep(lease, tenant, &changes).await {
            // This host was frozen for a while. There is no other copy of them, and the generation prevents replacing
            // newer ones.
            Err(StoreError::LeaseLost { .. }) => self.store.apply(tenant, Guard::default(), &changes).await,
            kept => kept,
        };
        match kept {
            Ok(_) => {}
            // An attempt with an unknown outcome has stored them after all.
            Err(StoreError::Stale { .. })
                if self.store.tokens(tenant).await?.is_some_and(|kept| kept.refresh == refresh) => {}
            Err(failed) => {
                error!(%tenant, "new tokens were granted but could not be stored; the customer may have to connect again: {failed}");
                return Err(failed);
            }
        }
        debug!(%tenant, "its tokens were refreshed");
        Ok(Refreshed::Fresh(grant.access))
    }

    /// Refreshes tokens that are due, for the background.
    pub(super) async fn refresh_due(&self, lease: &Lease, record: &TenantRecord) -> Result<(), String> {
        match self.refresh(lease, record).await {
            Ok(Refreshed::Fresh(_) | Refreshed::NoTokens) => Ok(()),
            Ok(Refreshed::Revoked(_)) => {
                info!(tenant = %record.id, "its authorisation has ended; nothing is sent until the customer connects again");
                Ok(())
            }
            Ok(Refreshed::Later(words)) => {
                warn!(tenant = %record.id, "its tokens are not refreshed yet: {words}");
                Err(words)
            }
            Err(failed) => Err(failed.to_string()),
        }
    }
}

/// When tokens are to be refreshed: before they expire, each at a time of its own.
pub(super) fn due(tenant: &TenantId, tokens: &TokensInfo, now: UnixMillis) -> UnixMillis {
    let mut hasher = DefaultHasher::new();
    (tenant, tokens.generation).hash(&mut hasher);
    let chance = hasher.finish() as f64 / u64::MAX as f64;
    // Granted in the future: this clock was set back, or that of the other host is ahead. The tokens' age is unknown
    // then, and a refresh costs little.
    if tokens.granted > later(now, SKEW) { now } else { refresh_at(tokens.granted, tokens.expires, chance) }
}

/// The tolerated difference between the clocks of hosts.
const SKEW: Duration = Duration::from_secs(300);

/// The longest life used in the calculation: longer-lived tokens are not refreshed any earlier before their end.
const LIFE: Duration = Duration::from_secs(3_600);

/// Six to fifteen minutes before the end of an hour's life, and in proportion where it is shorter.
fn refresh_at(granted: UnixMillis, expires: UnixMillis, chance: f64) -> UnixMillis {
    let life = Duration::from_millis(u64::try_from(expires.0.saturating_sub(granted.0)).unwrap_or_default());
    // Lives of seconds would mean constant refreshing; keys do not depend on tokens.
    expires.minus(life.min(LIFE).mul_f64(0.1 + 0.15 * chance)).max(later(granted, Duration::from_secs(5)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Revision;

    #[test]
    fn a_token_is_refreshed_before_it_expires() {
        let at = |life: i64, chance| refresh_at(UnixMillis(0), UnixMillis(life * 1_000), chance).0 / 1_000;
        assert_eq!((at(3_600, 0.0), at(3_600, 1.0)), (3_240, 2_700));
        assert_eq!((at(600, 0.0), at(600, 1.0)), (540, 450));
        assert_eq!(at(86_400, 1.0), 85_500, "a day's is used for nearly a day");
        assert_eq!((at(1, 0.5), at(-1, 0.5)), (5, 5));
    }

    #[test]
    fn tenants_that_connected_together_do_not_refresh_together() {
        let tokens = |generation| TokensInfo {
            expires: UnixMillis(3_600_000),
            scopes: String::new(),
            granted: UnixMillis(0),
            generation: Revision(generation),
        };
        let tenant = TenantId::new("acme").unwrap();
        let times: std::collections::BTreeSet<_> =
            (0..100).map(|generation| due(&tenant, &tokens(generation), UnixMillis(0)).0).collect();
        assert!(times.len() > 90 && times.last().unwrap() - times.first().unwrap() > 400_000, "{times:?}");
    }

    #[test]
    fn tokens_from_the_future_are_refreshed_now() {
        let tokens = TokensInfo {
            expires: UnixMillis(13_600_000),
            scopes: String::new(),
            granted: UnixMillis(10_000_000),
            generation: Revision(1),
        };
        let tenant = TenantId::new("acme").unwrap();
        assert_eq!(due(&tenant, &tokens, UnixMillis(0)), UnixMillis(0));
        assert!(due(&tenant, &tokens, UnixMillis(9_800_000)) >= UnixMillis(12_700_000));
    }
}
