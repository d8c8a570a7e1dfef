//! Logs: JSON objects, or lines of text.
//! A log only has to be an object: `message` is required on paper only, and logs of attributes alone are common. A log
//! without a date gets the time of acceptance, since Datadog would give it the time of its delivery, and the query's
//! attributes are added to each log, since a batch is sent without a query.

use super::dates;
use super::edits::Edits;
use super::gather::{Found, Gatherer};
use super::json::{Scanner, Text};
use super::part::{Context, Split, Stop, invalid, malformed};
use super::set_aside::set_aside;
use super::strings;
use super::tags::{self, Search, TagsEnd};
use crate::types::{Kind, UnixMillis};
use bytes::Bytes;
use std::borrow::Cow;
use std::ops::Range;

/// Splits a JSON object, or an array of objects.
pub(super) fn split_json(body: &Bytes, context: &Context<'_>) -> Result<Split, Stop> {
    let mut scanner = Scanner::trusting(body);
    let mut gatherer = Gatherer::new(Kind::Logs, body, context.now);
    let mut splitter = Splitter::new(context)?;
    scanner.white();
    if scanner.peek() == Some(b'[') {
        scanner.array(|scanner| splitter.take(scanner, &mut gatherer))?;
    } else if scanner.peek() == Some(b'{') {
        splitter.take(&mut scanner, &mut gatherer)?;
    } else {
        return Err(malformed(scanner.at(), "expected an object or an array of objects"));
    }
    scanner.end()?;
    Ok(gatherer.finish())
}

/// Splits text into lines: each is a log, except empty ones.
pub(super) fn split_text(body: &Bytes, context: &Context<'_>) -> Result<Split, Stop> {
    let mut gatherer = Gatherer::new(Kind::Logs, body, context.now);
    let splitter = Splitter::new(context)?;
    let mut start = 0;
    while start < body.len() {
        let end = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |length| start + length);
        let line = body[start..end].strip_suffix(b"\r").unwrap_or(&body[start..end]);
        if !line.is_empty() {
            let date = date_within(line);
            let found = Found { tenant: splitter.tenant.as_deref().map(Cow::Borrowed), time: date.time() };
            gatherer.write(start..end, &found, |out| splitter.write_line(line, date.is_missing(), out));
        }
        start = end + 1;
    }
    Ok(gatherer.finish())
}

/// A log's own timestamp.
pub(super) fn item_time(item: &[u8]) -> Option<UnixMillis> {
    let mut log = Log::default();
    log.read(&mut Scanner::trusting(item), &mut Search::new(None, 0), &mut Edits::default()).ok()?;
    log.date(item, &mut Vec::new()).time()
}

/// Text common to all logs of a request, ready to be inserted.
struct Splitter<'c> {
    tenant_tag: Option<&'c str>,
    /// The tenant that the query's tags name.
    tenant: Option<String>,
    /// `"timestamp":<now>`
    timestamp: Vec<u8>,
    source: Option<Vec<u8>>,
    hostname: Option<Vec<u8>>,
    service: Option<Vec<u8>>,
    tags: Option<QueryTags>,
    edits: Edits,
    /// Scratch: the text inserted at the start of a log.
    head: Vec<u8>,
    /// Scratch: an unescaped `message`.
    message: Vec<u8>,
}

/// The tags of a query in the forms that a log may need them in.
struct QueryTags {
    /// `"ddtags":"a,b"`
    field: Vec<u8>,
    /// `a,b`
    joined: Vec<u8>,
    /// `"a","b"`
    elements: Vec<u8>,
}

