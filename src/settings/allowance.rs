//! What a tenant may send and have queued: `[limits]` and the quotas of `[journal]`.

use super::problems::Problems;
use super::reader::Section;
use super::source::Tree;
use super::units::as_size;
use super::{Quota, Settings};
use serde::Serialize;
use std::ops::RangeInclusive;

/// How fast a tenant may send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Items a second; 0: as many as come.
    pub items_per_second: u64,
    /// Bytes of items a second, uncompressed; 0: as many as come.
    #[serde(serialize_with = "as_size")]
    pub bytes_per_second: usize,
}

/// What a tenant may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// How fast it may send.
    pub limits: Limits,
    /// What it may have waiting.
    pub quota: Quota,
}

impl Limits {
    pub(super) const ITEMS: RangeInclusive<u64> = 0..=1_000_000_000;
    pub(super) const BYTES: RangeInclusive<u64> = 0..=1 << 40;

    pub(super) fn read(&mut self, section: &mut Section<'_>) {
        section.number("items_per_second", &mut self.items_per_second, 0..=Self::ITEMS.end().cast_signed());
        section.size("bytes_per_second", &mut self.bytes_per_second, Self::BYTES);
    }
}

impl Settings {
    /// What tenants may do of which nothing else is said.
    pub fn allowance(&self) -> Allowance {
        Allowance { limits: self.limits, quota: self.journal.quota() }
    }

    pub(super) fn read_limits(&mut self, tree: &mut Tree, problems: &mut Problems) {
        let mut section = Section::take(tree, "limits", problems);
        self.limits.read(&mut section);
        section.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Overrides, WhenFull};
    use crate::types::TenantId;
    use std::time::Duration;

    #[test]
    fn a_tenants_own_limits_and_quotas_are_told_from_those_of_all() {
        let text = "[limits]\nitems_per_second = 100\nbytes_per_second = \"1MiB\"\n[journal]\nmax_age = \"1h\"\n\
            [tenants.acme]\nitems_per_second = 0\nmax_bytes = \"2GiB\"\nwhen_full = \"drop_oldest\"\n[tenants.globex]";
        let settings = Settings::from_toml(text).unwrap();
        let own = |tenant: &str| settings.tenants[&TenantId::new(tenant).unwrap()].own;
        assert_eq!(own("globex"), Overrides::default());
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
