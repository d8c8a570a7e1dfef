//! The Agent's `/intake/`: events by their source type, which become events of version 1; and metadata of hosts, which
//! is not forwarded.
//!
//! `{"apiKey":"…","events":{"api":[{"msg_title":"t","msg_text":"x","timestamp":1700000000,…}]},…}`
//! (DataDog/datadog-agent, `pkg/metrics/event`).

use super::events::check_age;
use super::gather::{Found, Gatherer};
use super::json::{Scanner, Text};
use super::part::{Context, Split, Stop, invalid, malformed};
use super::set_aside::set_aside;
use super::tags::{self, Search};
use super::{dates, edits::Edits};
use crate::types::Kind;
use bytes::Bytes;
use std::ops::Range;

/// Splits a body of `/intake/`.
pub(super) fn split(body: &Bytes, context: &Context<'_>) -> Result<Split, Stop> {
    let mut scanner = Scanner::trusting(body);
    let mut gatherer = Gatherer::new(Kind::EventV1, body, context.now);
    scanner.white();
    scanner.object(|scanner, key| {
        if key.meaning().as_ref() != b"events" || scanner.peek() == Some(b'n') {
            return scanner.skip();
        }
        scanner.object(|scanner, source| {
            if scanner.peek() == Some(b'n') {
                return scanner.skip();
            }
            scanner.array(|scanner| {
                let start = scanner.at();
                take(scanner, source, body, context, &mut gatherer)
                    .or_else(|stop| set_aside(scanner, start, stop, context.tenant_tag, &mut gatherer))
            })
        })
    })?;
    scanner.end()?;
    Ok(gatherer.finish())
}

/// Takes one event of a source type.
fn take<'a>(
    scanner: &mut Scanner<'a>,
    source: Text<'a>,
    body: &[u8],
    context: &Context<'_>,
    gatherer: &mut Gatherer<'_>,
) -> Result<(), Stop> {
    let item = gatherer.next_item();
    if scanner.peek() != Some(b'{') {
        return Err(malformed(scanner.at(), "expected an event, which is an object"));
    }
    let start = scanner.at();
    let mut search = Search::new(context.tenant_tag, item);
    let mut found = Found::default();
    // The fields of a version 1 event, under their names there.
    let mut fields: Vec<(&'static str, Vec<u8>)> = Vec::with_capacity(12);
    scanner.object(|scanner, key| {
        let name = match key.meaning().as_ref() {
            b"msg_title" => "title",
            b"msg_text" => "text",
            b"timestamp" => "date_happened",
            b"aggregation_key" => "aggregation_key",
            b"alert_type" => "alert_type",
            b"priority" => "priority",
            b"host" => "host",
            b"device_name" => "device_name",
            b"source_type_name" => "source_type_name",
            b"related_event_id" => "related_event_id",
            b"event_type" => "event_type",
            b"tags" => "tags",
            // Version 1 refuses fields that it does not know.
            _ => return scanner.skip(),
        };
        let mut edits = Edits::default();
        let value = read_value(name, scanner, item, &mut search, &mut edits, &mut found)?;
        let is_required = matches!(name, "title" | "text");
        if is_required || !matches!(&body[value.clone()], b"\"\"" | b"null") {
            let mut copy = Vec::with_capacity(value.len());
            edits.apply(body, value, &mut copy);
            fields.retain(|(other, _)| *other != name);
            fields.push((name, copy));
        }
        Ok(())
    })?;
    check_age(found.time, context.now, item)?;
    let has = |name| fields.iter().any(|(other, _)| *other == name);
    if !has("title") {
        return Err(invalid(item, "the event has no `msg_title`"));
    }
    let lacks_text = !has("text");
    let lacks_source = !has("source_type_name") && !matches!(source.raw, b"" | b"api");
    if lacks_text {
        fields.push(("text", b"\"\"".to_vec()));
    }
    if lacks_source {
        fields.push(("source_type_name", [b"\"", source.raw, b"\""].concat()));
    }
    found.tenant = search.tenant;
    gatherer.write(start..scanner.at(), &found, |out| {
        let mut before = b'{';
        for (name, value) in &fields {
            out.push(before);
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            out.extend_from_slice(value);
            before = b',';
        }
        out.push(b'}');
    });
    Ok(())
}

/// Reads the value of a version 1 field, checks it as that version does, and returns its range.
fn read_value<'a>(
    name: &'static str,
    scanner: &mut Scanner<'a>,
    item: usize,
    search: &mut Search<'_, 'a>,
    edits: &mut Edits,
    found: &mut Found<'_>,
) -> Result<Range<usize>, Stop> {
    let start = scanner.at();
    match name {
        "title" | "text" if scanner.text()?.is_none() => {
            return Err(invalid(item, format!("`msg_{name}` must be a string")));
        }
        "title" | "text" => {}
        "date_happened" => found.time = scanner.number()?.map(dates::from_seconds),
        "tags" if search.is_on() => drop(tags::pass(scanner, search, edits)?),
        _ => scanner.skip()?,
    }
    Ok(start..scanner.at())
}
