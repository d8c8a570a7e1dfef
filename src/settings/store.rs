//! `[store]`

use super::form::{Text, path_or_empty};
use super::key::section;
use super::problems::Problems;
use super::secrets::{SecretText, looks_like_master_key, secret};
use super::store_url::{AnyStore, StoreUrl};
use crate::types::Secret;
use std::path::PathBuf;

section! {
    /// Where tenants, keys and tokens are kept, encrypted.
    pub struct Store {
        /// "" is SQLite, tenants.db in the state directory; or sqlite:/a/path.db, or postgres://user:password@host/database,
        /// which several hosts may share. Encrypted and verified beyond loopback unless it ends in ?sslmode=disable;
        /// ?sslrootcert=/a/file.pem trusts a CA of yours. Or a file with it.
        url: StoreUrl = StoreUrl::Default, AnyStore, restart;
        /// The file of the master key, 32 random bytes in hexadecimal or base64, mode 0600. "" is master.key in the state
        /// directory, made at the first start, or else systemd's credential `master-key`. Keep a copy elsewhere!
        master_key_file: Option<PathBuf> = None, Text(master_key_file, path_or_empty, "/etc/dogsled/master.key"), restart;
        /// The master key itself, instead of a file; meant for the environment variable DOGSLED_STORE__MASTER_KEY.
        master_key: Option<Secret> = None, SecretText::<false>(secret), restart;
    }
}

fn master_key_file(text: &str) -> Result<Option<PathBuf>, String> {
    if looks_like_master_key(text) {
        return Err("looks like a key itself, but must be the path of a file that holds it".into());
    }
    Ok((!text.is_empty()).then(|| text.into()))
}

pub(super) fn check(store: &Store, problems: &mut Problems) {
    if store.master_key.is_some() && store.master_key_file.is_some() {
        problems.error("store.master_key", "given here and as master_key_file too: keep one");
    }
}
