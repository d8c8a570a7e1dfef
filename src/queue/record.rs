//! A chunk as a record of the journal. Part of the form on disk: a lane is called `<kind>/<tenant>`.

use crate::journal::Entry;
use crate::types::{Chunk, Kind, TenantId};
use bytes::Bytes;

/// What the journal is given of a chunk.
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

/// The lane's key.
pub(super) fn lane_key(tenant: &TenantId, kind: Kind) -> Bytes {
    format!("{kind}/{tenant}").into()
}

/// The kind and tenant of a key, if it is one.
pub(super) fn read_lane_key(key: &[u8]) -> Option<(Kind, TenantId)> {
    let (kind, tenant) = std::str::from_utf8(key).ok()?.split_once('/')?;
    Some((Kind::from_name(kind)?, TenantId::new(tenant).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_every_tenant_has_a_key_that_reads_back() {
        let tenant = TenantId::new("A.b-c_9").unwrap();
        for kind in Kind::ALL {
            assert_eq!(read_lane_key(&lane_key(&tenant, kind)), Some((kind, tenant.clone())));
        }
        for key in [&b""[..], b"logs", b"logs/", b"what/a", b"\xff/a"] {
            assert_eq!(read_lane_key(key), None, "{key:?}");
        }
    }
}
