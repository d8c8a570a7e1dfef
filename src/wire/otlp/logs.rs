//! `ExportLogsServiceRequest` to Datadog's logs.
//!
//! The rules are those of Datadog's exporter (DataDog/datadog-agent, `pkg/opentelemetry-mapping-go/otlp/logs/transform.go`).
//! There a later source of an attribute overwrites an earlier one. Here the members of a log are written in the reverse order, and
//! a name that is taken is passed over.

use super::names::Names;
use super::options::Context;
use super::output::Output;
use super::point::fixed;
use super::reason::{Rejections, Trouble};
use super::resource::{self, Attributes};
use super::tags::Tags;
use super::value::{Attribute, Value, mended, write_integer, write_string};
use crate::types::UnixMillis;
use crate::wire::protobuf::Message;

/// Where logs are from when no attribute says so, as Datadog's exporters have it.
const SOURCE: &[u8] = b"otlp_log_ingestion";
/// The attribute that says so.
const SOURCE_ATTRIBUTE: &str = "datadog.log.source";

/// What a record says of itself, which overwrites attributes of its resource and scope.
const OWN: [&str; 10] = [
    "status",
    "otel.severity_text",
    "otel.severity_number",
    "dd.trace_id",
    "otel.trace_id",
    "dd.span_id",
    "otel.span_id",
    "otel.event_name",
    "otel.timestamp",
    "@timestamp",
];

/// Maps log records.
pub(super) struct Mapper<'m> {
    now: UnixMillis,
    /// The attribute that is no part of a resource.
    leave_out: Option<&'m str>,
    rejections: &'m mut Rejections,
    /// Scratch: the log in the making, the names in it, and one of them.
    log: Vec<u8>,
    names: Names,
    name: Vec<u8>,
    text: Vec<u8>,
}

/// What all records of a resource and scope have in common.
#[derive(Default)]
struct Scope {
    /// As members of the log, each with a comma after it.
    members: Vec<u8>,
    names: Names,
    /// Whether any of the names is one of [`OWN`].
    collides: bool,
    host: Option<Vec<u8>>,
    service: Vec<u8>,
    /// Joined by commas.
    tags: Vec<u8>,
    source: Vec<u8>,
}

/// A record, as it is read.
#[derive(Default)]
struct Record<'a> {
    /// In nanoseconds since the Unix epoch; 0 when it is not known.
    time: u64,
    observed: u64,
    severity: i64,
    severity_text: &'a [u8],
    body: Option<Message<'a>>,
    attributes: Attributes<'a>,
    /// Whether any attribute is more to Datadog than an attribute.
    has_roles: bool,
    trace_id: &'a [u8],
    span_id: &'a [u8],
    event_name: &'a [u8],
}

impl<'a> Record<'a> {
    fn read(message: Message<'a>) -> Result<Self, Trouble> {
        let mut record = Self::default();
        record.attributes.0.reserve(8);
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => record.time = fixed(&field)?,
                2 => record.severity = field.varint()?.cast_signed(),
                3 => record.severity_text = field.message()?.bytes,
                5 => record.body = Some(field.message()?),
                6 => {
                    let attribute = Attribute::read(&field)?;
                    record.has_roles |= Role::of(attribute.key) != Role::Other;
                    record.attributes.0.push(attribute);
                }
                9 => record.trace_id = field.message()?.bytes,
                10 => record.span_id = field.message()?.bytes,
                11 => record.observed = fixed(&field)?,
                12 => record.event_name = field.message()?.bytes,
                _ => {}
            }
        }
        Ok(record)
    }
}

/// What a record's attribute is to Datadog, by its name in lower case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Message,
    Status,
    TraceId,
    SpanId,
    Tags,
    Other,
}

