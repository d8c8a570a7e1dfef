//! The nouns of the formats: what a body is, what it is split into, and why it is refused.

use crate::types::{Kind, UnixMillis};
use bytes::Bytes;

/// The form of a request body, by its path and content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `/api/v2/series`, JSON.
    SeriesV2Json,
    /// `/api/v2/series`, protobuf.
    SeriesV2Proto,
    /// `/api/v1/series`.
    SeriesV1,
    /// `/api/v1/distribution_points`.
    Distributions,
    /// `/api/beta/sketches`.
    Sketches,
    /// `/api/v2/logs`, `/v1/input`: a JSON object or an array of them.
    LogsJson,
    /// The same with `text/plain`: one log a line.
    LogsText,
    /// `/api/v1/events`.
    EventV1,
    /// `/api/v2/events`.
    EventV2,
    /// `/intake/`: the Agent's events; bodies without the key `events` are not forwarded.
    AgentIntake,
    /// `/api/v1/check_run`: an array, or one object.
    CheckRun,
}

impl Form {
    /// Whether bodies are text (else protobuf).
    pub(super) fn is_text(self) -> bool {
        !matches!(self, Self::SeriesV2Proto | Self::Sketches)
    }
}

/// The context of splitting a body.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The time of acceptance.
    pub now: UnixMillis,
    /// The key of the tag that names an item's tenant, where tags decide; the tag is removed from the item.
    pub tenant_tag: Option<&'a str>,
    /// Attributes for logs that lack them, from the query of the request.
    pub log_defaults: &'a LogDefaults,
}

/// Attributes of the query of a log request, given to each of its logs that does not have them itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogDefaults {
    /// `ddsource`: the integration that a log comes from.
    pub source: Option<String>,
    /// `ddtags`; appended to an item's own.
    pub tags: Option<String>,
    /// `hostname` or `host`
    pub hostname: Option<String>,
    /// `service`: the application that a log comes from.
    pub service: Option<String>,
}

/// A run of items of one kind and tenant, within the kind's [`crate::types::Limits`] (prefix and suffix counted).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The tenant that the items' tag names; none when no tag was looked for, or the items had none.
    pub tenant: Option<String>,
    /// The kind of the items.
    pub kind: Kind,
    /// The number of items.
    pub items: u32,
    /// The earliest of the items' own timestamps, or [`Context::now`].
    pub oldest: UnixMillis,
    /// The items as a [`crate::types::Chunk`] holds them.
    pub bytes: Bytes,
}

/// What a body is split into.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// The items that can be forwarded.
    pub parts: Vec<Part>,
    /// Those that Datadog would refuse, by owner; the first has the first of them.
    pub invalid: Vec<Invalid>,
}

/// Items of one owner that Datadog would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Whose they are.
    pub owner: Owner,
    /// The kind that they should have been.
    pub kind: Kind,
    /// The number of items.
    pub items: u32,
    /// What is wrong with the first of them.
    pub fault: Refusal,
    /// What is wrong with some of the others.
    pub more_faults: Vec<Refusal>,
    /// The items as a [`crate::types::Chunk`] holds them, whatever they are.
    pub bytes: Bytes,
}

impl Invalid {
    /// So many further faults are told; more items are only counted.
    pub(super) const TOLD: usize = 7;

    /// What is wrong with them, in one line.
    pub fn words(&self) -> String {
        let told: Vec<_> = std::iter::once(&self.fault).chain(&self.more_faults).map(ToString::to_string).collect();
        match self.items as usize - told.len() {
            0 => told.join("; "),
            more => format!("{}; and {more} more items", told.join("; ")),
        }
    }
}

/// Whose an item is, as far as it says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Whoever sent the request, as no tag was looked for or the item has none.
    Sender,
    /// The tenant that its tag names.
    Tenant(String),
    /// Nobody can tell: its tag names no possible tenant, or several, or the item cannot be read.
    Unknown,
}

/// Why a body is refused. `Display` is the text for the sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body is not of its form.
    #[error("malformed body at byte {at}: {reason}")]
    Malformed {
        /// Offset in the decompressed body.
        at: usize,
        /// What was expected or found.
        reason: String,
    },
    /// Well formed, but Datadog would refuse this item.
    #[error("item {item}: {reason}")]
    Invalid {
        /// Its index in the request, from 0.
        item: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// One item alone is larger than Datadog takes.
    #[error("item {item} has {bytes} bytes, and {kind} takes at most {limit} per request")]
    TooLarge {
        /// Its index in the request, from 0.
        item: usize,
        /// The kind of the item.
        kind: Kind,
        /// Its size, framing included.
        bytes: usize,
        /// The limit of its kind, in bytes.
        limit: usize,
    },
}

/// A [`Refusal`] on its way out. Boxed, so that the results of the scanners, of which there are several a byte of
/// JSON, fit a register.
pub(super) type Stop = Box<Refusal>;

/// The refusal of a body that is malformed at an offset.
#[cold]
pub(super) fn malformed(at: usize, reason: &str) -> Stop {
    Box::new(Refusal::Malformed { at, reason: reason.to_owned() })
}

/// The refusal of an item that Datadog would refuse.
#[cold]
pub(super) fn invalid(item: usize, reason: impl Into<String>) -> Stop {
    Box::new(Refusal::Invalid { item, reason: reason.into() })
}
