//! `[limits]`, and what a tenant may do in all.

use super::Quota;
use super::form::{Number, Size};
use super::key::section;
use std::ops::RangeInclusive;

section! {
    /// How fast each tenant may send. A second's worth may come at once; a tenant that sends faster is told to come back
    /// later (429).
    pub struct Limits {
        /// Items a second; 0 for no limit.
        items_per_second: u64 = 0, Number(Limits::ITEMS);
        /// Bytes of items a second, uncompressed; 0 for no limit.
        bytes_per_second: usize = 0, Size(Limits::BYTES);
    }
}

/// What a tenant may do.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Allowance {
    /// How fast it may send.
    pub limits: Limits,
    /// How much of its telemetry is queued.
    pub quota: Quota,
}

impl Copy for Limits {}

impl Limits {
    pub(super) const ITEMS: RangeInclusive<u64> = 0..=1_000_000_000;
    pub(super) const BYTES: RangeInclusive<u64> = 0..=1 << 40;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{OwnQuota, Settings, WhenFull};
    use crate::types::TenantId;
    use std::time::Duration;

    #[test]
    fn a_tenants_own_limits_go_before_those_of_all() {
        let text = "[limits]\nitems_per_second = 100\nbytes_per_second = \"1MiB\"\n[journal]\nmax_age = \"1h\"\n\
            [tenants.acme]\nitems_per_second = 0\nmax_bytes = \"2GiB\"\nwhen_full = \"drop_oldest\"\n[tenants.globex]";
        let settings = Settings::from_toml(text).unwrap();
        let own = |tenant: &str| settings.tenants[&TenantId::new(tenant).unwrap()].own;
        assert_eq!(own("globex").journal, OwnQuota::default());
        let acme = own("acme").over(settings.allowance());
        assert_eq!(acme.limits, Limits { items_per_second: 0, bytes_per_second: 1 << 20 });
        let quota = Quota { max_bytes: 2 << 30, max_age: Duration::from_secs(3_600), when_full: WhenFull::DropOldest };
        assert_eq!(acme.quota, quota);
        assert_eq!(Settings::from_toml(&settings.to_toml()).unwrap().to_toml(), settings.to_toml());
        for (config, expected) in [
            ("limits.items_per_second = -1", "limits.items_per_second: -1 is out of range: 0 to 1000000000"),
            ("tenants.acme.items_per_second = 1.5", "is not a whole number"),
            ("tenants.acme.bytes_per_second = \"fast\"", "is not a size"),
            ("tenants.acme.max_bytes = 1", "1 is out of range: 1MiB to 1024TiB"),
            ("tenants.acme.item_per_second = 1", "did you mean \"items_per_second\"?"),
        ] {
            let error = Settings::from_toml(config).unwrap_err().to_string();
            assert!(error.contains(expected), "{config}: {error}");
        }
    }
}
