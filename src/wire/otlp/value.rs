//! Values of attributes and bodies (`AnyValue`): as the text of a tag, and as JSON.
//!
//! The texts are those of the Collector's `pcommon.Value.AsString`, which Datadog's exporter sends.

use super::reason::{Reason, Trouble};
use crate::wire::part::Stop;
use crate::wire::protobuf::{Field, Message, Value as Raw};
use crate::wire::strings;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;
use std::io::Write;

/// How deep a value may be nested.
const MAX_DEPTH: u32 = 32;

/// A value, whose inside has not been read yet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Empty,
    Text(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// `ArrayValue`
    Array(Message<'a>),
    /// `KeyValueList`
    Map(Message<'a>),
    Bytes(&'a [u8]),
}

/// A `KeyValue`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute<'a> {
    pub key: &'a [u8],
    pub value: Value<'a>,
}

impl<'a> Attribute<'a> {
    /// Reads the `KeyValue` in a field.
    pub fn read(field: &Field<'a>) -> Result<Self, Stop> {
        let mut attribute = Self { key: b"", value: Value::Empty };
        for field in field.message()?.fields() {
            let field = field?;
            match field.number {
                1 => attribute.key = field.message()?.bytes,
                2 => attribute.value = Value::read(field.message()?)?,
                _ => {}
            }
        }
        Ok(attribute)
    }
}

impl<'a> Value<'a> {
    /// Reads an `AnyValue`, of whose several values the last counts.
    pub fn read(message: Message<'a>) -> Result<Self, Stop> {
        let mut value = Self::Empty;
        for field in message.fields() {
            let field = field?;
            value = match (field.number, &field.value) {
                (1, _) => Self::Text(field.message()?.bytes),
                (2, _) => Self::Bool(field.varint()? != 0),
                (3, _) => Self::Int(field.varint()?.cast_signed()),
                (4, _) => Self::Double(field.double()?),
                (5, Raw::Bytes(array)) => Self::Array(*array),
                (6, Raw::Bytes(map)) => Self::Map(*map),
                (7, _) => Self::Bytes(field.message()?.bytes),
                _ => value,
            };
        }
        Ok(value)
    }

    /// The text when it is one, and nothing of any other value.
    pub fn as_text(self) -> &'a [u8] {
        if let Self::Text(text) = self { text } else { b"" }
    }

    /// Appends the value as text.
    pub fn write_text(self, out: &mut Vec<u8>) -> Result<(), Trouble> {
        match self {
            Self::Empty => {}
            Self::Text(text) => out.extend_from_slice(&mended(text)),
            Self::Bytes(bytes) => out.extend_from_slice(STANDARD.encode(bytes).as_bytes()),
            other => other.write_json(out, 0)?,
        }
        Ok(())
    }

    /// Appends the value as JSON; the keys of maps are sorted.
    fn write_json(self, out: &mut Vec<u8>, depth: u32) -> Result<(), Trouble> {
        if depth > MAX_DEPTH {
            return Err(Reason::NestedTooDeep.into());
        }
        match self {
            Self::Array(array) => write_array(array, out, |value, out| value.write_json(out, depth + 1))?,
            Self::Map(map) => {
                out.push(b'{');
                for (index, Attribute { key, value }) in sorted(map)?.into_iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_string(key, out);
                    out.push(b':');
                    value.write_json(out, depth + 1)?;
                }
                out.push(b'}');
            }
            other => other.write_scalar(out),
        }
        Ok(())
    }

    /// Appends a log's attribute as members of a JSON object, each with a comma after it: maps are flattened, their keys joined
    /// by dots, down to the tenth level, and below that become text. `takes` says whether a name is still free.
    pub fn write_members(
        self,
        name: &mut Vec<u8>,
        depth: u32,
        out: &mut Vec<u8>,
        takes: &mut impl FnMut(&[u8]) -> bool,
    ) -> Result<(), Trouble> {
        if let Self::Map(map) = self
            && depth < FLAT_DEPTH
        {
            for field in map.fields() {
                let field = field?;
                if field.number != 1 {
                    continue;
                }
                let Attribute { key, value } = Attribute::read(&field)?;
                let length = name.len();
                if length > 0 {
                    name.push(b'.');
                }
                name.extend_from_slice(&mended(key));
                value.write_members(name, depth + 1, out, takes)?;
                name.truncate(length);
            }
            return Ok(());
        }
        if takes(name) {
            write_string(name, out);
            out.push(b':');
            self.write_element(depth, out)?;
            out.push(b',');
        }
        Ok(())
    }

    /// Appends a value within a log's attribute: scalars and arrays stay what they are.
    fn write_element(self, depth: u32, out: &mut Vec<u8>) -> Result<(), Trouble> {
        match self {
            _ if depth > MAX_DEPTH => return Err(Reason::NestedTooDeep.into()),
            Self::Array(array) => write_array(array, out, |value, out| value.write_element(depth + 1, out))?,
            Self::Map(_) if depth < FLAT_DEPTH => {
                out.push(b'{');
                let start = out.len();
                let mut names = Vec::new();
                self.write_members(&mut Vec::new(), depth, out, &mut |name| {
                    let is_new = !names.iter().any(|known: &Vec<u8>| known == name);
                    names.push(name.to_vec());
                    is_new
                })?;
                if out.len() > start {
                    out.pop();
                }
                out.push(b'}');
            }
            Self::Map(_) => {
                let mut text = Vec::new();
                self.write_text(&mut text)?;
                write_string(&text, out);
            }
            other => other.write_scalar(out),
        }
        Ok(())
    }

    /// Appends a value that holds no others as JSON.
    fn write_scalar(self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Int(value) => write_integer(value, out),
            Self::Double(value) if value.is_finite() => write_double(value, out),
            Self::Double(value) => {
                out.push(b'"');
                write_double(value, out);
                out.push(b'"');
            }
            Self::Text(text) => write_string(text, out),
            Self::Bytes(bytes) => write_string(STANDARD.encode(bytes).as_bytes(), out),
            Self::Empty | Self::Array(_) | Self::Map(_) => out.extend_from_slice(b"null"),
        }
    }
}

