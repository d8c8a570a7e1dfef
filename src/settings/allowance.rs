//! What a tenant may send and have waiting: `[limits]` and the quotas of `[journal]`, and what is said otherwise of one.

use super::problems::Problems;
use super::reader::Section;
use super::source::Tree;
use super::units::{as_size, duration_if_given, format_duration, format_size, size_if_given};
use super::{Quota, Settings, WhenFull};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use std::time::Duration;

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

/// What is otherwise for one tenant than for all. Also the form in which the store keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// See [`Limits::items_per_second`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items_per_second: Option<u64>,
    /// See [`Limits::bytes_per_second`].
    #[serde(skip_serializing_if = "Option::is_none", with = "size_if_given")]
    pub bytes_per_second: Option<usize>,
    /// See [`Quota::max_bytes`].
    #[serde(skip_serializing_if = "Option::is_none", with = "size_if_given")]
    pub max_bytes: Option<usize>,
    /// See [`Quota::max_age`].
    #[serde(skip_serializing_if = "Option::is_none", with = "duration_if_given")]
    pub max_age: Option<Duration>,
    /// See [`Quota::when_full`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_full: Option<WhenFull>,
}

impl Limits {
    /// The highest limits: items, and bytes.
    pub const HIGHEST: (u64, u64) = (1_000_000_000, 1 << 40);

    pub(super) fn read(&mut self, section: &mut Section<'_>) {
        let (items, bytes) = Self::HIGHEST;
        section.number("items_per_second", &mut self.items_per_second, 0..=items.cast_signed());
        section.size("bytes_per_second", &mut self.bytes_per_second, 0..=bytes);
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

impl From<Allowance> for Overrides {
    /// All of it.
    fn from(Allowance { limits, quota }: Allowance) -> Self {
        Self {
            items_per_second: Some(limits.items_per_second),
            bytes_per_second: Some(limits.bytes_per_second),
            max_bytes: Some(quota.max_bytes),
            max_age: Some(quota.max_age),
            when_full: Some(quota.when_full),
        }
    }
}

impl Overrides {
    /// The keys, as they are called wherever they are written.
    pub const KEYS: [&str; 5] = ["items_per_second", "bytes_per_second", "max_bytes", "max_age", "when_full"];

    /// Reads what a tenant's own table says.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let given = Self::KEYS.map(|key| section.has(key));
        let Allowance { mut limits, mut quota } = Allowance::default();
        limits.read(section);
        quota.read(section);
        Self {
            items_per_second: given[0].then_some(limits.items_per_second),
            bytes_per_second: given[1].then_some(limits.bytes_per_second),
            max_bytes: given[2].then_some(quota.max_bytes),
            max_age: given[3].then_some(quota.max_age),
            when_full: given[4].then_some(quota.when_full),
        }
    }

    /// What the tenant may do, where all others may do `default`.
    pub fn over(&self, default: Allowance) -> Allowance {
        let Allowance { limits, quota } = default;
        Allowance {
            limits: Limits {
                items_per_second: self.items_per_second.unwrap_or(limits.items_per_second),
                bytes_per_second: self.bytes_per_second.unwrap_or(limits.bytes_per_second),
            },
            quota: Quota {
                max_bytes: self.max_bytes.unwrap_or(quota.max_bytes),
                max_age: self.max_age.unwrap_or(quota.max_age),
                when_full: self.when_full.unwrap_or(quota.when_full),
            },
        }
    }

    /// Checks values that come from elsewhere than a configuration file, which is checked as it is read.
    ///
    /// # Errors
    /// The key that is out of range, and the range.
    pub fn check(&self) -> Result<(), String> {
        fn within<T: PartialOrd>(
            key: &str,
            value: Option<T>,
            range: &RangeInclusive<T>,
            shown: impl Fn(&T) -> String,
        ) -> Result<(), String> {
            match value.filter(|value| !range.contains(value)) {
                None => Ok(()),
                Some(value) => {
                    let [value, from, to] = [&value, range.start(), range.end()].map(shown);
                    Err(format!("{key}: {value} is out of range: {from} to {to}"))
                }
            }
        }
        let (items, bytes) = Limits::HIGHEST;
        within("items_per_second", self.items_per_second, &(0..=items), u64::to_string)?;
        within("bytes_per_second", self.bytes_per_second.map(|n| n as u64), &(0..=bytes), |n| format_size(*n))?;
        within("max_bytes", self.max_bytes.map(|n| n as u64), &Quota::SIZES, |n| format_size(*n))?;
        within("max_age", self.max_age, &Quota::AGES, |age| format_duration(*age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TenantId;

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

    #[test]
    fn what_the_store_keeps_of_a_tenants_own_limits_reads_back_as_the_same() {
        let own = Overrides {
            items_per_second: Some(5),
            bytes_per_second: Some(1_000_000),
            max_bytes: Some(3 << 20),
            max_age: Some(Duration::from_secs(5_400)),
            when_full: Some(WhenFull::DropOldest),
        };
        for own in [own, Overrides { max_age: None, when_full: None, ..own }, Overrides::default()] {
            let kept = serde_json::to_value(own).unwrap();
            assert_eq!(serde_json::from_value::<Overrides>(kept.clone()).unwrap(), own, "{kept}");
            assert_eq!(own.check(), Ok(()));
        }
        for (wrong, key) in [
            (Overrides { items_per_second: Some(1_000_000_001), ..own }, "items_per_second: 1000000001"),
            (Overrides { bytes_per_second: Some(2 << 40), ..own }, "bytes_per_second: 2TiB"),
            (Overrides { max_bytes: Some(1), ..own }, "max_bytes: 1B is out of range: 1MiB"),
            (Overrides { max_age: Some(Duration::ZERO), ..own }, "max_age: 0s is out of range: 1s to 8760h"),
        ] {
            assert!(wrong.check().unwrap_err().starts_with(key), "{wrong:?}");
        }
    }
}
