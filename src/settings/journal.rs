//! `[journal]`: the durable queue on disk, and what one tenant may keep there.

use super::problems::Problems;
use super::reader::Section;
use super::source::Tree;
use super::units::{as_duration, as_size, format_size};
use super::{Settings, path_or_empty};
use serde::Serialize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// The durable queue.
#[derive(Debug, Clone, Serialize)]
pub struct Journal {
    /// Its directory; none: `journal/` in the state directory.
    #[serde(serialize_with = "path_or_empty")]
    pub dir: Option<PathBuf>,
    /// When what was written is forced to the disk.
    pub fsync: Fsync,
    /// Bytes of all tenants' waiting items on disk.
    #[serde(serialize_with = "as_size")]
    pub max_bytes: usize,
    /// The quota of tenants without one of their own; its bytes.
    #[serde(serialize_with = "as_size")]
    pub max_bytes_per_tenant: usize,
    /// Its age.
    #[serde(serialize_with = "as_duration")]
    pub max_age: Duration,
    /// What becomes of what comes when it is full.
    pub when_full: WhenFull,
}

/// When what was written is forced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fsync {
    /// Before a request is answered.
    Always,
    /// Every 200 ms: a power failure may take what came since.
    Interval,
    /// When the system sees fit. Survives a crash of the daemon but not of the host.
    Never,
}

/// What becomes of what comes when a tenant's quota is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// It is refused with 429.
    Reject,
    /// It is taken, and the tenant's oldest items are dropped as `evicted`.
    DropOldest,
}

/// What one tenant may have waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Quota {
    /// Bytes on disk.
    #[serde(serialize_with = "as_size")]
    pub max_bytes: usize,
    /// Older items are dropped as `expired`.
    #[serde(serialize_with = "as_duration")]
    pub max_age: Duration,
    /// What becomes of what comes when `max_bytes` are waiting.
    pub when_full: WhenFull,
}

pub(super) const WHEN_FULL: &[(&str, WhenFull)] =
    &[(WhenFull::Reject.name(), WhenFull::Reject), (WhenFull::DropOldest.name(), WhenFull::DropOldest)];

impl WhenFull {
    /// The word for it in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::DropOldest => "drop_oldest",
        }
    }
}

impl Journal {
    pub(super) fn read(&mut self, tree: &mut Tree, problems: &mut Problems) {
        let mut section = Section::take(tree, "journal", problems);
        let mut dir = String::new();
        section.text("dir", &mut dir);
        self.dir = Some(dir).filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let modes = [("always", Fsync::Always), ("interval", Fsync::Interval), ("never", Fsync::Never)];
        section.choice("fsync", &mut self.fsync, &modes);
        section.size("max_bytes", &mut self.max_bytes, Quota::SIZES);
        section.size("max_bytes_per_tenant", &mut self.max_bytes_per_tenant, Quota::SIZES);
        section.duration("max_age", &mut self.max_age, Quota::AGES);
        section.choice("when_full", &mut self.when_full, WHEN_FULL);
        section.finish();
    }

    /// The quota of tenants without one of their own.
    pub fn quota(&self) -> Quota {
        Quota { max_bytes: self.max_bytes_per_tenant, max_age: self.max_age, when_full: self.when_full }
    }
}

impl Settings {
    /// The directory of the journal.
    pub fn journal_dir(&self) -> PathBuf {
        self.journal.dir.clone().unwrap_or_else(|| self.state.dir.join("journal"))
    }
}

impl Quota {
    /// What `max_bytes` may be.
    pub const SIZES: RangeInclusive<u64> = 1 << 20..=1 << 50;
    /// What `max_age` may be.
    pub const AGES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(365 * 86_400);
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            dir: None,
            fsync: Fsync::Interval,
            max_bytes: 8 << 30,
            max_bytes_per_tenant: 1 << 30,
            max_age: Duration::from_secs(48 * 3_600),
            when_full: WhenFull::Reject,
        }
    }
}

impl Default for Quota {
    fn default() -> Self {
        Journal::default().quota()
    }
}

pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    let journal = &settings.journal;
    if !problems.are_fine(&["journal.max_bytes", "journal.max_bytes_per_tenant", "ingest.max_body"]) {
        return;
    }
    let (most, per_tenant) = (format_size(journal.max_bytes as u64), format_size(journal.max_bytes_per_tenant as u64));
    if journal.max_bytes_per_tenant > journal.max_bytes {
        let message = format!("{per_tenant} is more than journal.max_bytes, which is {most}");
        problems.error("journal.max_bytes_per_tenant", message);
    }
    if settings.ingest.max_body > journal.max_bytes_per_tenant {
        let body = format_size(settings.ingest.max_body as u64);
        let message = format!(
            "{per_tenant} is less than ingest.max_body, which is {body}: one large request could never be queued"
        );
        problems.error("journal.max_bytes_per_tenant", message);
    }
}
