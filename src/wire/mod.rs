//! The formats: validate a request body and find the boundaries of its items, in one pass and without a tree.
//!
//! Pure functions on bytes. A [`Part`] is a run of raw items of one kind and (where tags name it) one tenant.

mod agent_intake;
mod checks;
mod dates;
mod edits;
mod events;
mod json;
mod logs;
mod metric;
mod metrics_proto;
mod parts;
mod protobuf;
mod series;
mod strings;
mod tags;
#[cfg(test)]
mod tests;

use crate::types::{Kind, UnixMillis};
use bytes::Bytes;
use std::ops::Range;

/// What a request body is, as its path and content type say.
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
    /// `/intake/`: the Agent's events; without the key `events` nothing that is forwarded.
    AgentIntake,
    /// `/api/v1/check_run`: an array, or one object.
    CheckRun,
}

/// What splitting needs to know besides the body.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The time of acceptance.
    pub now: UnixMillis,
    /// The name of the tag that names an item's tenant, when tags decide; the tag is cut out of the item.
    pub tenant_tag: Option<&'a str>,
    /// Attributes for logs that lack them, from the query of the request.
    pub log_defaults: &'a LogDefaults,
}

/// Attributes of the query of a log request, given to each of its logs that does not have them itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogDefaults {
    /// `ddsource`
    pub source: Option<String>,
    /// `ddtags`; appended to an item's own.
    pub tags: Option<String>,
    /// `hostname` or `host`
    pub hostname: Option<String>,
    /// `service`
    pub service: Option<String>,
}

/// A run of items of one kind and tenant, within the kind's [`crate::types::Limits`] (prefix and suffix counted).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The tenant that the items' tag names; none when no tag was looked for, or the items had none.
    pub tenant: Option<String>,
    /// What the items are.
    pub kind: Kind,
    /// How many.
    pub items: u32,
    /// The earliest time an item says of itself, or [`Context::now`].
    pub oldest: UnixMillis,
    /// The items as a [`crate::types::Chunk`] holds them.
    pub bytes: Bytes,
}

/// Why a body is refused. `Display` is the text for the emitter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not of the form that it should be.
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
    #[error("item {item} has {bytes} bytes, and {kind} takes at most {limit} a request")]
    TooLarge {
        /// Its index in the request, from 0.
        item: usize,
        /// Its kind.
        kind: Kind,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

/// A [`Refusal`] on its way out. Boxed, so that the results of the scanners, of which there are several a byte of
/// JSON, fit a register.
type Stop = Box<Refusal>;

/// The refusal of a body for what stands at an offset.
#[cold]
fn malformed(at: usize, reason: &str) -> Stop {
    Box::new(Refusal::Malformed { at, reason: reason.to_owned() })
}

/// The refusal of an item that Datadog would refuse.
#[cold]
fn invalid(item: usize, reason: impl Into<String>) -> Stop {
    Box::new(Refusal::Invalid { item, reason: reason.into() })
}

/// Validates `body` and splits it into parts, items in order within each part and across the parts of one tenant.
///
/// An empty body and `{}` are probes and give no parts.
///
/// # Errors
/// See [`Refusal`]. The first offending item is named.
pub fn split(form: Form, body: &Bytes, context: &Context<'_>) -> Result<Vec<Part>, Refusal> {
    if is_probe(form, body) {
        return Ok(Vec::new());
    }
    let parts = match form {
        Form::SeriesV2Json => series::split(Kind::SeriesV2Json, body, context),
        Form::SeriesV1 => series::split(Kind::SeriesV1, body, context),
        Form::Distributions => series::split(Kind::Distributions, body, context),
        Form::LogsJson => logs::split_json(body, context),
        Form::LogsText => logs::split_text(body, context),
        Form::SeriesV2Proto => protobuf::split(Kind::SeriesV2Proto, body, context, metrics_proto::read_series),
        Form::Sketches => protobuf::split(Kind::Sketches, body, context, metrics_proto::read_sketch),
        Form::EventV1 => events::split(Kind::EventV1, body, context),
        Form::EventV2 => events::split(Kind::EventV2, body, context),
        Form::AgentIntake => agent_intake::split(body, context),
        Form::CheckRun => checks::split(body, context),
    };
    parts.map_err(|stop| *stop)
}

/// The boundaries of the items of a run of that kind, as half-open byte ranges: what a batch is cut at.
///
/// `run` has passed [`split`] before, or is several such runs joined by [`Kind::separator`]. Of any other text, what
/// cannot be read is one last item.
pub fn boundaries(kind: Kind, run: &[u8]) -> Vec<Range<usize>> {
    match kind {
        Kind::EventV1 | Kind::EventV2 => std::iter::once(0..run.len()).collect(),
        Kind::SeriesV2Proto | Kind::Sketches => protobuf::boundaries(run),
        Kind::SeriesV2Json | Kind::SeriesV1 | Kind::Distributions | Kind::Logs | Kind::CheckRun => elements(run),
    }
}

/// The time that one item says of itself (of several points the earliest), if it says one.
pub fn item_time(kind: Kind, item: &[u8]) -> Option<UnixMillis> {
    match kind {
        Kind::SeriesV2Json | Kind::SeriesV1 | Kind::Distributions => series::item_time(kind, item),
        Kind::Logs => logs::item_time(item),
        Kind::SeriesV2Proto => protobuf::item_time(item, metrics_proto::read_series),
        Kind::Sketches => protobuf::item_time(item, metrics_proto::read_sketch),
        Kind::EventV1 | Kind::EventV2 => events::item_time(kind, item),
        Kind::CheckRun => checks::item_time(item),
    }
}

/// Whether a body is one of those that clients send to see whether anyone is there: nothing, or an empty object.
fn is_probe(form: Form, body: &[u8]) -> bool {
    // In protobuf a line feed is the key of an item.
    let is_text = !matches!(form, Form::SeriesV2Proto | Form::Sketches);
    let text = if is_text { body.trim_ascii() } else { body };
    text.is_empty()
        || text
            .strip_prefix(b"{")
            .and_then(|rest| rest.strip_suffix(b"}"))
            .is_some_and(|inside| inside.trim_ascii().is_empty())
}

/// JSON values with commas and white space between them.
fn elements(run: &[u8]) -> Vec<Range<usize>> {
    let mut scanner = json::Scanner::trusting(run);
    let mut ranges = Vec::new();
    loop {
        scanner.white();
        let start = scanner.at();
        if start == run.len() {
            return ranges;
        }
        let Ok(range) = scanner.value() else {
            ranges.push(start..run.len());
            return ranges;
        };
        ranges.push(range);
        scanner.white();
        scanner.eat(b',');
    }
}
