//! Encryption at rest: secrets in the store are of no use without the master key.
//!
//! Every secret is sealed on its own (XChaCha20-Poly1305) and bound to its tenant, its field and the version of the
//! form, so that one copied to another row or column cannot be opened there. A sealed secret names the key that it
//! was sealed with, which makes rotation possible, and tells a wrong key from a damaged store.
//!
//! A sealed secret is: version (1 byte), id of the key (8), nonce (24), ciphertext with its tag of 16 bytes.

mod error;
mod files;
mod key;
mod key_id;
mod source;

pub use error::VaultError;
pub use files::Rotation;
pub use key::MasterKey;
pub use key_id::KeyId;
pub use source::Source;

use crate::types::Secret;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use rand::Rng;
use std::fmt;
use zeroize::Zeroizing;

/// The version of the form of sealed secrets.
const VERSION: u8 = 1;

const NONCE: usize = 24;
const TAG: usize = 16;
const HEADER: usize = 1 + KeyId::LEN + NONCE;

/// The context that a secret is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The tenant that it belongs to; empty for the store itself.
    pub tenant: &'a str,
    /// The name of the field that it is kept in.
    pub field: &'a str,
}

impl Binding<'_> {
    /// The associated data authenticated with a secret. Lengths precede the texts, so that no two bindings are alike.
    fn associated_data(self, header: &[u8]) -> Vec<u8> {
        let mut data = b"dogsled secret".to_vec();
        data.extend_from_slice(header);
        for text in [self.tenant, self.field] {
            data.extend_from_slice(&(text.len() as u64).to_le_bytes());
            data.extend_from_slice(text.as_bytes());
        }
        data
    }
}

/// The master keys available: one, or two during a rotation.
#[derive(Clone, Default)]
pub struct Keyring {
    keys: Vec<MasterKey>,
}

impl Keyring {
    /// A ring of these keys; the same key twice counts once.
    pub fn new(keys: impl IntoIterator<Item = MasterKey>) -> Self {
        let mut ring = Self::default();
        for key in keys {
            if !ring.contains(key.id()) {
                ring.keys.push(key);
            }
        }
        ring
    }

    /// The first key: the one that a new store is sealed with.
    pub fn first(&self) -> Option<KeyId> {
        self.keys.first().map(MasterKey::id)
    }

    /// Whether a key is there.
    pub fn contains(&self, id: KeyId) -> bool {
        self.keys.iter().any(|key| key.id() == id)
    }

    /// The key of that id.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn get(&self, id: KeyId) -> Result<&MasterKey, VaultError> {
        let held = || self.keys.iter().map(MasterKey::id).collect();
        self.keys.iter().find(|key| key.id() == id).ok_or_else(|| VaultError::OtherKey { needed: id, held: held() })
    }

    /// Seals a secret with the key of that id.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn seal(&self, id: KeyId, binding: Binding<'_>, secret: &Secret) -> Result<Vec<u8>, VaultError> {
        let key = self.get(id)?;
        // 192 random bits: nonces need no counting, and no two hosts that share a key ever need to agree on them.
        let mut nonce = [0; NONCE];
        rand::rng().fill_bytes(&mut nonce);
        let mut sealed = Vec::with_capacity(HEADER + secret.expose().len() + TAG);
        sealed.push(VERSION);
        sealed.extend_from_slice(&id.bytes());
        let associated_data = binding.associated_data(&sealed);
        sealed.extend_from_slice(&nonce);
        let payload = Payload { msg: secret.expose().as_bytes(), aad: &associated_data };
        let ciphertext = XChaCha20Poly1305::new(key.bytes().into())
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| VaultError::Damaged("too long to be encrypted"))?;
        sealed.extend_from_slice(&ciphertext);
        Ok(sealed)
    }

    /// Opens a sealed secret.
    ///
    /// # Errors
    /// When its key is missing, or when it was changed or belongs elsewhere.
    pub fn open(&self, binding: Binding<'_>, sealed: &[u8]) -> Result<Secret, VaultError> {
        let key = self.get(sealing_key(sealed)?)?;
        let (header, rest) = sealed.split_at(1 + KeyId::LEN);
        let Some((nonce, ciphertext)) = rest.split_first_chunk::<NONCE>() else {
            return Err(VaultError::Damaged("too short for a sealed secret: the store is damaged"));
        };
        let payload = Payload { msg: ciphertext, aad: &binding.associated_data(header) };
        let plain = XChaCha20Poly1305::new(key.bytes().into())
            .decrypt(&XNonce::from(*nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| VaultError::Damaged("changed since it was sealed, or copied from another row"))?;
        let text = std::str::from_utf8(&plain).map_err(|_| VaultError::Damaged("not text once it is opened"))?;
        Ok(Secret::new(text))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.keys).finish()
    }
}