impl Role {
    fn of(key: &[u8]) -> Self {
        let is_any = |names: &[&str]| names.iter().any(|name| key.eq_ignore_ascii_case(name.as_bytes()));
        // Most attributes are none of these, and longer or shorter.
        match key.len() {
            3 if is_any(&["msg", "log"]) => Self::Message,
            7 if is_any(&["message"]) => Self::Message,
            6 if is_any(&["status"]) => Self::Status,
            5 if is_any(&["level"]) => Self::Status,
            8 if is_any(&["severity"]) => Self::Status,
            15 if is_any(&["syslog.severity"]) => Self::Status,
            7 if is_any(&["traceid"]) => Self::TraceId,
            8 if is_any(&["trace_id"]) => Self::TraceId,
            11 if is_any(&["oteltraceid"]) => Self::TraceId,
            18 if is_any(&["contextmap.traceid"]) => Self::TraceId,
            6 if is_any(&["spanid"]) => Self::SpanId,
            7 if is_any(&["span_id"]) => Self::SpanId,
            10 if is_any(&["otelspanid"]) => Self::SpanId,
            17 if is_any(&["contextmap.spanid"]) => Self::SpanId,
            6 if is_any(&["ddtags"]) => Self::Tags,
            _ => Self::Other,
        }
    }
}

impl<'m> Mapper<'m> {
    pub fn new(context: &Context<'m>, rejections: &'m mut Rejections) -> Self {
        let (log, names, name, text) = Default::default();
        Self { now: context.clock.now, leave_out: context.attribute, rejections, log, names, name, text }
    }

    /// Maps a `ResourceLogs`, and gives how many records were refused.
    pub fn resource(&mut self, message: Message<'_>, output: &mut Output) -> Result<u64, Trouble> {
        let before = self.rejections.items();
        let attributes = resource::resource_attributes(message, self.leave_out)?;
        for field in message.fields() {
            let field = field?;
            if field.number != 2 {
                continue;
            }
            let scope_logs = field.message()?;
            let scope = Scope::read(scope_logs, &attributes);
            for field in scope_logs.fields() {
                let field = field?;
                if field.number == 2 {
                    let record = Record::read(field.message()?)?;
                    let mapped = match &scope {
                        Ok(scope) => self.record(&record, scope, output),
                        Err(Trouble::Item(reason)) => Err((*reason).into()),
                        Err(Trouble::Request(fault)) => Err(Trouble::Request(fault.clone())),
                    };
                    if let Err(trouble) = mapped {
                        self.rejections.note(trouble, None)?;
                    }
                }
            }
        }
        Ok(self.rejections.items() - before)
    }

    fn record(&mut self, record: &Record<'_>, scope: &Scope, output: &mut Output) -> Result<(), Trouble> {
        self.log.clear();
        self.names.clear();
        self.log.push(b'{');
        self.status(record)?;
        self.ids(record)?;
        let time = self.times(record);
        if !record.event_name.is_empty() {
            self.member("otel.event_name", record.event_name);
        }
        if scope.collides {
            self.scope_members(scope)?;
        } else {
            self.log.extend_from_slice(&scope.members);
        }
        self.attributes(record, scope)?;
        self.reserved(record, scope)?;
        if time.is_none() && self.is_free(b"timestamp", scope) {
            self.log.extend_from_slice(b"\"timestamp\":");
            write_integer(self.now.0, &mut self.log);
            self.log.push(b',');
        }
        self.log.pop();
        self.log.push(b'}');
        output.log(&self.log, time.unwrap_or(self.now))
    }

    /// Appends a member, whose name needs no escapes and is taken from now on.
    fn member(&mut self, name: &str, value: &[u8]) {
        if self.names.insert(name.as_bytes()) {
            self.log.push(b'"');
            self.log.extend_from_slice(name.as_bytes());
            self.log.extend_from_slice(b"\":");
            write_string(value, &mut self.log);
            self.log.push(b',');
        }
    }

    /// Whether no member of that name is written.
    fn is_free(&self, name: &[u8], scope: &Scope) -> bool {
        !self.names.contains(name) && !scope.names.contains(name)
    }

