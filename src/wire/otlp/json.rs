//! OTLP's JSON, turned into OTLP's protobuf, so that everything behind it knows one encoding.
//!
//! Every message is read with a table of its fields, names that are in no table are passed over, and nothing is kept but the
//! output. A field's presence survives, so that an absent `sum` is not a sum of 0.

use super::schema::{Field, Schema, Shape};
use crate::wire::json::{Number, Scanner};
use crate::wire::part::{Refusal, Stop, malformed};
use crate::wire::strings;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// How deep messages may be nested: an [`AnyValue`](super::value) of 32 levels takes 64 messages and those around it 8.
const MAX_DEPTH: u32 = 80;

/// The length of a message is written before it is known, in as many bytes as the longest needs.
const LENGTH_BYTES: usize = 5;

/// The protobuf of the JSON request `body`, of at most `limit` bytes.
pub(super) fn to_protobuf(schema: &'static Schema, body: &[u8], limit: usize) -> Result<Vec<u8>, Stop> {
    let mended;
    let body = match strings::utf8_end(body) {
        end if end == body.len() => body,
        _ => {
            mended = String::from_utf8_lossy(body);
            mended.as_bytes()
        }
    };
    let mut scanner = Scanner::trusting(body);
    // Names and punctuation make JSON several times as long.
    let mut writer = Writer { out: Vec::with_capacity(body.len() / 2), limit };
    scanner.white();
    writer.message(schema, &mut scanner, 0)?;
    scanner.end()?;
    Ok(writer.out)
}

struct Writer {
    out: Vec<u8>,
    limit: usize,
}

impl Writer {
    fn message(&mut self, schema: &'static Schema, scanner: &mut Scanner<'_>, depth: u32) -> Result<(), Stop> {
        if depth == MAX_DEPTH {
            return Err(malformed(scanner.at(), "nested too deep"));
        }
        scanner.object(|scanner, key| {
            let name = key.meaning();
            match schema.fields.iter().find(|field| field.name.as_bytes() == name.as_ref()) {
                None => scanner.skip(),
                Some(_) if scanner.peek() == Some(b'n') => scanner.skip(),
                Some(field) if field.repeated => self.repeated(field, scanner, depth),
                Some(field) => {
                    self.key(field);
                    self.value(field, scanner, depth)
                }
            }
        })
    }

    fn repeated(&mut self, field: &'static Field, scanner: &mut Scanner<'_>, depth: u32) -> Result<(), Stop> {
        if scanner.peek() != Some(b'[') {
            return Err(malformed(scanner.at(), "expected an array"));
        }
        if let Shape::Message(_) = field.shape {
            return scanner.array(|scanner| {
                self.key(field);
                self.value(field, scanner, depth)
            });
        }
        self.varint(u64::from(field.number) << 3 | 2);
        self.with_length(scanner.at(), |writer| scanner.array(|scanner| writer.value(field, scanner, depth)))
    }

    fn value(&mut self, field: &'static Field, scanner: &mut Scanner<'_>, depth: u32) -> Result<(), Stop> {
        let at = scanner.at();
        match field.shape {
            Shape::Message(schema) => self.with_length(at, |writer| writer.message(schema, scanner, depth + 1))?,
            Shape::Text => {
                let text = scanner.text()?.ok_or_else(|| malformed(at, "expected a text"))?;
                self.bytes(&text.meaning());
            }
            Shape::Base64 => {
                let text = scanner.text()?.ok_or_else(|| malformed(at, "expected bytes in base64"))?;
                let bytes = base64(&text.meaning()).ok_or_else(|| malformed(at, "not base64"))?;
                self.bytes(&bytes);
            }
            Shape::Hex => {
                let text = scanner.text()?.ok_or_else(|| malformed(at, "expected an id in hexadecimal digits"))?;
                let bytes = hex(&text.meaning()).ok_or_else(|| malformed(at, "an id is hexadecimal digits"))?;
                self.bytes(&bytes);
            }
            Shape::Bool => match scanner.peek() {
                Some(first @ (b't' | b'f')) => {
                    scanner.skip()?;
                    self.out.push(u8::from(first == b't'));
                }
                _ => return Err(malformed(at, "expected true or false")),
            },
            Shape::Int => self.varint(integer(scanner)?.cast_unsigned()),
            Shape::Uint => self.varint(unsigned(scanner)?),
            Shape::Sint => {
                let value = integer(scanner)?;
                self.varint((value << 1 ^ value >> 63).cast_unsigned());
            }
            Shape::Fixed64 => self.out.extend_from_slice(&unsigned(scanner)?.to_le_bytes()),
            Shape::Sfixed64 => self.out.extend_from_slice(&integer(scanner)?.to_le_bytes()),
            Shape::Double => self.out.extend_from_slice(&double(scanner)?.to_le_bytes()),
        }
        if self.out.len() > self.limit {
            let reason = format!("the request would take more than {} bytes as protobuf", self.limit);
            return Err(Box::new(Refusal::Malformed { at, reason }));
        }
        Ok(())
    }

