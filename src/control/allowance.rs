//! Limits and quotas of a tenant's own: how they are shown and changed.

use super::ControlError;
use crate::settings::{Allowance, Overrides, WhenFull, format_duration};
use crate::store::Change;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;
use utoipa::ToSchema;

/// How fast a tenant may send. What comes faster is refused (429).
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct LimitsView {
    /// Items a second; 0: as many as come.
    pub items_per_second: Option<u64>,
    /// Bytes of items a second, uncompressed; 0: as many as come.
    pub bytes_per_second: Option<u64>,
}

/// What a tenant may have waiting.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct QuotaView {
    /// Bytes on disk.
    pub max_bytes: Option<u64>,
    /// Older items are dropped as `expired`; such as `48h`.
    pub max_age: Option<String>,
    /// What becomes of what comes when `max_bytes` are waiting.
    pub when_full: Option<WhenFullView>,
}

/// What becomes of what comes when a tenant's quota is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFullView {
    /// It is refused (429).
    Reject,
    /// It is taken, and the oldest items are dropped as `evicted`.
    DropOldest,
}

/// What a tenant may do.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AllowanceView {
    /// How fast it may send.
    pub limits: LimitsView,
    /// What it may have waiting.
    pub journal: QuotaView,
}

/// What is to be changed of [`Overrides`]: nothing, another value, or none of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct OverrideChanges {
    /// See [`Overrides::items_per_second`].
    pub items_per_second: Option<Option<u64>>,
    /// See [`Overrides::bytes_per_second`].
    pub bytes_per_second: Option<Option<usize>>,
    /// See [`Overrides::max_bytes`].
    pub max_bytes: Option<Option<usize>>,
    /// See [`Overrides::max_age`].
    pub max_age: Option<Option<Duration>>,
    /// See [`Overrides::when_full`].
    pub when_full: Option<Option<WhenFull>>,
}

impl OverrideChanges {
    /// What there is afterwards, if that is something else than `kept`.
    pub(super) fn change(self, kept: &Map<String, Value>) -> Result<Option<Change>, ControlError> {
        let Self { items_per_second, bytes_per_second, max_bytes, max_age, when_full } = self;
        let given = Overrides {
            items_per_second: items_per_second.flatten(),
            bytes_per_second: bytes_per_second.flatten(),
            max_bytes: max_bytes.flatten(),
            max_age: max_age.flatten(),
            when_full: when_full.flatten(),
        };
        given.check().map_err(ControlError::Invalid)?;
        let is_named = [
            items_per_second.is_some(),
            bytes_per_second.is_some(),
            max_bytes.is_some(),
            max_age.is_some(),
            when_full.is_some(),
        ];
        // What this version does not know stays as it is.
        let mut all = kept.clone();
        all.retain(|key, _| !Overrides::KEYS.iter().zip(is_named).any(|(known, named)| named && known == key));
        if let Ok(Value::Object(given)) = serde_json::to_value(given) {
            all.extend(given);
        }
        Ok((all != *kept).then_some(Change::Overrides(all)))
    }
}

impl LimitsView {
    pub(super) fn new(own: &Overrides) -> Self {
        Self {
            items_per_second: own.items_per_second,
            bytes_per_second: own.bytes_per_second.map(|bytes| bytes as u64),
        }
    }
}

impl QuotaView {
    pub(super) fn new(own: &Overrides) -> Self {
        Self {
            max_bytes: own.max_bytes.map(|bytes| bytes as u64),
            max_age: own.max_age.map(format_duration),
            when_full: own.when_full.map(WhenFullView::from),
        }
    }
}

impl AllowanceView {
    pub(super) fn new(allowance: Allowance) -> Self {
        let all = Overrides::from(allowance);
        Self { limits: LimitsView::new(&all), journal: QuotaView::new(&all) }
    }
}

impl From<WhenFull> for WhenFullView {
    fn from(when_full: WhenFull) -> Self {
        match when_full {
            WhenFull::Reject => Self::Reject,
            WhenFull::DropOldest => Self::DropOldest,
        }
    }
}

impl From<WhenFullView> for WhenFull {
    fn from(when_full: WhenFullView) -> Self {
        match when_full {
            WhenFullView::Reject => Self::Reject,
            WhenFullView::DropOldest => Self::DropOldest,
        }
    }
}