/// How deep maps in a log's attributes are flattened (`flattenAttribute` in DataDog/datadog-agent,
/// `pkg/opentelemetry-mapping-go/otlp/logs/transform.go`).
const FLAT_DEPTH: u32 = 10;

fn write_array<'a>(
    array: Message<'a>,
    out: &mut Vec<u8>,
    mut write: impl FnMut(Value<'a>, &mut Vec<u8>) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    out.push(b'[');
    let start = out.len();
    for field in array.fields() {
        let field = field?;
        if field.number == 1 {
            if out.len() > start {
                out.push(b',');
            }
            write(Value::read(field.message()?)?, out)?;
        }
    }
    out.push(b']');
    Ok(())
}

/// The members of a map by key, of several with one key the last.
fn sorted(map: Message<'_>) -> Result<Vec<Attribute<'_>>, Stop> {
    let mut members: Vec<Attribute<'_>> = Vec::new();
    for field in map.fields() {
        let field = field?;
        if field.number == 1 {
            members.push(Attribute::read(&field)?);
        }
    }
    members.reverse();
    members.sort_by_key(|member| member.key);
    members.dedup_by_key(|member| member.key);
    Ok(members)
}

/// A text, in which whatever is not UTF-8 is replaced.
pub(super) fn mended(text: &[u8]) -> Cow<'_, [u8]> {
    if strings::utf8_end(text) == text.len() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(String::from_utf8_lossy(text).into_owned().into_bytes())
}

/// Appends a text as a JSON string.
pub(super) fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    strings::escape(&mended(text), out);
    out.push(b'"');
}

/// Appends an integer in decimal digits.
pub(super) fn write_integer(value: impl Into<i128>, out: &mut Vec<u8>) {
    let value = value.into();
    if value < 0 {
        out.push(b'-');
    }
    // What is written here is of 64 bits.
    let mut left = u64::try_from(value.unsigned_abs()).unwrap_or(u64::MAX);
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a double in its shortest form, with an exponent where Go's JSON has one.
pub(super) fn write_double(value: f64, out: &mut Vec<u8>) {
    let size = value.abs();
    let _ = if value.is_infinite() {
        write!(out, "{}Inf", if value < 0.0 { '-' } else { '+' })
    } else if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        match text.split_once('e') {
            Some((digits, exponent)) if size >= 1e21 => write!(out, "{digits}e+{exponent}"),
            _ => write!(out, "{text}"),
        }
    } else {
        write!(out, "{value}")
    };
}
