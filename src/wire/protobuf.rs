//! The protobuf wire format, as far as metrics need it: fields with their ranges in the body, and payloads that are one
//! repeated field. A field's range matters more than its value: items are forwarded byte for byte, unknown fields
//! included, and only a tenant's tag is removed.

use super::edits::Edits;
use super::gather::{Found, Gatherer};
use super::part::{Context, Owner, Split, Stop, malformed};
use super::set_aside::fault;
use super::strings::utf8_end;
use super::tags::Search;
use crate::types::{Kind, UnixMillis};
use bytes::Bytes;
use std::ops::Range;

/// The number of the field that holds the items, in `MetricPayload` and `SketchPayload` alike.
const ITEMS: u32 = 1;

/// One field of a message.
#[derive(Debug, Clone)]
pub(super) struct Field<'a> {
    pub number: u32,
    pub value: Value<'a>,
    /// Its range in the body: key, length and content.
    pub range: Range<usize>,
}

/// The value of a field.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    /// A text, message or packed list.
    Bytes(Message<'a>),
    Fixed32,
}

/// The content of a message or text, and its range in the body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Message<'a> {
    /// A whole body as a message.
    pub fn whole(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Its fields, in order. After a fault there are no more.
    pub fn fields(self) -> Fields<'a> {
        Fields { message: self, at: 0 }
    }

    /// The values of a packed list of varints.
    pub fn varints(self, mut each: impl FnMut(u64)) -> Result<(), Stop> {
        let mut list = self.fields();
        while list.at < self.bytes.len() {
            each(list.varint()?);
        }
        Ok(())
    }
}

impl<'a> Field<'a> {
    /// Its content when it is a message or text.
    ///
    /// # Errors
    /// When it is a number: the message has another form then.
    pub fn message(&self) -> Result<Message<'a>, Stop> {
        match self.value {
            Value::Bytes(message) => Ok(message),
            _ => Err(malformed(self.range.start, "expected a field with a length")),
        }
    }

    /// Its value when it is a varint.
    pub fn varint(&self) -> Result<u64, Stop> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(malformed(self.range.start, "expected a varint field")),
        }
    }

    /// Its value when it is a double.
    pub fn double(&self) -> Result<f64, Stop> {
        match self.value {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(malformed(self.range.start, "expected a 64-bit field")),
        }
    }
}

/// Iterates over the fields of a message.
pub(super) struct Fields<'a> {
    message: Message<'a>,
    at: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Stop>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.message.bytes.len() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.at = self.message.bytes.len();
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<Field<'a>, Stop> {
        let start = self.at;
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or_else(|| self.fault(start, "no such protobuf field number"))?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length_at = self.at;
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                let at = self.at;
                let bytes = at.checked_add(length).and_then(|end| self.message.bytes.get(at..end));
                let bytes = bytes.ok_or_else(|| self.fault(length_at, "a length beyond the end of the message"))?;
                self.at += length;
                Value::Bytes(Message { bytes, at: self.message.at + at })
            }
            5 => {
                self.array::<4>()?;
                Value::Fixed32
            }
            _ => return Err(self.fault(start, "this wire type does not exist in proto3")),
        };
        Ok(Field { number, value, range: self.message.at + start..self.message.at + self.at })
    }

    fn varint(&mut self) -> Result<u64, Stop> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.message.bytes.get(self.at) else {
                return Err(self.fault(start, "the message ends inside a varint"));
            };
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.fault(start, "a varint of more than 10 bytes"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let array = self.message.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<N>);
        let array = *array.ok_or_else(|| self.fault(self.at, "the message ends inside a fixed-width field"))?;
        self.at += N;
        Ok(array)
    }

    fn fault(&self, at: usize, reason: &'static str) -> Stop {
        malformed(self.message.at + at, reason)
    }
}

/// An item of a payload, as far as it is read.
#[derive(Debug)]
pub(super) struct Item<'t, 'a> {
    /// Its index in the body.
    pub index: usize,
    /// The tenant in its tags.
    pub search: Search<'t, 'a>,
    /// The earliest of its times.
    pub oldest: Option<UnixMillis>,
}

impl<'t, 'a> Item<'t, 'a> {
    /// The item with that index, before reading.
    pub fn new(index: usize, tenant_tag: Option<&'t str>) -> Self {
        Self { index, search: Search::new(tenant_tag, index), oldest: None }
    }

    /// Notes one of the item's times, in seconds.
    pub fn note_seconds(&mut self, seconds: u64) {
        // An int64 on the wire is its two's complement.
        let time = UnixMillis::from_secs(seconds.cast_signed());
        self.oldest = Some(self.oldest.map_or(time, |oldest| oldest.min(time)));
    }

    /// Reads a tag, which is cut out when it names the tenant.
    pub fn read_tag(&mut self, field: &Field<'a>, edits: &mut Edits) -> Result<(), Stop> {
        let tag = field.message()?.bytes;
        if self.search.is_on() && self.search.is_tenant(tag)? {
            edits.cut(field.range.clone());
            return Ok(());
        }
        mended(field, edits).map(drop)
    }
}

