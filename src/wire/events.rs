//! Events: one a body in Datadog's API, in two versions, or many in the form that Agents post to `/intake/`.
//! Both versions of the API refuse unknown properties. The known ones have grown before, so an event is forwarded as it
//! is; only the Agent's form is translated field by field.

use super::dates;
use super::edits::Edits;
use super::gather::{Found, Gatherer};
use super::json::{Scanner, Text};
use super::part::{Context, Split, Stop, invalid, malformed};
use super::tags::{self, Search};
use crate::types::{Kind, UnixMillis};
use bytes::Bytes;
use std::time::Duration;

/// Splits a body with an event of either version.
pub(super) fn split(kind: Kind, body: &Bytes, context: &Context<'_>) -> Result<Split, Stop> {
    let mut scanner = Scanner::trusting(body);
    let mut edits = Edits::default();
    let mut event = Event { search: Search::new(context.tenant_tag, 0), time: None };
    scanner.white();
    let start = scanner.at();
    event.read(kind, &mut scanner, &mut edits)?;
    let end = scanner.at();
    scanner.end()?;
    if kind == Kind::EventV1 {
        check_age(event.time, context.now, 0)?;
    }
    let mut gatherer = Gatherer::new(kind, body, context.now);
    gatherer.take(start..end, &mut edits, &Found { tenant: event.search.tenant, time: event.time });
    Ok(gatherer.finish())
}

/// The age past which Datadog refuses an event of version 1. It documents 18 hours (docs.datadoghq.com/api/latest/events); between
/// that and a day it is left to decide by itself.
const MAX_AGE: Duration = Duration::from_hours(24);

/// Refuses an event of version 1 in Datadog's words where it is too old for it.
pub(super) fn check_age(time: Option<UnixMillis>, now: UnixMillis, item: usize) -> Result<(), Stop> {
    match time {
        Some(time) if time < now.minus(MAX_AGE) => Err(invalid(item, "Event too far in the past")),
        _ => Ok(()),
    }
}

/// The time of an event.
pub(super) fn item_time(kind: Kind, item: &[u8]) -> Option<UnixMillis> {
    let mut scanner = Scanner::trusting(item);
    let mut event = Event { search: Search::new(None, 0), time: None };
    scanner.white();
    event.read(kind, &mut scanner, &mut Edits::default()).ok()?;
    event.time
}

struct Event<'t, 'a> {
    search: Search<'t, 'a>,
    time: Option<UnixMillis>,
}

impl<'a> Event<'_, 'a> {
    fn read(&mut self, kind: Kind, scanner: &mut Scanner<'a>, edits: &mut Edits) -> Result<(), Stop> {
        if scanner.peek() != Some(b'{') {
            return Err(malformed(scanner.at(), "expected an object"));
        }
        if kind == Kind::EventV1 {
            return self.read_v1(scanner, edits);
        }
        let mut has_data = false;
        scanner.object(|scanner, key| {
            if key.meaning().as_ref() != b"data" {
                return scanner.skip();
            }
            has_data = true;
            self.read_data(scanner, edits)
        })?;
        require(has_data, "`data`")
    }

    /// <https://docs.datadoghq.com/api/latest/events>, version 1: `title` and `text` are required.
    fn read_v1(&mut self, scanner: &mut Scanner<'a>, edits: &mut Edits) -> Result<(), Stop> {
        let (mut has_title, mut has_text) = (false, false);
        scanner.object(|scanner, key| {
            match key.meaning().as_ref() {
                b"title" => {
                    has_title = true;
                    require_text(scanner.text()?, "`title`")?;
                }
                b"text" => {
                    has_text = true;
                    require_text(scanner.text()?, "`text`")?;
                }
                b"date_happened" => self.time = scanner.number()?.map(dates::from_seconds),
                b"tags" if self.search.is_on() => drop(tags::pass(scanner, &mut self.search, edits)?),
                _ => scanner.skip()?,
            }
            Ok(())
        })?;
        require(has_title, "`title`")?;
        require(has_text, "`text`")
    }

    fn read_data(&mut self, scanner: &mut Scanner<'a>, edits: &mut Edits) -> Result<(), Stop> {
        let mut has_attributes = false;
        require(scanner.peek() == Some(b'{'), "an object `data`")?;
        scanner.object(|scanner, key| {
            if key.meaning().as_ref() != b"attributes" {
                return scanner.skip();
            }
            has_attributes = true;
            self.read_attributes(scanner, edits)
        })?;
        require(has_attributes, "`data.attributes`")
    }

    /// Version 2: `title` of 1 to 500 characters, `category` of two, `attributes` by category.
    fn read_attributes(&mut self, scanner: &mut Scanner<'a>, edits: &mut Edits) -> Result<(), Stop> {
        let (mut has_title, mut has_category, mut has_attributes) = (false, false, false);
        require(scanner.peek() == Some(b'{'), "an object `data.attributes`")?;
        scanner.object(|scanner, key| {
            match key.meaning().as_ref() {
                b"title" => {
                    has_title = true;
                    let title = require_text(scanner.text()?, "`title`")?;
                    let characters = String::from_utf8_lossy(&title.meaning()).chars().count();
                    if !(1..=500).contains(&characters) {
                        return Err(invalid(0, format!("`title` has {characters} characters, not 1 to 500")));
                    }
                }
                b"category" => {
                    has_category = true;
                    let category = require_text(scanner.text()?, "`category`")?;
                    if !matches!(category.meaning().as_ref(), b"change" | b"alert") {
                        return Err(invalid(0, "`category` must be `change` or `alert`; other events go to version 1"));
                    }
                }
                b"attributes" => {
                    has_attributes = scanner.peek() == Some(b'{');
                    scanner.skip()?;
                }
                b"timestamp" => {
                    let value = scanner.value()?;
                    self.time = dates::from_value(&scanner.whole()[value]);
                }
                b"tags" if self.search.is_on() => drop(tags::pass(scanner, &mut self.search, edits)?),
                _ => scanner.skip()?,
            }
            Ok(())
        })?;
        require(has_title, "`data.attributes.title`")?;
        require(has_category, "`data.attributes.category`")?;
        require(has_attributes, "an object `data.attributes.attributes`")
    }
}

fn require(has: bool, what: &str) -> Result<(), Stop> {
    if has { Ok(()) } else { Err(invalid(0, format!("the event has no {what}"))) }
}

fn require_text<'a>(text: Option<Text<'a>>, what: &str) -> Result<Text<'a>, Stop> {
    text.ok_or_else(|| invalid(0, format!("{what} must be a string")))
}