impl<'c> Splitter<'c> {
    fn new(context: &Context<'c>) -> Result<Self, Stop> {
        let defaults = context.log_defaults;
        let mut search = Search::new(context.tenant_tag, 0);
        let tags = match &defaults.tags {
            Some(tags) if search.is_on() => Some(tags::take_out(tags, &mut search)?),
            tags => tags.clone(),
        };
        let tags = tags.filter(|tags| !tags.is_empty()).map(|tags| {
            let mut joined = Vec::new();
            strings::escape(tags.as_bytes(), &mut joined);
            let elements: Vec<_> = tags.split(',').map(quoted).collect();
            QueryTags { field: field("ddtags", &tags), joined, elements: elements.join(&b',') }
        });
        Ok(Self {
            tenant_tag: context.tenant_tag,
            tenant: search.tenant.map(Cow::into_owned),
            timestamp: format!("{TIMESTAMP_KEY}{}", context.now.0).into_bytes(),
            source: defaults.source.as_deref().map(|value| field("ddsource", value)),
            hostname: defaults.hostname.as_deref().map(|value| field("hostname", value)),
            service: defaults.service.as_deref().map(|value| field("service", value)),
            tags,
            edits: Edits::default(),
            head: Vec::new(),
            message: Vec::new(),
        })
    }

    /// Takes the log at the cursor.
    fn take<'a>(&mut self, scanner: &mut Scanner<'a>, gatherer: &mut Gatherer<'_>) -> Result<(), Stop> {
        let start = scanner.at();
        self.edits.clear();
        match self.read(scanner, gatherer.next_item()) {
            Ok(found) => gatherer.take(start..scanner.at(), &mut self.edits, &found),
            Err(stop) => set_aside(scanner, start, stop, self.tenant_tag, gatherer)?,
        }
        Ok(())
    }

    /// Reads the log at the cursor, and edits in what it lacks.
    fn read<'a>(&mut self, scanner: &mut Scanner<'a>, item: usize) -> Result<Found<'a>, Stop> {
        let start = scanner.at();
        if scanner.peek() != Some(b'{') {
            return Err(invalid(item, "a log must be a JSON object"));
        }
        let body = scanner.whole();
        let mut search = Search::new(self.tenant_tag, item);
        if let Some(tenant) = &self.tenant {
            search.tenant = Some(Cow::Owned(tenant.clone()));
        }
        let mut log = Log { wants_tags: self.tags.is_some(), ..Log::default() };
        log.read(scanner, &mut search, &mut self.edits)?;
        let date = log.date(body, &mut self.message);
        self.add_missing(&log, start, date.is_missing());
        Ok(Found { tenant: search.tenant, time: date.time() })
    }

    /// Inserts the attributes that a log lacks.
    fn add_missing(&mut self, log: &Log<'_>, start: usize, lacks_date: bool) {
        self.head.clear();
        let mut add = |wanted: bool, field: Option<&Vec<u8>>| {
            if let (true, Some(field)) = (wanted, field) {
                self.head.extend_from_slice(field);
                self.head.push(b',');
            }
        };
        match &log.blank_timestamp {
            Some(value) if lacks_date => self.edits.replace(value.clone(), &self.timestamp[TIMESTAMP_KEY.len()..]),
            _ => add(lacks_date, Some(&self.timestamp)),
        }
        add(!log.has_source, self.source.as_ref());
        add(!log.has_host, self.hostname.as_ref());
        add(!log.has_service, self.service.as_ref());
        if let Some(QueryTags { field, joined, elements }) = &self.tags {
            match &log.tags {
                Tags::None => add(true, Some(field)),
                Tags::Null(range) => {
                    self.edits.replace(range.clone(), &quoted_raw(joined));
                }
                Tags::At(tags) => {
                    if tags.filled {
                        self.edits.insert(tags.end, b",");
                    }
                    self.edits.insert(tags.end, if tags.array { elements } else { joined });
                }
                Tags::Other => {}
            }
        }
        if log.is_empty {
            self.head.pop();
        }
        if !self.head.is_empty() {
            self.edits.insert(start + 1, &self.head);
        }
    }

    /// Appends a line of text as a log.
    fn write_line(&self, line: &[u8], lacks_date: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"message\":\"");
        strings::escape(line, out);
        out.push(b'"');
        let timestamp = lacks_date.then_some(&self.timestamp);
        let tags = self.tags.as_ref().map(|tags| &tags.field);
        let fields = [timestamp, self.source.as_ref(), tags, self.hostname.as_ref(), self.service.as_ref()];
        for field in fields.into_iter().flatten() {
            out.push(b',');
            out.extend_from_slice(field);
        }
        out.push(b'}');
    }
}

