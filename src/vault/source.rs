//! Where the master key comes from.

use super::{KeyId, Keyring, MasterKey, Rotation, VaultError, files};
use crate::settings::Settings;
use crate::types::Secret;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The name of the key file in the state directory, when none is configured.
const DEFAULT_FILE: &str = "master.key";

/// The name of the systemd credential.
const CREDENTIAL: &str = "master-key";

/// Where the master key comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// `store.master_key`, which the environment sets as `DOGSLED_STORE__MASTER_KEY`.
    Text(Secret),
    /// A file provided from outside that cannot be changed here: a systemd credential.
    Credential(PathBuf),
    /// A file that this program can rotate.
    File {
        /// Its path.
        path: PathBuf,
        /// Whether it is created when a new store needs a key: only the default one in the state directory.
        create: bool,
    },
}

impl Source {
    /// The source that is configured: `store.master_key`, else `store.master_key_file`, else the systemd credential
    /// `master-key` if there is one in `credentials` (`$CREDENTIALS_DIRECTORY`), else a file in the state directory.
    pub fn configured(settings: &Settings, credentials: Option<&OsStr>) -> Self {
        if let Some(key) = &settings.store.master_key {
            return Self::Text(key.clone());
        }
        if let Some(path) = &settings.store.master_key_file {
            return Self::File { path: path.clone(), create: false };
        }
        let credential = credentials.map(|directory| Path::new(directory).join(CREDENTIAL));
        if let Some(path) = credential.filter(|path| path.exists()) {
            return Self::Credential(path);
        }
        Self::File { path: settings.state.dir.join(DEFAULT_FILE), create: true }
    }

    /// The keys available now, that of an unfinished rotation included; none when the file does not exist.
    ///
    /// # Errors
    /// When the content is not a key, or other users could read it.
    pub fn load(&self) -> Result<Keyring, VaultError> {
        match self {
            Self::Text(text) => Ok(Keyring::new([MasterKey::parse(text.expose(), "store.master_key")?])),
            Self::Credential(path) => Ok(Keyring::new(files::read(path)?)),
            Self::File { path, .. } => {
                let keys = [files::read(path)?, Rotation::of(path).waiting()?];
                Ok(Keyring::new(keys.into_iter().flatten()))
            }
        }
    }

    /// Creates a key for a new store.
    ///
    /// # Errors
    /// When keys of this source are not created here, or the file cannot be written.
    pub fn create(&self) -> Result<MasterKey, VaultError> {
        match self {
            Self::File { path, create: true } => {
                let key = MasterKey::generate();
                files::create(path, &key, None)?;
                Ok(key)
            }
            Self::File { path, .. } | Self::Credential(path) => Err(VaultError::File {
                path: path.display().to_string(),
                reason: format!(
                    "does not exist: create it with `(umask 077; openssl rand -base64 32 >{})`",
                    path.display()
                ),
            }),
            Self::Text(_) => {
                Err(VaultError::Malformed { origin: "store.master_key".into(), reason: "is empty".into() })
            }
        }
    }

    /// The rotation of a key in a file; `None` for a key provided from outside.
    pub fn rotation(&self) -> Option<Rotation<'_>> {
        match self {
            Self::File { path, .. } => Some(Rotation::of(path)),
            Self::Text(_) | Self::Credential(_) => None,
        }
    }

    /// Reads a key from a named file.
    ///
    /// # Errors
    /// When it does not exist, other users could read it, or it holds no key.
    pub fn read_file(path: &Path) -> Result<MasterKey, VaultError> {
        let missing = || VaultError::File { path: path.display().to_string(), reason: "no such file".into() };
        files::read(path)?.ok_or_else(missing)
    }

    /// What to do when the key with this id is needed and missing.
    pub fn advice(&self, needed: KeyId) -> String {
        match self {
            Self::Text(_) => format!("put key {needed} into DOGSLED_STORE__MASTER_KEY (store.master_key)"),
            Self::Credential(path) => {
                format!("make key {needed} the systemd credential master-key ({})", path.display())
            }
            Self::File { path, .. } => {
                let kept = Rotation::of(path).kept_file(needed);
                if kept.exists() {
                    let (kept, path) = (kept.display(), path.display());
                    format!("{kept} is that key: if the store is the right one (a restored backup?), copy it to {path}")
                } else {
                    format!(
                        "put that key into {} (from a backup, or from another host that uses this store)",
                        path.display()
                    )
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::OpenOptionsExt;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

    fn write(path: &Path) {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(path).unwrap();
        file.write_all(HEX.as_bytes()).unwrap();
    }

    #[test]
    fn the_first_key_source_wins() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.state.dir = dir.path().join("state");
        let credentials = Some(dir.path().as_os_str());
        let default = Source::configured(&settings, credentials);
        assert!(matches!(&default, Source::File { path, create: true } if path.ends_with("state/master.key")));

        write(&dir.path().join("master-key"));
        let credential = Source::configured(&settings, credentials);
        assert!(matches!(credential, Source::Credential(_)));
        assert!(credential.rotation().is_none());

        settings.store.master_key_file = Some(dir.path().join("named"));
        let named = Source::configured(&settings, credentials);
        assert!(matches!(&named, Source::File { path, create: false } if path.ends_with("named")));
        assert!(named.create().unwrap_err().to_string().contains("openssl rand"), "a named file is not made here");

        settings.store.master_key = Some(Secret::new(HEX));
        let text = Source::configured(&settings, credentials);
        assert_eq!(text.load().unwrap().first(), credential.load().unwrap().first());
        assert!(!format!("{text:?}").contains(HEX));
    }

    #[test]
    fn a_key_is_created_once() {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::File { path: dir.path().join("master.key"), create: true };
        assert_eq!(source.load().unwrap().first(), None);
        let key = source.create().unwrap();
        assert_eq!(source.load().unwrap().first(), Some(key.id()));
        assert!(source.create().is_err());
        let new = source.rotation().unwrap().begin(None).unwrap();
        let ring = source.load().unwrap();
        assert!(ring.contains(new.id()) && ring.first() == Some(key.id()));
    }

    #[test]
    fn advice_finds_the_key_that_was_kept() {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::File { path: dir.path().join("master.key"), create: true };
        let old = source.create().unwrap();
        assert!(source.advice(old.id()).contains("from a backup"));
        let rotation = source.rotation().unwrap();
        let new = rotation.begin(None).unwrap();
        rotation.finish(new.id()).unwrap();
        assert!(source.advice(old.id()).contains(&format!("master.key.old-{} is that key", old.id())));
    }
}
