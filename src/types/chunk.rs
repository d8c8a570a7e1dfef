//! A run of raw items of one tenant and kind.

use super::{Follow, Generation, Kind, TenantId, UnixMillis};
use bytes::Bytes;

/// A run of raw, validated items of one tenant and kind: what the queue holds and what batches are made of.
///
/// `bytes` are the items in their wire form, JSON items with a comma (and perhaps white space) between them, protobuf
/// items as length-delimited fields one after another. Joining chunks is [`Kind::prefix`], the chunks with
/// [`Kind::separator`] between them, and [`Kind::suffix`].
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The tenant that the items belong to.
    pub tenant: TenantId,
    /// The kind of the items.
    pub kind: Kind,
    /// For whom they were accepted.
    pub generation: Generation,
    /// How many items; at least one, at most [`super::Limits::items`].
    pub items: u32,
    /// The earliest time that an item says of itself; the time of acceptance where none does.
    pub oldest: UnixMillis,
    /// When the daemon accepted the items.
    pub accepted: UnixMillis,
    /// The items; with prefix and suffix at most [`super::Limits::uncompressed`].
    pub bytes: Bytes,
    /// Tracks the items' fate for a sender, if one asked.
    pub follow: Option<Follow>,
}