    fn key(&mut self, field: &Field) {
        let wire_type = match field.shape {
            Shape::Message(_) | Shape::Text | Shape::Base64 | Shape::Hex => 2,
            Shape::Bool | Shape::Int | Shape::Uint | Shape::Sint => 0,
            Shape::Fixed64 | Shape::Sfixed64 | Shape::Double => 1,
        };
        self.varint(u64::from(field.number) << 3 | wire_type);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// Writes something with its length before it.
    fn with_length(&mut self, at: usize, write: impl FnOnce(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; LENGTH_BYTES]);
        write(self)?;
        let mut length = self.out.len() - start - LENGTH_BYTES;
        for byte in &mut self.out[start..start + LENGTH_BYTES - 1] {
            *byte = (length & 0x7f) as u8 | 0x80;
            length >>= 7;
        }
        self.out[start + LENGTH_BYTES - 1] =
            u8::try_from(length).ok().filter(|&byte| byte < 0x80).ok_or_else(|| malformed(at, "too long"))?;
        Ok(())
    }
}

/// The text of a number, which may stand in quotes.
fn number<'a>(scanner: &mut Scanner<'a>, expected: &str) -> Result<(usize, Number<'a>), Stop> {
    let at = scanner.at();
    let number = match scanner.peek() {
        Some(b'"') => scanner.text()?.filter(|text| !text.escaped).map(|text| Number(text.raw)),
        _ => scanner.number()?,
    };
    number.map(|number| (at, number)).ok_or_else(|| malformed(at, expected))
}

fn integer(scanner: &mut Scanner<'_>) -> Result<i64, Stop> {
    let (at, number) = number(scanner, "expected an integer")?;
    number
        .integer()
        .or_else(|| whole(number).filter(|value| value.abs() < 9.3e18).map(|value| value as i64))
        .ok_or_else(|| malformed(at, "expected an integer of 64 bits; names of an enumeration are not allowed"))
}

fn unsigned(scanner: &mut Scanner<'_>) -> Result<u64, Stop> {
    let (at, number) = number(scanner, "expected an integer that is not negative")?;
    std::str::from_utf8(number.0)
        .ok()
        .and_then(|text| text.parse().ok())
        .or_else(|| whole(number).filter(|value| (0.0..1.9e19).contains(value)).map(|value| value as u64))
        .ok_or_else(|| malformed(at, "expected an integer of 64 bits that is not negative"))
}

/// A whole number that is written with a fraction or an exponent.
fn whole(number: Number<'_>) -> Option<f64> {
    let text = std::str::from_utf8(number.0).ok()?;
    let value: f64 = text.parse().ok().filter(|_| text.ends_with(|last: char| last.is_ascii_digit()))?;
    (value.fract() == 0.0).then_some(value)
}

fn double(scanner: &mut Scanner<'_>) -> Result<f64, Stop> {
    let (at, Number(text)) = number(scanner, "expected a number")?;
    let value = match text {
        b"NaN" => Some(f64::NAN),
        b"Infinity" => Some(f64::INFINITY),
        b"-Infinity" => Some(f64::NEG_INFINITY),
        _ if !text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) => None,
        _ => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()),
    };
    value.ok_or_else(|| malformed(at, "expected a number"))
}

/// Base64 in either alphabet, padded or not, as proto3's JSON allows.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let standard: Vec<u8> = text
        .iter()
        .map(|&byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect();
    let padding = standard.iter().rev().take_while(|&&byte| byte == b'=').count().min(2);
    STANDARD_NO_PAD.decode(&standard[..standard.len() - padding]).ok()
}

fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16);
    pairs.iter().map(|&[high, low]| u8::try_from(digit(high)? << 4 | digit(low)?).ok()).collect()
}