const TIMESTAMP_KEY: &str = "\"timestamp\":";

/// The attributes read of a log.
#[derive(Default)]
struct Log<'a> {
    is_empty: bool,
    has_source: bool,
    has_host: bool,
    has_service: bool,
    /// Whether the position of the tags is needed although no tenant is searched in them.
    wants_tags: bool,
    tags: Tags,
    /// The first date attribute in Datadog's order: its rank there, and the range of its value.
    date: Option<(u8, Range<usize>)>,
    /// The value of a `timestamp` that is none.
    blank_timestamp: Option<Range<usize>>,
    message: Option<Text<'a>>,
    /// The message where it is an object.
    message_object: Option<Range<usize>>,
}

/// The form of a log's `ddtags`.
#[derive(Default)]
enum Tags {
    #[default]
    None,
    Null(Range<usize>),
    At(TagsEnd),
    /// Neither text nor array: left alone.
    Other,
}

/// The rank in Datadog's order of a date attribute in `syslog` (docs.datadoghq.com/logs/log_configuration/pipelines).
const SYSLOG_TIMESTAMP: u8 = 7;
const TIMESTAMP: u8 = 1;

impl<'a> Log<'a> {
    /// Reads the object at the cursor.
    fn read(&mut self, scanner: &mut Scanner<'a>, search: &mut Search<'_, 'a>, edits: &mut Edits) -> Result<(), Stop> {
        self.is_empty = true;
        scanner.object(|scanner, key| {
            self.is_empty = false;
            if key.escaped {
                self.attribute(&key.meaning(), scanner, search, edits)
            } else {
                self.attribute(key.raw, scanner, search, edits)
            }
        })
    }

    /// Reads one attribute; the cursor is on its value. Names are compared by length first: most match none.
    fn attribute(
        &mut self,
        name: &[u8],
        scanner: &mut Scanner<'a>,
        search: &mut Search<'_, 'a>,
        edits: &mut Edits,
    ) -> Result<(), Stop> {
        let date_rank = match name.len() {
            4 => match name {
                b"date" => 5,
                b"host" => {
                    self.has_host = true;
                    return scanner.skip();
                }
                b"tags" if search.is_on() => return tags::pass(scanner, search, edits).map(drop),
                _ => return scanner.skip(),
            },
            6 => match name {
                b"ddtags" if search.is_on() || self.wants_tags => return self.read_tags(scanner, search, edits),
                b"syslog" if scanner.peek() == Some(b'{') => return self.read_syslog(scanner),
                _ => return scanner.skip(),
            },
            7 => match name {
                b"message" if scanner.peek() == Some(b'{') => {
                    self.message_object = Some(scanner.value()?);
                    return Ok(());
                }
                b"message" => {
                    self.message = scanner.text()?;
                    return Ok(());
                }
                b"service" => {
                    self.has_service = true;
                    return scanner.skip();
                }
                _ => return scanner.skip(),
            },
            8 => {
                self.has_source |= name == b"ddsource";
                self.has_host |= name == b"hostname";
                return scanner.skip();
            }
            9 => match name {
                b"timestamp" => TIMESTAMP,
                b"Timestamp" => 3,
                b"eventTime" => 4,
                _ => return scanner.skip(),
            },
            10 => match name {
                b"@timestamp" => 0,
                b"_timestamp" => 2,
                _ => return scanner.skip(),
            },
            14 if name == b"published_date" => 6,
            14 => {
                self.has_service |= name == b"syslog.appname";
                return scanner.skip();
            }
            15 => {
                self.has_host |= name == b"syslog.hostname";
                return scanner.skip();
            }
            16 if name == b"syslog.timestamp" => SYSLOG_TIMESTAMP,
            _ => return scanner.skip(),
        };
        let value = scanner.value()?;
        self.note_date(date_rank, value, scanner.whole());
        Ok(())
    }

