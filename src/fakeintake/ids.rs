//! Identifiers that the stand-in invents.

use sha2::{Digest, Sha256};

/// The UUID (version 8) derived from a name.
pub(super) fn uuid(name: &str) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(name)[..16]);
    let bits = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | 0x8 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    #[test]
    fn uuids_have_version_and_variant() {
        let uuid = super::uuid("org");
        assert_eq!((uuid.len(), uuid.matches('-').count()), (36, 4));
        assert_eq!((&uuid[14..15], &uuid[19..20] >= "8" && &uuid[19..20] <= "b"), ("8", true));
    }
}
