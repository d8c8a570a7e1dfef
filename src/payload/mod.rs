//! Batches become request bodies: joined, compressed, within every limit of their endpoint.
//!
//! All of this is CPU work; callers run it off the async threads.

mod compress;

pub use compress::Compressors;

use crate::queue::{Batch, Finalizer, LaneId, Reservation};
use crate::settings::Compression;
use crate::types::{Encoding, Follow, Generation, Kind, TenantId, UnixMillis};
use crate::wire;
use bytes::Bytes;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// A request body of one tenant and kind.
#[derive(Debug)]
pub struct Payload {
    /// The tenant.
    pub tenant: TenantId,
    /// The kind of all items.
    pub kind: Kind,
    /// For whom the items were accepted.
    pub generation: Generation,
    /// The number of items.
    pub items: u32,
    /// The earliest time of an item, as it says itself.
    pub oldest: UnixMillis,
    /// When the first of the items was accepted.
    pub accepted: UnixMillis,
    /// How `body` is compressed.
    pub encoding: Encoding,
    /// The compressed body.
    pub body: Bytes,
    /// Bytes of the body before compression.
    pub uncompressed: usize,
    /// The follower of the items, if there is one.
    pub follow: Option<Follow>,
    /// The memory that the payload is charged for.
    pub memory: Reservation,
    /// Acknowledges the journal's records of the batch.
    pub finalizer: Arc<Finalizer>,
}

/// The payloads made of a batch.
#[derive(Debug, Default)]
pub struct Built {
    /// Payloads in order; together they hold all items but the oversized.
    pub payloads: Vec<Payload>,
    /// Items that no request can carry, each with its payload of one.
    pub oversized: Vec<Payload>,
}

/// How payloads are compressed.
#[derive(Debug)]
pub struct Builder {
    compressors: Compressors,
    compression: Compression,
    level: i32,
}

/// A run of items in the form of [`Chunk::bytes`], in pieces, that becomes a payload's body.
struct Run<'a> {
    pieces: Vec<&'a [u8]>,
    items: u32,
    oldest: UnixMillis,
    accepted: UnixMillis,
    follow: Option<&'a Follow>,
}

struct Origin<'a> {
    tenant: &'a TenantId,
    lane: LaneId,
    memory: &'a Reservation,
    finalizer: &'a Arc<Finalizer>,
}

impl<'a> Origin<'a> {
    fn of(payload: &'a Payload) -> Self {
        Self { tenant: &payload.tenant, lane: payload.lane(), memory: &payload.memory, finalizer: &payload.finalizer }
    }
}

impl Builder {
    /// A builder for the configured compression.
    pub fn new(compression: Compression, level: i32) -> Self {
        Self { compressors: Compressors::default(), compression, level }
    }

    /// The encodings to send a kind in, the first choice first.
    pub fn encodings(&self, kind: Kind) -> Vec<Encoding> {
        let mut encodings = kind.encodings().to_vec();
        let wanted = match self.compression {
            Compression::Auto => None,
            Compression::Zstd => Some(Encoding::Zstd),
            Compression::Gzip => Some(Encoding::Gzip),
            Compression::Deflate => Some(Encoding::Deflate),
            Compression::None => Some(Encoding::Identity),
        };
        if let Some(at) = encodings.iter().position(|encoding| Some(*encoding) == wanted) {
            encodings[..=at].rotate_right(1);
        }
        encodings
    }

    /// Joins and compresses a batch. One whose compressed form is beyond the limit becomes several payloads.
    ///
    /// # Errors
    /// When compression fails for want of memory.
    pub fn build(&self, batch: &Batch, encoding: Encoding) -> io::Result<Built> {
        let Some(memory) = batch.memory.first() else { return Ok(Built::default()) };
        let run = Run {
            pieces: batch.chunks.iter().map(|chunk| &chunk.bytes[..]).collect(),
            items: batch.chunks.iter().map(|chunk| chunk.items).sum(),
            oldest: batch.chunks.iter().map(|chunk| chunk.oldest).min().unwrap_or_default(),
            accepted: batch.chunks.iter().map(|chunk| chunk.accepted).min().unwrap_or_default(),
            // A followed chunk is alone in its batch.
            follow: batch.chunks.first().and_then(|chunk| chunk.follow.as_ref()),
        };
        let mut built = Built::default();
        let origin = Origin { tenant: &batch.tenant, lane: batch.lane, memory, finalizer: &batch.finalizer };
        self.seal(&origin, encoding, run, &mut built)?;
        Ok(built)
    }

    /// Splits a payload into two halves, the first of them with the odd item. A payload of one item becomes itself.
    ///
    /// # Errors
    /// When compression fails for want of memory.
    pub fn split(&self, payload: &Payload) -> io::Result<Built> {
        let plain = payload.unpack()?;
        let run = payload.run(&plain);
        let bounds = wire::boundaries(payload.kind, run);
        let middle = bounds.len().div_ceil(2);
        let mut built = Built::default();
        for half in [&bounds[..middle], &bounds[middle..]] {
            let (Some(first), Some(last)) = (half.first(), half.last()) else { continue };
            let run = Run {
                pieces: vec![&run[first.start..last.end]],
                items: u32::try_from(half.len()).unwrap_or(u32::MAX),
                oldest: payload.oldest,
                accepted: payload.accepted,
                follow: payload.follow.as_ref(),
            };
            self.seal(&Origin::of(payload), payload.encoding, run, &mut built)?;
        }
        Ok(built)
    }