    fn status(&mut self, record: &Record<'_>) -> Result<(), Trouble> {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        for Attribute { value, .. } in of_role(record, Role::Status) {
            text.clear();
            value.write_text(&mut text)?;
        }
        let status = match (&text[..], record.severity_text) {
            (b"", b"") => severity(record.severity),
            (b"", text) => text,
            (attribute, _) => attribute,
        };
        self.member("status", status);
        if !record.severity_text.is_empty() {
            self.member("otel.severity_text", record.severity_text);
        }
        if record.severity != 0 {
            text.clear();
            write_integer(record.severity, &mut text);
            self.member("otel.severity_number", &text);
        }
        self.text = text;
        Ok(())
    }

    /// The ids of trace and span: the record's own, or else those of its attributes that can be read.
    fn ids(&mut self, record: &Record<'_>) -> Result<(), Trouble> {
        let mut text = std::mem::take(&mut self.text);
        for (own, role, length, datadog, otel) in [
            (record.trace_id, Role::TraceId, 16, "dd.trace_id", "otel.trace_id"),
            (record.span_id, Role::SpanId, 8, "dd.span_id", "otel.span_id"),
        ] {
            text.clear();
            if own.len() == length && own.iter().any(|&byte| byte != 0) {
                own.iter().for_each(|byte| text.extend_from_slice(&hex_digits(*byte)));
            } else {
                for Attribute { value, .. } in of_role(record, role) {
                    text.clear();
                    value.write_text(&mut text)?;
                    if low_half(&text, length).is_some() {
                        break;
                    }
                }
            }
            if let Some(id) = low_half(&text, length) {
                self.member(otel, &text);
                text.clear();
                write_integer(id, &mut text);
                self.member(datadog, &text);
            }
        }
        self.text = text;
        Ok(())
    }

    /// Writes the time, and gives it.
    fn times(&mut self, record: &Record<'_>) -> Option<UnixMillis> {
        let nanos = if record.time > 0 { record.time } else { record.observed };
        if nanos == 0 {
            return None;
        }
        self.names.insert(b"otel.timestamp");
        self.names.insert(b"@timestamp");
        self.log.extend_from_slice(b"\"otel.timestamp\":\"");
        write_integer(nanos, &mut self.log);
        self.log.extend_from_slice(b"\",\"@timestamp\":\"");
        let millis = (nanos / 1_000_000).cast_signed();
        crate::wire::dates::write_utc(UnixMillis(millis), &mut self.log);
        self.log.extend_from_slice(b"\",");
        Some(UnixMillis(millis))
    }

    /// The attributes of resource and scope again, one by one.
    fn scope_members(&mut self, scope: &Scope) -> Result<(), Trouble> {
        let mut scanner = crate::wire::json::Scanner::trusting(&scope.members);
        while scanner.peek().is_some() {
            let start = scanner.at();
            let Some(name) = scanner.text()? else { break };
            scanner.eat(b':');
            scanner.skip()?;
            scanner.eat(b',');
            if !self.names.contains(&name.meaning()) {
                self.log.extend_from_slice(&scope.members[start..scanner.at()]);
            }
        }
        Ok(())
    }

    fn attributes(&mut self, record: &Record<'_>, scope: &Scope) -> Result<(), Trouble> {
        for Attribute { key, value } in &record.attributes.0 {
            if record.has_roles && Role::of(key) != Role::Other {
                continue;
            }
            self.name.clear();
            self.name.extend_from_slice(&mended(key));
            let names = &mut self.names;
            let mut takes = |name: &[u8]| !scope.names.contains(name) && names.insert(name);
            value.write_members(&mut self.name, 1, &mut self.log, &mut takes)?;
        }
        Ok(())
    }

    /// The attributes that Datadog reserves, as far as no attribute of their names is there.
    fn reserved(&mut self, record: &Record<'_>, scope: &Scope) -> Result<(), Trouble> {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        for Attribute { value, .. } in of_role(record, Role::Message) {
            text.clear();
            value.write_text(&mut text)?;
        }
        if text.is_empty()
            && let Some(body) = record.body
        {
            Value::read(body)?.write_text(&mut text)?;
        }
        self.reserve("message", &text, scope);
        let host = match &scope.host {
            None => resource::host(&record.attributes)?,
            Some(_) => None,
        };
        if let Some(host) = host.as_ref().or(scope.host.as_ref()) {
            self.reserve("hostname", host, scope);
        }
        text.clear();
        if scope.service.is_empty() {
            record.attributes.get("service.name").map_or(Ok(()), |service| service.write_text(&mut text))?;
        }
        let service = if scope.service.is_empty() { &text } else { &scope.service };
        if !service.is_empty() {
            self.reserve("service", service, scope);
        }
        text.clear();
        for Attribute { value, .. } in of_role(record, Role::Tags) {
            text.clear();
            text.extend_from_slice(&scope.tags);
            if !text.is_empty() {
                text.push(b',');
            }
            value.write_text(&mut text)?;
        }
        let tags = if text.is_empty() { &scope.tags } else { &text };
        if !tags.is_empty() {
            self.reserve("ddtags", tags, scope);
        }
        text.clear();
        if let Some(source) = record.attributes.get(SOURCE_ATTRIBUTE) {
            source.write_text(&mut text)?;
        }
        let source = if text.is_empty() { &scope.source } else { &text };
        self.reserve("ddsource", source, scope);
        self.text = text;
        Ok(())
    }

    fn reserve(&mut self, name: &str, value: &[u8], scope: &Scope) {
        if !scope.names.contains(name.as_bytes()) {
            self.member(name, value);
        }
    }
}

