//! A chunk as a record of the journal. Part of the form on disk: a lane is called `<kind>/<tenant>`.

use crate::journal::Entry;
use crate::types::{Chunk, Kind, TenantId};
use bytes::Bytes;

/// The journal's entry for a chunk.
pub fn entry_of(chunk: &Chunk) -> Entry {
    Entry {
        lane: lane_key(&chunk.tenant, chunk.kind),
        items: chunk.items,
        accepted: chunk.accepted,
        oldest: chunk.oldest,
        head: Bytes::new(),
        payload: chunk.bytes.clone(),
    }
}

pub(super) fn lane_key(tenant: &TenantId, kind: Kind) -> Bytes {
    format!("{kind}/{tenant}").into()
}

/// The kind and tenant of a lane's key; none if it is no such key.
pub(super) fn read_lane_key(key: &[u8]) -> Option<(Kind, TenantId)> {
    let (kind, tenant) = std::str::from_utf8(key).ok()?.split_once('/')?;
    Some((Kind::from_name(kind)?, TenantId::new(tenant).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lane_keys_read_back() {
        let tenant = TenantId::new("A.b-c_9").unwrap();
        for kind in Kind::ALL {
            assert_eq!(read_lane_key(&lane_key(&tenant, kind)), Some((kind, tenant.clone())));
        }
        for key in [&b""[..], b"logs", b"logs/", b"what/a", b"\xff/a"] {
            assert_eq!(read_lane_key(key), None, "{key:?}");
        }
    }
}
