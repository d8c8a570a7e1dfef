//! Reads and decompresses request bodies in bounded memory.

use bytes::Bytes;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::cell::RefCell;
use std::io::{self, BufRead, Read};
use zstd::zstd_safe::DCtx;

/// How much of a body that is too large is read, so that the client receives the refusal instead of a reset.
const DRAIN: usize = 64 * 1024 * 1024;

/// A request body as it was sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    frames: Vec<Bytes>,
    /// The number of bytes received, kept or not.
    pub(super) len: usize,
    /// Whether it was too large to be kept.
    pub(super) too_large: bool,
}

impl Sent {
    /// Reads `body`, keeping it if it has at most `max` bytes.
    ///
    /// # Errors
    /// When the connection fails before the end of the body.
    pub(super) async fn read(mut body: Incoming, max: usize) -> Result<Self, hyper::Error> {
        let mut sent = Self::default();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            sent.len += data.len();
            if sent.len > max {
                sent.too_large = true;
                sent.frames.clear();
                if sent.len > DRAIN {
                    break;
                }
            } else {
                sent.frames.push(data);
            }
        }
        Ok(sent)
    }

    /// Reads until half of the declared length, or the first piece where none is declared, and drops it.
    pub(super) async fn read_half(mut body: Incoming) {
        let half = hyper::body::Body::size_hint(&body).exact().unwrap_or(1) / 2;
        let mut seen = 0;
        while seen < half.max(1) {
            match body.frame().await {
                Some(Ok(frame)) => seen += frame.data_ref().map_or(0, |data| data.len() as u64),
                _ => break,
            }
        }
    }

    /// The body in one piece, still encoded.
    pub(super) fn concat(&self) -> Vec<u8> {
        self.frames.concat()
    }
}

/// Why a body could not be decompressed.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// More than the bytes allowed.
    TooLarge,
    /// It is not valid in its encoding.
    Corrupt(io::Error),
}

/// The decoder and output buffer of one thread, reused from request to request.
struct Scratch {
    zstd: Option<DCtx<'static>>,
    output: Vec<u8>,
}

/// Output that one thread holds on to between requests.
const KEEP: usize = 8 * 1024 * 1024;

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { zstd: None, output: Vec::new() }) };
}

/// Decompresses `sent`, at most `max` bytes, and passes the result to `then`.
///
/// `encoding` is one of the names in [`super::endpoint::Endpoint::encodings`], or none.
///
/// # Errors
/// When the body is not of that encoding, or decompresses to more than `max` bytes.
pub(super) fn with_decompressed<T>(
    sent: &Sent,
    encoding: Option<&str>,
    max: usize,
    then: impl FnOnce(&[u8]) -> T,
) -> Result<T, Unreadable> {
    if encoding.is_none()
        && let [only] = sent.frames.as_slice()
    {
        return if only.len() > max { Err(Unreadable::TooLarge) } else { Ok(then(only)) };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let frames = Frames { rest: &sent.frames, at: 0 };
        let output = &mut scratch.output;
        let len = match encoding {
            None => fill(frames, output, max),
            Some("gzip") => fill(MultiGzDecoder::new(frames), output, max),
            Some("deflate") => fill(ZlibDecoder::new(frames), output, max),
            Some(_) => {
                let context = scratch.zstd.get_or_insert_with(DCtx::create);
                // Cannot fail for the session alone; were it to, the decoder would report the same.
                let _ = context.reset(zstd::zstd_safe::ResetDirective::SessionOnly);
                fill(zstd::stream::read::Decoder::with_context(frames, context), output, max)
            }
        };
        let result = len.map(|len| then(&output[..len]));
        if output.len() > KEEP {
            *output = Vec::new();
        }
        result
    })
}

/// Reads `from` to its end into `output` (kept initialised, grown when needed) and returns the length.
fn fill(mut from: impl Read, output: &mut Vec<u8>, max: usize) -> Result<usize, Unreadable> {
    let mut len = 0;
    loop {
        if len == output.len() {
            if len > max {
                return Err(Unreadable::TooLarge);
            }
            // One byte more than is allowed shows that there is more.
            let larger = (len * 2).max(256 * 1024).min(max.saturating_add(1).max(len + 1));
            output.resize(larger, 0);
        }
        match from.read(&mut output[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Unreadable::Corrupt(error)),
        }
    }
    if len > max { Err(Unreadable::TooLarge) } else { Ok(len) }
}

/// The pieces of a body as one stream.
struct Frames<'a> {
    rest: &'a [Bytes],
    at: usize,
}

impl BufRead for Frames<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while let [first, rest @ ..] = self.rest {
            if self.at < first.len() {
                return Ok(&first[self.at..]);
            }
            self.rest = rest;
            self.at = 0;
        }
        Ok(&[])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Frames<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let read = available.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn sent(body: &[u8], piece: usize) -> Sent {
        let frames = body.chunks(piece).map(Bytes::copy_from_slice).collect();
        Sent { frames, len: body.len(), too_large: false }
    }

    #[test]
    fn every_encoding_decodes_from_any_pieces() {
        let text = b"one log line and another one; ".repeat(50_000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&text).unwrap();
        let zstd = zstd::encode_all(text.as_slice(), 1).unwrap();
        let forms =
            [(None, text.clone()), (Some("gzip"), gzip.finish().unwrap()), (Some("deflate"), zlib.finish().unwrap())];
        for (encoding, body) in forms.into_iter().chain([(Some("zstd"), zstd.clone()), (Some("zstd1"), zstd)]) {
            for piece in [7, 1000, usize::MAX] {
                let sent = sent(&body, piece.min(body.len()));
                let same = with_decompressed(&sent, encoding, text.len(), |out| out == text).unwrap();
                assert!(same, "{encoding:?} in pieces of {piece}");
                let short = with_decompressed(&sent, encoding, text.len() - 1, |_| ());
                assert!(matches!(short, Err(Unreadable::TooLarge)), "{encoding:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_truncated_or_foreign_body_is_corrupt() {
        let zstd = zstd::encode_all(b"text".repeat(1000).as_slice(), 1).unwrap();
        for (encoding, body) in [("zstd", &zstd[..zstd.len() - 3]), ("gzip", &zstd), ("deflate", b"not compressed")] {
            let result = with_decompressed(&sent(body, 5), Some(encoding), 1 << 20, |_| ());
            assert!(matches!(result, Err(Unreadable::Corrupt(_))), "{encoding}");
        }
    }
}
