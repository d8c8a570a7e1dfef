//! Undoing content encodings, with the size bounded while it grows.
//!
//! A few kilobytes can unpack to gigabytes, so output space is granted in steps up to the limit, each step is reserved
//! from the memory of all bodies, and work ends with the first byte beyond.

use super::budget::{Exhausted, Reservation};
use crate::types::Encoding;
use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

/// The longest list of encodings that is undone. Senders use one; each further one multiplies the work.
const MAX_LIST: usize = 4;

/// The most gzip members in one body: concatenation is valid, but each member costs setting up a decoder.
const MAX_MEMBERS: usize = 4096;

/// The largest zstd window, as a power of two: what RFC 8878 recommends every decoder to support. The decoder
/// allocates what a frame header asks for.
const ZSTD_WINDOW_LOG: u32 = 23;

/// The first output space beyond what the compressed data announces of itself or is likely to need.
const FIRST_STEP: usize = 4 << 10;

/// What `Content-Encoding` lists, identities left out, in the order of application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Encodings {
    list: [Option<Encoding>; MAX_LIST],
}

/// Why `Content-Encoding` is not taken. `Display` is the text for the emitter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsupported {
    /// An encoding that is not known.
    #[error("unknown Content-Encoding {0:?}: send gzip, deflate (zlib), zstd or no encoding")]
    Unknown(String),
    /// Too many.
    #[error("Content-Encoding lists more than {MAX_LIST} encodings: one is enough")]
    TooMany,
}

/// Why a body could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// Larger than the limit once decoded.
    TooLarge,
    /// The bodies of all requests together take too much memory just now.
    Exhausted,
    /// Not the encoding that it should be, for the reason given.
    Corrupt(Encoding, String),
}

impl From<Exhausted> for DecodeError {
    fn from(Exhausted: Exhausted) -> Self {
        Self::Exhausted
    }
}

impl Encodings {
    /// Reads the values of `Content-Encoding`.
    pub(super) fn parse<'v>(values: impl Iterator<Item = &'v [u8]>) -> Result<Self, Unsupported> {
        let mut encodings = Self::default();
        let mut count = 0;
        for value in values {
            for token in value.split(|&byte| byte == b',') {
                let Some(encoding) = encoding(token.trim_ascii())? else { continue };
                *encodings.list.get_mut(count).ok_or(Unsupported::TooMany)? = Some(encoding);
                count += 1;
            }
        }
        Ok(encodings)
    }

    /// Whether there is nothing to undo.
    pub(super) fn is_identity(self) -> bool {
        self.list[0].is_none()
    }

    /// Undoes them, the last applied first. No stage may be larger than `limit`.
    pub(super) fn decode(self, body: Bytes, limit: usize, hold: &mut Reservation) -> Result<Bytes, DecodeError> {
        let mut body = body;
        for encoding in self.list.into_iter().rev().flatten() {
            if body.is_empty() {
                break;
            }
            let before = hold.bytes();
            let mut out = Output { bytes: Vec::new(), limit, hold };
            match encoding {
                Encoding::Identity => continue,
                Encoding::Gzip => gunzip(&body, &mut out)?,
                Encoding::Deflate => inflate(&body, &mut out)?,
                Encoding::Zstd => unzstd(&body, &mut out)?,
            }
            body = out.finish();
            hold.release(before);
        }
        Ok(body)
    }
}

fn encoding(token: &[u8]) -> Result<Option<Encoding>, Unsupported> {
    let is = |names: &[&str]| names.iter().any(|name| token.eq_ignore_ascii_case(name.as_bytes()));
    if token.is_empty() || is(&["identity"]) {
        Ok(None)
    } else if is(&["gzip", "x-gzip"]) {
        Ok(Some(Encoding::Gzip))
    } else if is(&["deflate", "x-deflate"]) {
        Ok(Some(Encoding::Deflate))
    } else if is(&["zstd", "zstd1"]) {
        Ok(Some(Encoding::Zstd))
    } else {
        Err(Unsupported::Unknown(String::from_utf8_lossy(token).chars().take(40).collect()))
    }
}