    /// Notes a date attribute. Of what can be no date, Datadog would take the time of delivery.
    fn note_date(&mut self, rank: u8, value: Range<usize>, body: &[u8]) {
        if is_blank(&body[value.clone()]) {
            if rank == TIMESTAMP {
                self.blank_timestamp = Some(value);
            }
        } else if self.date.as_ref().is_none_or(|(first, _)| rank <= *first) {
            self.date = Some((rank, value));
        }
    }

    fn read_tags(
        &mut self,
        scanner: &mut Scanner<'a>,
        search: &mut Search<'_, 'a>,
        edits: &mut Edits,
    ) -> Result<(), Stop> {
        let start = scanner.at();
        let is_null = scanner.peek() == Some(b'n');
        self.tags = match tags::pass(scanner, search, edits)? {
            Some(tags) => Tags::At(tags),
            None if is_null => Tags::Null(start..scanner.at()),
            None => Tags::Other,
        };
        Ok(())
    }

    /// The attributes that Datadog takes from a nested `syslog` object.
    fn read_syslog(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Stop> {
        scanner.object(|scanner, key| {
            match key.meaning().as_ref() {
                b"timestamp" => {
                    let value = scanner.value()?;
                    self.note_date(SYSLOG_TIMESTAMP, value, scanner.whole());
                }
                name => {
                    self.has_host |= name == b"hostname";
                    self.has_service |= name == b"appname";
                    scanner.skip()?;
                }
            }
            Ok(())
        })
    }

    /// The log's date. `scratch` is for its unescaped message.
    fn date(&self, body: &[u8], scratch: &mut Vec<u8>) -> Date {
        if let Some((_, value)) = &self.date {
            return Date::of_value(&body[value.clone()]);
        }
        if let Some(object) = &self.message_object {
            return date_within(&body[object.clone()]);
        }
        match self.message {
            // Without escaped quotes it contains no keys.
            Some(message) if message.escaped && looks_like_object(message.raw) => {
                scratch.clear();
                strings::unescape(message.raw, scratch);
                date_within(scratch)
            }
            _ => Date::Missing,
        }
    }
}

/// The date of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Date {
    /// It has no date attribute.
    Missing,
    /// It has one in a form that is not understood here; Datadog may understand it.
    Unread,
    Read(UnixMillis),
}

impl Date {
    fn of_value(value: &[u8]) -> Self {
        dates::from_value(value).map_or(Self::Unread, Self::Read)
    }

    fn is_missing(self) -> bool {
        self == Self::Missing
    }

    fn time(self) -> Option<UnixMillis> {
        if let Self::Read(time) = self { Some(time) } else { None }
    }
}

/// The date attribute within a message: Datadog parses a message that is a JSON object and takes the date from there, so
/// such a log has one.
fn date_within(message: &[u8]) -> Date {
    if !looks_like_object(message) {
        return Date::Missing;
    }
    let mut scanner = Scanner::trusting(message);
    let mut inner = Log::default();
    scanner.white();
    let read = inner.read(&mut scanner, &mut Search::new(None, 0), &mut Edits::default());
    match inner.date {
        Some((_, value)) if read.is_ok() && scanner.end().is_ok() => Date::of_value(&message[value]),
        _ => Date::Missing,
    }
}

/// Whether a JSON value can be no date.
fn is_blank(value: &[u8]) -> bool {
    match value {
        [b'"', inside @ .., b'"'] => inside.trim_ascii().is_empty(),
        [b'-' | b'0'..=b'9', ..] => false,
        _ => true,
    }
}

fn looks_like_object(text: &[u8]) -> bool {
    text.trim_ascii_start().first() == Some(&b'{')
}

/// `"name":"value"`
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = quoted(name);
    field.push(b':');
    field.extend_from_slice(&quoted(value));
    field
}

/// A text as a JSON string.
fn quoted(text: &str) -> Vec<u8> {
    let mut inside = Vec::with_capacity(text.len());
    strings::escape(text.as_bytes(), &mut inside);
    quoted_raw(&inside)
}

/// The inside of a JSON string with quotes around it.
fn quoted_raw(inside: &[u8]) -> Vec<u8> {
    [b"\"", inside, b"\""].concat()
}