/// The text of a field. One that is not UTF-8 is mended with U+FFFD, as Datadog does.
pub(super) fn mended<'a>(field: &Field<'a>, edits: &mut Edits) -> Result<&'a [u8], Stop> {
    let text = field.message()?.bytes;
    if utf8_end(text) != text.len() {
        edits.replace(field.range.clone(), &text_field(field.number, &String::from_utf8_lossy(text)));
    }
    Ok(text)
}

/// The message of a field with its texts mended, where these are the fields of those numbers.
pub(super) fn mended_message(field: &Field<'_>, texts: &[u32], edits: &mut Edits) -> Result<(), Stop> {
    let message = field.message()?;
    let mut inner = Edits::default();
    for field in message.fields() {
        let field = field?;
        if texts.contains(&field.number) {
            mended(&field, &mut inner)?;
        }
    }
    if !inner.is_empty() {
        let length = message.bytes.len() + inner.added_bytes() - inner.cut_bytes();
        let mut whole = key_and_length(field.number, length);
        // The offsets of edits are those of the body, in which the message begins later than in itself.
        inner.apply_at(message.at, message.bytes, &mut whole);
        edits.replace(field.range.clone(), &whole);
    }
    Ok(())
}

/// What is to be known of the items of a payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Format {
    /// Reads an item.
    pub read: ReadItem,
    /// The number of the field that holds an item's tags.
    pub tags: u32,
}

/// Reads one item: its message, the facts gathered, and the changes to make.
pub(super) type ReadItem = for<'t, 'a> fn(Message<'a>, &mut Item<'t, 'a>, &mut Edits) -> Result<(), Stop>;

/// Splits a payload; its fields other than the items are dropped, since a batch is made of many payloads.
pub(super) fn split(kind: Kind, body: &Bytes, context: &Context<'_>, format: Format) -> Result<Split, Stop> {
    let mut gatherer = Gatherer::new(kind, body, context.now);
    let mut edits = Edits::default();
    let mut end = 0;
    for field in Message::whole(body).fields() {
        let field = field?;
        if field.number != ITEMS {
            continue;
        }
        let message = field.message()?;
        let mut item = Item::new(gatherer.next_item(), context.tenant_tag);
        edits.clear();
        if let Err(stop) = (format.read)(message, &mut item, &mut edits) {
            let (owner, is_readable) = owner(message, format.tags, context.tenant_tag);
            gatherer.set_aside(field.range, owner, fault(*stop, item.index), is_readable);
            continue;
        }
        if !edits.is_empty() {
            let length = message.bytes.len() + edits.added_bytes() - edits.cut_bytes();
            edits.replace(field.range.start..message.at, &key_and_length(ITEMS, length));
        }
        if end != field.range.start {
            gatherer.interrupt();
        }
        end = field.range.end;
        let found = Found { tenant: item.search.tenant, time: item.oldest };
        gatherer.take(field.range, &mut edits, &found);
    }
    Ok(gatherer.finish())
}

/// The owner of an item that is set aside, by its tags; and whether it is protobuf.
#[cold]
fn owner(message: Message<'_>, tags: u32, tag: Option<&str>) -> (Owner, bool) {
    let mut search = Search::new(tag, 0);
    let mut is_known = true;
    for field in message.fields() {
        let Ok(field) = field else { return (if tag.is_some() { Owner::Unknown } else { Owner::Sender }, false) };
        if let (true, Value::Bytes(text)) = (field.number == tags, field.value) {
            is_known &= search.is_tenant(text.bytes).is_ok();
        }
    }
    match search.tenant {
        _ if !is_known => (Owner::Unknown, true),
        Some(tenant) => (Owner::Tenant(tenant.into_owned()), true),
        None => (Owner::Sender, true),
    }
}

/// The ranges of the items of a run.
pub(super) fn boundaries(run: &[u8]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for field in Message::whole(run).fields() {
        match field {
            Ok(field) if field.number == ITEMS => ranges.push(field.range),
            Ok(_) => {}
            Err(_) => {
                let start = ranges.last().map_or(0, |last| last.end);
                ranges.push(start..run.len());
            }
        }
    }
    ranges
}

/// The time of an item, which is a field of a payload.
pub(super) fn item_time(field: &[u8], format: Format) -> Option<UnixMillis> {
    let field = Message::whole(field).fields().next()?.ok()?;
    let mut item = Item::new(0, None);
    (format.read)(field.message().ok()?, &mut item, &mut Edits::default()).ok()?;
    item.oldest
}

/// A field with a text.
fn text_field(number: u32, text: &str) -> Vec<u8> {
    let mut bytes = key_and_length(number, text.len());
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// What precedes the content of a field with a length.
fn key_and_length(number: u32, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    for mut rest in [u64::from(number) << 3 | 2, length as u64] {
        while rest >= 0x80 {
            bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    bytes
}