impl Scope {
    fn read(message: Message<'_>, attributes: &Attributes<'_>) -> Result<Self, Trouble> {
        let mut scope = Self { host: resource::host(attributes)?, ..Self::default() };
        if let Some(service) = attributes.get("service.name") {
            service.write_text(&mut scope.service)?;
        }
        scope.source = match attributes.get(SOURCE_ATTRIBUTE) {
            Some(source) => {
                let mut text = Vec::new();
                source.write_text(&mut text)?;
                text
            }
            None => SOURCE.to_vec(),
        };
        let mut tags = Tags::default();
        resource::push_tags(attributes, &mut tags);
        for tag in tags.iter() {
            if !scope.tags.is_empty() {
                scope.tags.push(b',');
            }
            scope.tags.extend_from_slice(tag);
        }
        let own = match resource::member(message, 1)? {
            Some(own) => Attributes::read(own, 3, None)?,
            None => Attributes::default(),
        };
        for Attribute { key, value } in own.0 {
            scope.push(&mended(key), value)?;
        }
        for Attribute { key, value } in &attributes.0 {
            match *key {
                b"hostname" => scope.push(b"otel.hostname", *value)?,
                b"service" => scope.push(b"otel.service", *value)?,
                key => scope.push(&mended(key), *value)?,
            }
        }
        scope.collides = OWN.iter().any(|name| scope.names.contains(name.as_bytes()));
        Ok(scope)
    }

    fn push(&mut self, name: &[u8], value: Value<'_>) -> Result<(), Trouble> {
        if self.names.insert(name) {
            let mut text = Vec::new();
            value.write_text(&mut text)?;
            write_string(name, &mut self.members);
            self.members.push(b':');
            write_string(&text, &mut self.members);
            self.members.push(b',');
        }
        Ok(())
    }
}

/// The attributes of a record of that role.
fn of_role<'r, 'a>(record: &'r Record<'a>, role: Role) -> impl Iterator<Item = &'r Attribute<'a>> {
    let attributes = if record.has_roles { &record.attributes.0[..] } else { &[] };
    attributes.iter().filter(move |attribute| Role::of(attribute.key) == role)
}

/// The name of a severity (`statusFromSeverityNumber`).
fn severity(number: i64) -> &'static [u8] {
    match number {
        0 => b"",
        ..=4 => b"trace",
        5..=8 => b"debug",
        9..=12 => b"info",
        13..=16 => b"warn",
        21..=24 => b"fatal",
        _ => b"error",
    }
}

fn hex_digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// The low 64 bits of an id of `length` bytes in hexadecimal digits.
fn low_half(text: &[u8], length: usize) -> Option<u64> {
    if text.len() != 2 * length || !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(&text[text.len() - 16..]).ok()?, 16).ok()
}