/// Decoded bytes, growing in steps to one byte beyond the limit.
struct Output<'h> {
    bytes: Vec<u8>,
    limit: usize,
    hold: &'h mut Reservation,
}

impl Output<'_> {
    /// Makes the first space, as `announced` by the data or guessed from its size.
    fn start(&mut self, compressed: usize, announced: Option<usize>) -> Result<(), DecodeError> {
        // What the data announces is believed as far as its size makes it plausible.
        let likely = announced.unwrap_or(compressed.saturating_mul(6)).min(compressed.saturating_mul(64));
        self.space(likely.saturating_add(1).max(FIRST_STEP))
    }

    /// Makes room for at least one more byte.
    fn room(&mut self) -> Result<(), DecodeError> {
        if self.bytes.len() > self.limit {
            return Err(DecodeError::TooLarge);
        }
        if self.bytes.len() < self.bytes.capacity() {
            return Ok(());
        }
        self.space(self.bytes.capacity().saturating_mul(2).max(FIRST_STEP))
    }

    fn space(&mut self, capacity: usize) -> Result<(), DecodeError> {
        let capacity = capacity.min(self.limit.saturating_add(1));
        let more = capacity.saturating_sub(self.bytes.capacity());
        self.hold.grow(more)?;
        self.bytes.reserve_exact(capacity - self.bytes.len());
        Ok(())
    }

    fn check(&self) -> Result<(), DecodeError> {
        if self.bytes.len() > self.limit { Err(DecodeError::TooLarge) } else { Ok(()) }
    }

    /// The bytes, without much unused space: they may stay in memory for long.
    fn finish(mut self) -> Bytes {
        let (len, capacity) = (self.bytes.len(), self.bytes.capacity());
        if capacity > len + len / 4 {
            self.bytes.shrink_to_fit();
            self.hold.release(capacity - self.bytes.capacity());
        }
        self.bytes.into()
    }
}

fn gunzip(input: &[u8], out: &mut Output<'_>) -> Result<(), DecodeError> {
    // The last four bytes are the size modulo 2^32, of the last member (RFC 1952).
    let announced = input.last_chunk::<4>().and_then(|size| usize::try_from(u32::from_le_bytes(*size)).ok());
    out.start(input.len(), announced)?;
    let mut rest = input;
    for _ in 0..MAX_MEMBERS {
        rest = zlib_stream(Decompress::new_gzip(15), Encoding::Gzip, rest, out)?;
        if rest.is_empty() {
            return Ok(());
        }
    }
    Err(DecodeError::Corrupt(Encoding::Gzip, format!("more than {MAX_MEMBERS} members")))
}

fn inflate(input: &[u8], out: &mut Output<'_>) -> Result<(), DecodeError> {
    out.start(input.len(), None)?;
    let rest = zlib_stream(Decompress::new(true), Encoding::Deflate, input, out)?;
    if rest.is_empty() {
        Ok(())
    } else {
        let reason = format!("{} bytes follow the end of the zlib stream", rest.len());
        Err(DecodeError::Corrupt(Encoding::Deflate, reason))
    }
}

/// Decodes one zlib stream or gzip member; gives what follows it.
fn zlib_stream<'i>(
    mut decoder: Decompress,
    encoding: Encoding,
    input: &'i [u8],
    out: &mut Output<'_>,
) -> Result<&'i [u8], DecodeError> {
    let mut rest = input;
    loop {
        out.room()?;
        let (read, written) = (decoder.total_in(), out.bytes.len());
        let status = decoder.decompress_vec(rest, &mut out.bytes, FlushDecompress::None).map_err(|error| {
            let hint = if encoding == Encoding::Deflate { " (deflate means the zlib format, RFC 1950)" } else { "" };
            DecodeError::Corrupt(encoding, format!("{}{hint}", error.message().unwrap_or("invalid data")))
        })?;
        let consumed = usize::try_from(decoder.total_in() - read).unwrap_or(usize::MAX);
        rest = rest.get(consumed..).unwrap_or_default();
        out.check()?;
        if status == Status::StreamEnd {
            return Ok(rest);
        }
        if consumed == 0 && out.bytes.len() == written && out.bytes.len() < out.bytes.capacity() {
            return Err(truncated(encoding));
        }
    }
}