/// The key that a secret was sealed with.
///
/// # Errors
/// When it is not a sealed secret, or one of a newer version.
pub fn sealing_key(sealed: &[u8]) -> Result<KeyId, VaultError> {
    match sealed {
        [VERSION, rest @ ..] if sealed.len() >= HEADER + TAG => {
            let id = rest.first_chunk().copied().unwrap_or_default();
            Ok(KeyId::from_bytes(id))
        }
        [VERSION, ..] | [] => Err(VaultError::Damaged("too short for a sealed secret: the store is damaged")),
        _ => Err(VaultError::Damaged("in a form that this version does not know: was it written by a newer dogsled?")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HERE: Binding<'static> = Binding { tenant: "acme", field: "api_key" };

    fn ring() -> (Keyring, KeyId) {
        let key = MasterKey::generate();
        let id = key.id();
        (Keyring::new([key]), id)
    }

    #[test]
    fn a_sealed_secret_opens_only_in_place() {
        let (ring, id) = ring();
        let secret = Secret::new("0123456789abcdef");
        let sealed = ring.seal(id, HERE, &secret).unwrap();
        assert_eq!(ring.open(HERE, &sealed).unwrap(), secret);
        for (tenant, field) in [("acme2", "api_key"), ("acme", "refresh_token"), ("acmea", "pi_key"), ("", "")] {
            let moved = ring.open(Binding { tenant, field }, &sealed);
            assert!(matches!(moved, Err(VaultError::Damaged(_))), "{tenant} {field}");
        }
    }

    #[test]
    fn a_changed_bit_is_noticed_wherever_it_is() {
        let (ring, id) = ring();
        let sealed = ring.seal(id, HERE, &Secret::new("secret")).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(ring.open(HERE, &changed).is_err(), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(ring.open(HERE, &sealed[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn the_same_secret_is_never_sealed_the_same() {
        let (ring, id) = ring();
        let seal = || ring.seal(id, HERE, &Secret::new("secret")).unwrap();
        assert_ne!(seal()[1 + KeyId::LEN..], seal()[1 + KeyId::LEN..]);
    }

    #[test]
    fn another_key_is_told_by_its_name() {
        let (ours, id) = ring();
        let (theirs, other) = ring();
        let sealed = ours.seal(id, HERE, &Secret::new("secret")).unwrap();
        let error = theirs.open(HERE, &sealed).unwrap_err();
        assert_eq!(error, VaultError::OtherKey { needed: id, held: vec![other] });
        assert!(error.to_string().contains(&id.to_string()) && error.to_string().contains(&other.to_string()));
        assert!(theirs.seal(id, HERE, &Secret::new("secret")).is_err());
    }

    #[test]
    fn during_a_change_of_keys_both_open() {
        let (old, new) = (MasterKey::generate(), MasterKey::generate());
        let before = Keyring::new([old.clone()]).seal(old.id(), HERE, &Secret::new("a")).unwrap();
        let both = Keyring::new([old, new.clone()]);
        let after = both.seal(new.id(), HERE, &Secret::new("b")).unwrap();
        assert_eq!(both.open(HERE, &before).unwrap().expose(), "a");
        assert_eq!(both.open(HERE, &after).unwrap().expose(), "b");
        assert_eq!(sealing_key(&after).unwrap(), new.id());
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), ours: bool) {
            let (ring, id) = ring();
            if ours && bytes.len() > KeyId::LEN {
                bytes[0] = VERSION;
                bytes[1..=KeyId::LEN].copy_from_slice(&id.bytes());
            }
            prop_assert!(ring.open(HERE, &bytes).is_err());
        }

        #[test]
        fn any_text_comes_back(text in ".{0,200}") {
            let (ring, id) = ring();
            let sealed = ring.seal(id, HERE, &Secret::new(text.clone())).unwrap();
            let opened = ring.open(HERE, &sealed).unwrap();
            prop_assert_eq!(opened.expose(), text);
        }
    }
}
