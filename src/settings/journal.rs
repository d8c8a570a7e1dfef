//! `[journal]`, and how much of one tenant's telemetry is queued.

use super::form::{Choice, Period, SECOND, Size, optional_path};
use super::key::section;
use super::problems::Problems;
use super::units::format_size;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

section! {
    /// The durable queue: accepted telemetry is kept here until it is delivered, and survives a crash.
    pub struct Journal {
        /// Its directory; "" is journal/ in the state directory.
        dir: Option<PathBuf> = None, optional_path("/var/spool/dogsled"), restart;
        /// When what was written is forced to the disk: always (before the answer), interval (every 200 ms: a power
        /// failure may take the rest) or never (survives a crash of the daemon, but not of the host).
        fsync: Fsync = Fsync::Interval, Choice(FSYNC), restart;
        /// Bytes queued on disk. A tenant gets no more than is still free, so one alone gets half of it. The files also hold
        /// items that are delivered and not cleaned away yet: at worst, when a few queued items are spread over every file,
        /// they are four times as large and 128 MiB.
        max_bytes: usize = 8 << 30, Size(Quota::SIZES);
        /// Bytes queued on disk of one tenant.
        max_bytes_per_tenant: usize = 1 << 30, Size(Quota::SIZES);
        /// Older items are dropped as `expired`.
        max_age: Duration = Duration::from_secs(48 * 3_600), Period(Quota::AGES);
        /// What happens to new items of a tenant that has max_bytes_per_tenant queued: reject (the sender is told to come
        /// back later, 429) or drop_oldest (they are taken, and its oldest are dropped as `evicted`). When max_bytes is
        /// reached, it is 429 in both cases: no tenant's items are dropped for what others have queued.
        when_full: WhenFull = WhenFull::Reject, Choice(WHEN_FULL);
    }
}

/// When what was written is forced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before a request is answered.
    Always,
    /// Every 200 ms: a power failure may take what was written since.
    Interval,
    /// When the system sees fit. Survives a crash of the daemon but not of the host.
    Never,
}

const FSYNC: &[(&str, Fsync)] = &[("always", Fsync::Always), ("interval", Fsync::Interval), ("never", Fsync::Never)];

/// What happens to new items when a tenant's quota is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// They are refused with 429.
    Reject,
    /// They are taken, and the tenant's oldest items are dropped as `evicted`.
    DropOldest,
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

/// How much of one tenant's telemetry is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Bytes on disk.
    pub max_bytes: usize,
    /// Older items are dropped as `expired`.
    pub max_age: Duration,
    /// What happens to new items when `max_bytes` are queued.
    pub when_full: WhenFull,
}

impl Quota {
    pub(super) const SIZES: RangeInclusive<u64> = 1 << 20..=1 << 50;
    pub(super) const AGES: RangeInclusive<Duration> = SECOND..=Duration::from_secs(365 * 86_400);
}

impl Default for Quota {
    fn default() -> Self {
        Journal::default().quota()
    }
}

impl Journal {
    /// The quota of tenants without one of their own.
    pub fn quota(&self) -> Quota {
        Quota { max_bytes: self.max_bytes_per_tenant, max_age: self.max_age, when_full: self.when_full }
    }
}

pub(super) fn check(journal: &Journal, max_body: usize, problems: &mut Problems) {
    if !problems.are_fine(&["journal.max_bytes", "journal.max_bytes_per_tenant", "ingest.max_body"]) {
        return;
    }
    let (most, per_tenant) = (format_size(journal.max_bytes as u64), format_size(journal.max_bytes_per_tenant as u64));
    if journal.max_bytes_per_tenant > journal.max_bytes {
        let message = format!("{per_tenant} is more than journal.max_bytes, which is {most}");
        problems.error("journal.max_bytes_per_tenant", message);
    }
    if max_body > journal.max_bytes_per_tenant {
        let body = format_size(max_body as u64);
        let message = format!(
            "{per_tenant} is less than ingest.max_body, which is {body}: one large request could never be queued"
        );
        problems.error("journal.max_bytes_per_tenant", message);
    }
}