    /// The same items in another encoding.
    ///
    /// # Errors
    /// When compression fails for want of memory.
    pub fn reencode(&self, payload: &Payload, encoding: Encoding) -> io::Result<Built> {
        self.keep(payload, encoding, payload.oldest, |_| true)
    }

    /// A payload without the items older than `cutoff`.
    ///
    /// # Errors
    /// When compression fails for want of memory.
    pub fn without_late(&self, payload: &Payload, cutoff: UnixMillis) -> io::Result<Built> {
        let oldest = payload.oldest.max(cutoff);
        self.keep(payload, payload.encoding, oldest, |item| !is_late(payload.kind, item, payload.accepted, cutoff))
    }

    fn keep(
        &self,
        payload: &Payload,
        encoding: Encoding,
        oldest: UnixMillis,
        keep: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Built> {
        let plain = payload.unpack()?;
        let run = payload.run(&plain);
        let kept: Vec<Range<usize>> =
            wire::boundaries(payload.kind, run).into_iter().filter(|bound| keep(&run[bound.clone()])).collect();
        let mut built = Built::default();
        if !kept.is_empty() {
            let run = Run {
                items: u32::try_from(kept.len()).unwrap_or(u32::MAX),
                pieces: kept.into_iter().map(|bound| &run[bound]).collect(),
                oldest,
                accepted: payload.accepted,
                follow: payload.follow.as_ref(),
            };
            self.seal(&Origin::of(payload), encoding, run, &mut built)?;
        }
        Ok(built)
    }

    fn seal(&self, origin: &Origin<'_>, encoding: Encoding, run: Run<'_>, built: &mut Built) -> io::Result<()> {
        let LaneId { kind, generation } = origin.lane;
        let parts = || {
            let separated = run.pieces.iter().enumerate().flat_map(|(index, piece)| {
                let separator: &[u8] = if index == 0 { b"" } else { kind.separator() };
                [separator, piece]
            });
            std::iter::once(kind.prefix()).chain(separated).chain(std::iter::once(kind.suffix()))
        };
        let body = self.compressors.compress(encoding, self.level, parts())?;
        let uncompressed = parts().map(<[u8]>::len).sum();
        let limits = kind.limits();
        let fits = body.len() <= limits.compressed && uncompressed <= limits.uncompressed && run.items <= limits.items;
        let payload = Payload {
            tenant: origin.tenant.clone(),
            kind,
            generation,
            items: run.items,
            oldest: run.oldest,
            accepted: run.accepted,
            encoding,
            memory: origin.memory.another(body.len()),
            body: body.into(),
            uncompressed,
            follow: run.follow.cloned(),
            finalizer: origin.finalizer.clone(),
        };
        if fits {
            built.payloads.push(payload);
        } else if run.items <= 1 {
            built.oversized.push(payload);
        } else {
            let halves = self.split(&payload)?;
            built.payloads.extend(halves.payloads);
            built.oversized.extend(halves.oversized);
        }
        Ok(())
    }
}

impl Payload {
    /// The lane that the items came from.
    pub fn lane(&self) -> LaneId {
        LaneId { kind: self.kind, generation: self.generation }
    }

    /// The body before compression.
    ///
    /// # Errors
    /// When the body is damaged.
    pub fn unpack(&self) -> io::Result<Vec<u8>> {
        compress::decompress(self.encoding, &self.body)
    }

    /// The items of an unpacked body, without prefix and suffix.
    pub fn run<'a>(&self, plain: &'a [u8]) -> &'a [u8] {
        let (prefix, suffix) = (self.kind.prefix().len(), self.kind.suffix().len());
        plain.get(prefix..plain.len().saturating_sub(suffix)).unwrap_or_default()
    }

    /// What is older than this is late: Datadog does not keep it.
    pub fn cutoff(&self, now: UnixMillis) -> UnixMillis {
        now.minus(self.kind.max_age())
    }

    /// How many items are older than `cutoff`.
    ///
    /// # Errors
    /// When the body is damaged.
    pub fn late_items(&self, cutoff: UnixMillis) -> io::Result<u32> {
        if self.oldest >= cutoff {
            return Ok(0);
        }
        let plain = self.unpack()?;
        let run = self.run(&plain);
        let late = wire::boundaries(self.kind, run)
            .into_iter()
            .filter(|bound| is_late(self.kind, &run[bound.clone()], self.accepted, cutoff))
            .count();
        Ok(u32::try_from(late).unwrap_or(u32::MAX))
    }
}

fn is_late(kind: Kind, item: &[u8], accepted: UnixMillis, cutoff: UnixMillis) -> bool {
    wire::item_time(kind, item).unwrap_or(accepted) < cutoff
}
