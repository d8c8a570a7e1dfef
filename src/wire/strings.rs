//! The inside of JSON strings: UTF-8, the bytes that end a plain stretch, escaping and unescaping.

use super::part::{Stop, malformed};
use bytes::Bytes;
use wide::u8x16;

/// The length of the prefix of `text` that is UTF-8: usually all of it.
pub(super) fn utf8_end(text: &[u8]) -> usize {
    match simdutf8::basic::from_utf8(text) {
        Ok(_) => text.len(),
        Err(_) => std::str::from_utf8(text).err().map_or(text.len(), |error| error.valid_up_to()),
    }
}

/// A body as UTF-8 text without a byte order mark. What is not UTF-8 becomes U+FFFD, as at Datadog.
pub(super) fn text(body: &Bytes) -> Bytes {
    let start = if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let body = body.slice(start..);
    if utf8_end(&body) == body.len() { body } else { String::from_utf8_lossy(&body).into_owned().into() }
}

/// The offset of the first quote, backslash or control character from `at`, or the length of `text`.
#[inline]
pub(super) fn plain_end(text: &[u8], mut at: usize) -> usize {
    while let Some(&block) = text.get(at..).and_then(<[u8]>::first_chunk::<16>) {
        match special_bytes(block) {
            0 => at += 16,
            found => return at + found.trailing_zeros() as usize,
        }
    }
    while let Some(&byte) = text.get(at) {
        if byte == b'"' || byte == b'\\' || byte < 0x20 {
            break;
        }
        at += 1;
    }
    at
}

/// A bit for each byte that is a quote, a backslash or a control character.
#[inline]
fn special_bytes(block: [u8; 16]) -> u32 {
    let block = u8x16::new(block);
    let is_control = block.min(u8x16::splat(0x1f)).cmp_eq(block);
    let is_special = block.cmp_eq(u8x16::splat(b'"')) | block.cmp_eq(u8x16::splat(b'\\')) | is_control;
    is_special.move_mask().cast_unsigned()
}

/// The offset behind the escape at `at`.
pub(super) fn pass_escape(text: &[u8], at: usize) -> Result<usize, Stop> {
    match text.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match text.get(at + 2..at + 6) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
            _ => Err(malformed(at, "expected four hexadecimal digits after `\\u`")),
        },
        _ => Err(malformed(at, "no such escape")),
    }
}

/// Appends the unescaped string to `plain`; `raw` has been scanned before.
pub(super) fn unescape(raw: &[u8], plain: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        plain.extend_from_slice(&rest[..at]);
        let Some(&letter) = rest.get(at + 1) else { return };
        rest = &rest[at + 2..];
        let byte = match letter {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (meant, length) = code_point(rest);
                plain.extend_from_slice(meant.encode_utf8(&mut [0; 4]).as_bytes());
                rest = rest.get(length..).unwrap_or_default();
                continue;
            }
            other => other,
        };
        plain.push(byte);
    }
    plain.extend_from_slice(rest);
}

/// The character of a `\u` escape whose digits `rest` begins with (a pair of surrogates is one character), and how many
/// bytes of `rest` it takes.
fn code_point(rest: &[u8]) -> (char, usize) {
    let unit = |at: usize| {
        let digits = rest.get(at..at + 4)?;
        digits.iter().try_fold(0u32, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
    };
    let first = unit(0).unwrap_or(0xFFFD);
    if (0xD800..0xDC00).contains(&first)
        && rest.get(4..6) == Some(b"\\u")
        && let Some(second @ 0xDC00..0xE000) = unit(6)
    {
        let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 10);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 4)
}

/// Appends `plain`, which is UTF-8, to `out` as the inside of a JSON string.
pub(super) fn escape(plain: &[u8], out: &mut Vec<u8>) {
    let mut rest = plain;
    loop {
        let end = plain_end(rest, 0);
        out.extend_from_slice(&rest[..end]);
        let Some(&byte) = rest.get(end) else { return };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        rest = &rest[end + 1..];
    }
}
