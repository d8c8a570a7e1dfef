//! The formats: validate a request body and find the boundaries of its items, in one pass and without a tree.
//!
//! Pure functions on bytes. A [`Part`] is a run of raw items of one kind and (where tags name it) one tenant. `part`
//! holds the nouns; each format has a file; this one picks the format.

mod agent_intake;
mod checks;
mod dates;
pub mod ddsketch;
pub mod dogstatsd;
mod edits;
pub(crate) mod encode;
mod events;
mod gather;
mod json;
mod logs;
mod metric;
mod metrics_proto;
pub mod otlp;
mod part;
mod protobuf;
mod series;
mod set_aside;
mod strings;
mod tags;
#[cfg(test)]
mod tests;

pub use part::{Context, Form, Invalid, LogDefaults, Owner, Part, Refusal, Split};

use crate::types::{Framing, Kind, UnixMillis};
use bytes::Bytes;
use std::ops::Range;

/// Validates `body` and splits it into parts, items in order within each part and across the parts of one tenant.
///
/// An empty body and `{}` are probes and give no parts. Items that Datadog would refuse are set aside, and text that is not UTF-8
/// is mended.
///
/// # Errors
/// Where the body as a whole cannot be read.
pub fn split(form: Form, body: &Bytes, context: &Context<'_>) -> Result<Split, Refusal> {
    let text;
    let body = if form.is_text() {
        text = strings::text(body);
        &text
    } else {
        body
    };
    if is_probe(form, body) {
        return Ok(Split::default());
    }
    let split = match form {
        Form::SeriesV2Json => series::split(Kind::SeriesV2Json, body, context),
        Form::SeriesV1 => series::split(Kind::SeriesV1, body, context),
        Form::Distributions => series::split(Kind::Distributions, body, context),
        Form::LogsJson => logs::split_json(body, context),
        Form::LogsText => logs::split_text(body, context),
        Form::SeriesV2Proto => protobuf::split(Kind::SeriesV2Proto, body, context, metrics_proto::SERIES),
        Form::Sketches => protobuf::split(Kind::Sketches, body, context, metrics_proto::SKETCHES),
        Form::EventV1 => events::split(Kind::EventV1, body, context),
        Form::EventV2 => events::split(Kind::EventV2, body, context),
        Form::AgentIntake => agent_intake::split(body, context),
        Form::CheckRun => checks::split(body, context),
    };
    split.map_err(|stop| *stop)
}

/// The boundaries of the items of a run of that kind, as half-open byte ranges: the positions at which a batch may be cut.
///
/// `run` has passed [`split`] before, or is several such runs joined by [`Kind::separator`]. In any other text, the
/// unreadable rest is one last item.
pub fn boundaries(kind: Kind, run: &[u8]) -> Vec<Range<usize>> {
    match kind.framing() {
        Framing::Single => std::iter::once(0..run.len()).collect(),
        Framing::Protobuf => protobuf::boundaries(run),
        Framing::SeriesObject | Framing::Array => elements(run),
    }
}

/// An item's own timestamp (of several points the earliest), if it has one.
pub fn item_time(kind: Kind, item: &[u8]) -> Option<UnixMillis> {
    match kind {
        Kind::SeriesV2Json | Kind::SeriesV1 | Kind::Distributions => series::item_time(kind, item),
        Kind::Logs => logs::item_time(item),
        Kind::SeriesV2Proto => protobuf::item_time(item, metrics_proto::SERIES),
        Kind::Sketches => protobuf::item_time(item, metrics_proto::SKETCHES),
        Kind::EventV1 | Kind::EventV2 => events::item_time(kind, item),
        Kind::CheckRun => checks::item_time(item),
    }
}

/// Whether a body is a connectivity check of a client: empty, or an empty object.
fn is_probe(form: Form, body: &[u8]) -> bool {
    // In protobuf a line feed is the key of an item.
    let text = if form.is_text() { body.trim_ascii() } else { body };
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
