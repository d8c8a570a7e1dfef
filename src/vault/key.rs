//! Master keys: 256 bits, written as text, named by a digest.

use super::error::VaultError;
use super::key_id::KeyId;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rand::Rng;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Bytes of a key.
const LEN: usize = 32;

const ADVICE: &str =
    "write 32 random bytes as 64 hexadecimal digits or as base64, such as `openssl rand -base64 32` prints";

const EITHER_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, EITHER_PADDING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, EITHER_PADDING);

/// A key that secrets are sealed with. Its memory is zeroed when the last copy is dropped, and `Debug` shows its id.
#[derive(Clone)]
pub struct MasterKey {
    // Behind an Arc, so that moving the key about leaves no bytes of it behind.
    bytes: Arc<Zeroizing<[u8; LEN]>>,
    id: KeyId,
}

impl MasterKey {
    fn new(bytes: Arc<Zeroizing<[u8; LEN]>>) -> Self {
        let mut digest = Sha256::new();
        digest.update(b"dogsled master key id");
        digest.update(bytes.as_slice());
        let id = KeyId::from_bytes(digest.finalize().first_chunk().copied().unwrap_or_default());
        Self { bytes, id }
    }

    /// A new random key.
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; LEN]);
        rand::rng().fill_bytes(bytes.as_mut_slice());
        Self::new(Arc::new(bytes))
    }

    /// Parses a key in 64 hexadecimal digits or in base64, ignoring space around it. `origin` names its source in errors.
    ///
    /// # Errors
    /// When the text is no such key.
    pub fn parse(text: &str, origin: &str) -> Result<Self, VaultError> {
        let malformed = |reason: String| VaultError::Malformed { origin: origin.to_owned(), reason };
        let text = text.trim();
        if text.is_empty() {
            return Err(malformed(format!("is empty: {ADVICE}")));
        }
        // One more than fits, so that a longer text is not mistaken for a key.
        let mut bytes = Zeroizing::new([0; LEN + 16]);
        let decoded = if text.len() == 2 * LEN && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            for (index, pair) in text.as_bytes().chunks_exact(2).enumerate() {
                let digit = |b: u8| (b as char).to_digit(16).unwrap_or_default() as u8;
                bytes[index] = digit(pair[0]) << 4 | digit(pair[1]);
            }
            Some(LEN)
        } else {
            let engine = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
            engine.decode_slice(text, bytes.as_mut_slice()).ok()
        };
        match decoded {
            Some(LEN) => {
                let mut key = Zeroizing::new([0; LEN]);
                key.copy_from_slice(&bytes[..LEN]);
                if key.iter().all(|b| *b == key[0]) {
                    return Err(malformed(format!("is not a random key: {ADVICE}")));
                }
                Ok(Self::new(Arc::new(key)))
            }
            _ => Err(malformed(format!("is not a key of 256 bits: {ADVICE}"))),
        }
    }

    /// The key as base64, the way [`parse`](Self::parse) reads it.
    pub(super) fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.bytes.as_slice()))
    }

    pub(super) fn bytes(&self) -> &[u8; LEN] {
        &self.bytes
    }

    /// Its id, a digest.
    pub fn id(&self) -> KeyId {
        self.id
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

    #[test]
    fn all_encodings_give_the_same_key() {
        let key = MasterKey::parse(HEX, "key").unwrap();
        for text in [
            HEX.to_uppercase().as_str(),
            " AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=\n",
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8",
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=",
            &key.to_text(),
        ] {
            assert_eq!(MasterKey::parse(text, "key").unwrap().id(), key.id(), "{text}");
        }
        let slashes = MasterKey::parse(&"/-".replace('-', "+").repeat(22)[..43], "key");
        let dashes = MasterKey::parse(&"_-".repeat(22)[..43], "key");
        assert_eq!(slashes.ok().map(|key| key.id()), dashes.ok().map(|key| key.id()));
        assert_eq!(KeyId::parse(&key.id().to_string()), Some(key.id()));
    }

    #[test]
    fn a_malformed_master_key_is_refused_unseen() {
        for text in ["", " \n", "hunter2", &HEX[1..], &format!("{HEX}00"), &"A".repeat(43), &"zz".repeat(32), "äöü"]
        {
            let error = MasterKey::parse(text, "store.master_key").unwrap_err().to_string();
            assert!(error.starts_with("store.master_key is ") && error.contains("openssl rand"), "{error}");
            assert!(text.trim().is_empty() || !error.contains(text), "{error}");
        }
    }

    #[test]
    fn keys_differ_and_do_not_show_themselves() {
        let (a, b) = (MasterKey::generate(), MasterKey::generate());
        assert_ne!(a.id(), b.id());
        assert_eq!(format!("{a:?}"), format!("MasterKey({})", a.id()));
    }
}
