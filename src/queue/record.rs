//! A chunk as a record of the journal. Part of the form on disk: a lane is called `<kind>/<tenant>@<generation>`, without
//! the last part for generation 0, which is how releases before 0.2 called them all. Tenants' ids have no `@` in them.

use super::vocabulary::LaneId;
use crate::journal::Entry;
use crate::types::{Chunk, Generation, Kind, TenantId};
use bytes::Bytes;

/// The journal's entry for a chunk.
pub fn entry_of(chunk: &Chunk) -> Entry {
    Entry {
        lane: lane_key(&chunk.tenant, LaneId::of(chunk)),
        items: chunk.items,
        accepted: chunk.accepted,
        oldest: chunk.oldest,
        head: Bytes::new(),
        payload: chunk.bytes.clone(),
    }
}

pub(super) fn lane_key(tenant: &TenantId, lane: LaneId) -> Bytes {
    match lane {
        LaneId { kind, generation: Generation::UNKNOWN } => format!("{kind}/{tenant}").into(),
        LaneId { kind, generation } => format!("{kind}/{tenant}@{}", generation.0).into(),
    }
}

/// The lane and tenant of a lane's key; none if it is no such key.
pub(super) fn read_lane_key(key: &[u8]) -> Option<(LaneId, TenantId)> {
    let (kind, rest) = std::str::from_utf8(key).ok()?.split_once('/')?;
    let (tenant, generation) = match rest.split_once('@') {
        Some((tenant, number)) => (tenant, Generation(number.parse().ok()?)),
        None => (rest, Generation::UNKNOWN),
    };
    Some((LaneId { kind: Kind::from_name(kind)?, generation }, TenantId::new(tenant).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lane_keys_read_back() {
        let tenant = TenantId::new("A.b-c_9").unwrap();
        for kind in Kind::ALL {
            for generation in [Generation::UNKNOWN, Generation(1), Generation(u64::MAX)] {
                let lane = LaneId { kind, generation };
                assert_eq!(read_lane_key(&lane_key(&tenant, lane)), Some((lane, tenant.clone())));
            }
        }
        for key in [&b""[..], b"logs", b"logs/", b"what/a", b"\xff/a", b"logs/a@", b"logs/a@x", b"logs/@1"] {
            assert_eq!(read_lane_key(key), None, "{key:?}");
        }
    }

    #[test]
    fn generation_zero_has_the_key_of_older_releases() {
        let lane = LaneId { kind: Kind::Logs, generation: Generation::UNKNOWN };
        assert_eq!(&lane_key(&TenantId::new("acme").unwrap(), lane)[..], b"logs/acme");
    }
}