fn unzstd(input: &[u8], out: &mut Output<'_>) -> Result<(), DecodeError> {
    let corrupt = |error: std::io::Error| DecodeError::Corrupt(Encoding::Zstd, error.to_string());
    let announced = zstd::zstd_safe::get_frame_content_size(input).ok().flatten();
    out.start(input.len(), announced.and_then(|size| usize::try_from(size).ok()))?;
    let mut decoder = Decoder::new().map_err(corrupt)?;
    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).map_err(corrupt)?;
    let mut source = InBuffer::around(input);
    loop {
        out.room()?;
        let (read, written) = (source.pos(), out.bytes.len());
        // A frame that ends is followed by the next one without further ado.
        let expected =
            decoder.run(&mut source, &mut OutBuffer::around_pos(&mut out.bytes, written)).map_err(corrupt)?;
        out.check()?;
        if expected == 0 && source.pos() == input.len() {
            return Ok(());
        }
        if source.pos() == read && out.bytes.len() == written && out.bytes.len() < out.bytes.capacity() {
            return Err(truncated(Encoding::Zstd));
        }
    }
}

fn truncated(encoding: Encoding) -> DecodeError {
    DecodeError::Corrupt(encoding, "it ends too early".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::http::budget::{Budget, Owner};
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(data, 1).unwrap()
    }

    fn encode(name: &str, data: &[u8]) -> Vec<u8> {
        match name {
            "gzip" | "x-gzip" => gzip(data),
            "deflate" | "x-deflate" => zlib(data),
            "zstd" | "zstd1" => zstd(data),
            _ => data.to_vec(),
        }
    }

    fn decode(header: &str, body: impl Into<Bytes>, limit: usize) -> Result<Bytes, DecodeError> {
        let budget = Budget::new(1 << 30);
        let encodings = Encodings::parse([header.as_bytes()].into_iter()).unwrap();
        let decoded = encodings.decode(body.into(), limit, &mut budget.hold(Owner::Local));
        assert_eq!(budget.left(), 1 << 30);
        decoded
    }

    fn is_corrupt(decoded: &Result<Bytes, DecodeError>, words: &str) -> bool {
        matches!(decoded, Err(DecodeError::Corrupt(_, reason)) if reason.contains(words))
    }

    #[test]
    fn every_name_of_every_encoding_is_undone() {
        let data = b"{\"series\":[]}".repeat(1000);
        for name in ["gzip", "X-GZIP", "deflate", "x-deflate", "zstd", "zstd1", "identity", "", " gzip "] {
            let body = encode(&name.trim().to_lowercase(), &data);
            assert_eq!(decode(name, body, 1 << 20).unwrap(), data, "{name}");
        }
    }

    #[test]
    fn a_list_is_undone_from_the_right_over_several_headers() {
        let data = b"telemetry".repeat(100);
        let body = zstd(&zlib(&gzip(&data)));
        let values: [&[u8]; 2] = [b"gzip, deflate", b"identity ,zstd"];
        let encodings = Encodings::parse(values.into_iter()).unwrap();
        let decoded = encodings.decode(body.into(), 1 << 20, &mut Budget::new(1 << 22).hold(Owner::Local));
        assert_eq!(decoded.unwrap(), data);
    }

    #[test]
    fn unknown_encodings_and_long_lists_are_refused() {
        let parse = |value: &str| Encodings::parse([value.as_bytes()].into_iter());
        assert_eq!(parse("br"), Err(Unsupported::Unknown("br".into())));
        assert!(parse("gzip, gzip, gzip, gzip").is_ok());
        assert_eq!(parse("gzip, gzip, gzip, gzip, gzip"), Err(Unsupported::TooMany));
    }

    #[test]
    fn the_limit_is_exact_for_every_encoding() {
        let data = vec![b'x'; 100_000];
        for name in ["gzip", "deflate", "zstd"] {
            let body = encode(name, &data);
            assert_eq!(decode(name, body.clone(), 100_000).unwrap().len(), 100_000, "{name}");
            assert_eq!(decode(name, body, 99_999), Err(DecodeError::TooLarge), "{name}");
        }
    }

    #[test]
    fn a_bomb_is_refused_in_memory_of_the_limit() {
        let limit = 1 << 20;
        // Half a gigabyte of zeros in half a megabyte, and the same packed again.
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..512 {
            encoder.write_all(&vec![0; 1 << 20]).unwrap();
        }
        let bomb = encoder.finish().unwrap();
        for (header, body) in [("gzip", bomb.clone()), ("gzip, gzip", gzip(&bomb)), ("gzip, zstd", zstd(&bomb))] {
            let budget = Budget::new(3 * (limit + 1 + bomb.len() * 2));
            let encodings = Encodings::parse([header.as_bytes()].into_iter()).unwrap();
            let refused = encodings.decode(body.into(), limit, &mut budget.hold(Owner::Local));
            assert_eq!(refused, Err(DecodeError::TooLarge), "{header}");
        }
    }

    #[test]
    fn decoding_stops_when_there_is_no_memory_left() {
        let budget = Budget::new(10_000);
        let body = gzip(&vec![7; 100_000]);
        let encodings = Encodings::parse([&b"gzip"[..]].into_iter()).unwrap();
        assert_eq!(encodings.decode(body.into(), 1 << 20, &mut budget.hold(Owner::Local)), Err(DecodeError::Exhausted));
        assert_eq!(budget.left(), 10_000);
    }

    #[test]
    fn concatenated_gzip_members_and_zstd_frames_are_one_body() {
        for name in ["gzip", "zstd"] {
            let body = [encode(name, b"one,"), encode(name, b""), encode(name, b"two")].concat();
            assert_eq!(decode(name, body, 100).unwrap(), "one,two", "{name}");
        }
        let members = gzip(b"").repeat(MAX_MEMBERS + 1);
        assert!(is_corrupt(&decode("gzip", members, 100), "members"));
    }

    #[test]
    fn what_follows_the_end_is_not_ignored() {
        for name in ["gzip", "deflate", "zstd"] {
            let mut body = encode(name, b"data");
            body.extend_from_slice(b"garbage behind it");
            assert!(is_corrupt(&decode(name, body, 100), ""), "{name}");
        }
    }

    #[test]
    fn raw_deflate_is_refused_with_a_hint() {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"some data").unwrap();
        assert!(is_corrupt(&decode("deflate", encoder.finish().unwrap(), 100), "zlib"));
    }

    #[test]
    fn an_empty_body_is_empty_whatever_its_encoding() {
        for name in ["gzip", "deflate", "zstd", "gzip, zstd"] {
            assert_eq!(decode(name, Bytes::new(), 10).unwrap(), "", "{name}");
        }
    }

    #[test]
    fn a_window_larger_than_the_bound_is_refused_before_it_is_allocated() {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&vec![1; 1 << 20]).unwrap();
        let body = encoder.finish().unwrap();
        assert!(is_corrupt(&decode("zstd", body, 16 << 20), "memory"));
    }

    proptest! {
        #[test]
        fn any_data_survives_and_any_truncation_is_noticed(
            data in proptest::collection::vec(any::<u8>(), 1..5_000),
            name in prop_oneof![Just("gzip"), Just("deflate"), Just("zstd")],
            cut in 0.0..1.0_f64,
        ) {
            let body = encode(name, &data);
            prop_assert_eq!(decode(name, body.clone(), data.len()).unwrap(), &data);
            let cut = 1 + (cut * (body.len() - 1) as f64) as usize;
            if cut < body.len() {
                prop_assert!(is_corrupt(&decode(name, body[..cut].to_vec(), 1 << 20), ""), "cut at {}", cut);
            }
        }

        #[test]
        fn garbage_is_refused_without_harm(
            body in proptest::collection::vec(any::<u8>(), 0..2_000),
            name in prop_oneof![Just("gzip"), Just("deflate"), Just("zstd")],
        ) {
            let _ = decode(name, body, 1 << 16);
        }
    }
}
