//! Master key files: read with care, written atomically, and swapped so that a crash at any point leaves a key that
//! opens the store.

use super::{KeyId, MasterKey, VaultError};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The longest key file, in bytes; much longer than a key in any form.
const MAX_FILE: u64 = 4_096;

fn error(path: &Path, reason: impl Into<String>) -> VaultError {
    VaultError::File { path: path.display().to_string(), reason: reason.into() }
}

/// Reads a key file; `None` when it does not exist.
///
/// # Errors
/// When it cannot be read, is accessible to other users, or holds no key.
pub(super) fn read(path: &Path) -> Result<Option<MasterKey>, VaultError> {
    let unreadable = |why: io::Error| error(path, format!("cannot be read: {why}"));
    let file = match File::open(path) {
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(unreadable)?,
    };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(error(path, "is not a file"));
    }
    // The group may read: systemd and Kubernetes provide secrets to a service so.
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o027 != 0 {
        let what = if mode & 0o004 != 0 { "read" } else { "change" };
        let path = path.display();
        let reason = format!(
            "other users could {what} it (mode {mode:04o}): chmod 600 {path}, and change the key (dogsled store rekey) if one may have"
        );
        return Err(VaultError::File { path: path.to_string(), reason });
    }
    // Of full capacity from the start, so that growing leaves no copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize + 1));
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(unreadable)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| error(path, "is not text: a key is written in hexadecimal or base64"))?;
    MasterKey::parse(text, &format!("master key file {}", path.display())).map(Some)
}

/// Writes a key to a file that must not exist: with mode 0600, or readable to the same users as `like`. The file
/// appears whole, and is on disk when this returns.
///
/// # Errors
/// When the file exists or cannot be written.
pub(super) fn create(path: &Path, key: &MasterKey, like: Option<&Path>) -> Result<(), VaultError> {
    let temporary = suffixed(path, &format!(".tmp-{}", std::process::id()));
    let written = (|| {
        // An unfinished file of an earlier process with the same id.
        match std::fs::remove_file(&temporary) {
            Err(why) if why.kind() != ErrorKind::NotFound => return Err(why),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let mut text = key.to_text();
        text.push('\n');
        file.write_all(text.as_bytes())?;
        if let Some(like) = like.and_then(|like| std::fs::metadata(like).ok()) {
            // Keys are changed by root too, and the daemon must be able to read the new one.
            if (like.uid(), like.gid()) != (file.metadata()?.uid(), file.metadata()?.gid()) {
                fchown(&file, Some(like.uid()), Some(like.gid()))?;
            }
            file.set_permissions(Permissions::from_mode(0o600 | like.permissions().mode() & 0o040))?;
        }
        file.sync_all()?;
        // Unlike a rename, this fails when the name is taken.
        std::fs::hard_link(&temporary, path)?;
        sync_directory(path)
    })();
    let _ = std::fs::remove_file(&temporary);
    written.map_err(|why| match why.kind() {
        ErrorKind::AlreadyExists => error(path, "exists already"),
        _ => error(path, format!("cannot be written: {why}")),
    })
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The rotation of a key that is in a file.
///
/// The new key waits in `<file>.new`, where every reader of the key file looks too. Only when nothing in the store is
/// sealed with the old key any more does `<file>.new` become `<file>`; the old key stays as `<file>.old-<id>`, for
/// backups.
#[derive(Debug, Clone, Copy)]
pub struct Rotation<'a> {
    file: &'a Path,
}

impl<'a> Rotation<'a> {
    pub(super) fn of(file: &'a Path) -> Self {
        Self { file }
    }

    /// Where the new key waits.
    pub fn waiting_file(self) -> PathBuf {
        suffixed(self.file, ".new")
    }

    /// Where a key that was replaced is kept.
    pub fn kept_file(self, id: KeyId) -> PathBuf {
        suffixed(self.file, &format!(".old-{id}"))
    }

    /// The keys that were replaced and are kept beside the file, with their files.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn kept(self) -> Result<Vec<(KeyId, PathBuf)>, VaultError> {
        let unreadable = |why: io::Error| error(self.file, format!("the files beside it cannot be listed: {why}"));
        let prefix = suffixed(Path::new(self.file.file_name().unwrap_or_default()), ".old-");
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(directory(self.file)).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            kept.extend(
                name.strip_prefix(&*prefix.to_string_lossy()).and_then(KeyId::parse).map(|id| (id, path.clone())),
            );
        }
        kept.sort_by_key(|(id, _)| id.to_string());
        Ok(kept)
    }

    /// Removes a key that was replaced: what is sealed with it can then be opened by nobody.
    ///
    /// # Errors
    /// When its file cannot be removed.
    pub fn remove_kept(self, id: KeyId) -> Result<(), VaultError> {
        let path = self.kept_file(id);
        let removed = std::fs::remove_file(&path).and_then(|()| sync_directory(self.file));
        removed.map_err(|why| error(&path, format!("cannot be removed: {why}")))
    }

    /// The waiting key, if any.
    ///
    /// # Errors
    /// When its file is no good.
    pub fn waiting(self) -> Result<Option<MasterKey>, VaultError> {
        read(&self.waiting_file())
    }

    /// Writes the waiting key, on disk when this returns: `wanted`, or the one that waits already, or a new one.
    ///
    /// # Errors
    /// When another than `wanted` waits already, or files cannot be read or written.
    pub fn begin(self, wanted: Option<MasterKey>) -> Result<MasterKey, VaultError> {
        match (self.waiting()?, wanted) {
            (Some(waiting), Some(wanted)) if waiting.id() != wanted.id() => {
                let reason = format!(
                    "holds key {} of an unfinished key rotation: finish it with `dogsled store rekey` without --new-key-file, or remove the file",
                    waiting.id()
                );
                Err(error(&self.waiting_file(), reason))
            }
            (Some(waiting), _) => Ok(waiting),
            (None, wanted) => {
                let key = wanted.unwrap_or_else(MasterKey::generate);
                create(&self.waiting_file(), &key, Some(self.file))?;
                Ok(key)
            }
        }
    }

    /// Moves the waiting key into place if it has this id: the store has changed to it. Returns where the old one is
    /// kept; `None` when there was nothing to do.
    ///
    /// # Errors
    /// When files cannot be read or renamed. The waiting key remains usable then.
    pub fn finish(self, id: KeyId) -> Result<Option<PathBuf>, VaultError> {
        if self.waiting()?.is_none_or(|waiting| waiting.id() != id) {
            return Ok(None);
        }
        let old = read(self.file)?.filter(|old| old.id() != id);
        let kept = old.map(|old| self.kept_file(old.id()));
        let exchange = || {
            if let Some(kept) = &kept {
                match std::fs::hard_link(self.file, kept) {
                    Err(why) if why.kind() != ErrorKind::AlreadyExists => return Err(why),
                    _ => sync_directory(self.file)?,
                }
            }
            match std::fs::rename(self.waiting_file(), self.file) {
                // Another process did the same a moment ago.
                Err(why) if why.kind() == ErrorKind::NotFound => {}
                renamed => renamed?,
            }
            sync_directory(self.file)
        };
        exchange().map_err(|why| {
            error(
                self.file,
                format!("could not be replaced by {}: {why}; rename it by hand", self.waiting_file().display()),
            )
        })?;
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        assert!(read(&path).unwrap().is_none());
        let key = MasterKey::generate();
        create(&path, &key, None).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap().unwrap().id(), key.id());
        let error = create(&path, &MasterKey::generate(), None).unwrap_err().to_string();
        assert!(error.contains("exists already"), "{error}");
        assert_eq!(read(&path).unwrap().unwrap().id(), key.id());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_file_accessible_to_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        create(&path, &MasterKey::generate(), None).unwrap();
        for (mode, fine) in [
            (0o600, true),
            (0o400, true),
            (0o440, true),
            (0o644, false),
            (0o604, false),
            (0o620, false),
            (0o602, false),
        ] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match read(&path) {
                Ok(_) => assert!(fine, "{mode:o}"),
                Err(error) => assert!(!fine && error.to_string().contains("chmod 600"), "{mode:o}: {error}"),
            }
        }
        assert!(read(dir.path()).unwrap_err().to_string().contains("is not a file"));
    }

    #[test]
    fn a_rotation_resumes_after_any_interruption() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let old = MasterKey::generate();
        create(&path, &old, None).unwrap();
        let rotation = Rotation::of(&path);
        let new = rotation.begin(None).unwrap();
        assert_eq!(rotation.begin(None).unwrap().id(), new.id(), "a second start goes on with the same key");
        let error = rotation.begin(Some(MasterKey::generate())).unwrap_err().to_string();
        assert!(error.contains("master.key.new") && error.contains(&new.id().to_string()), "{error}");

        assert_eq!(rotation.finish(old.id()).unwrap(), None, "the store has not changed yet");
        assert_eq!(read(&path).unwrap().unwrap().id(), old.id());
        // As after a crash between the link and the rename.
        std::fs::hard_link(&path, rotation.kept_file(old.id())).unwrap();
        assert_eq!(rotation.finish(new.id()).unwrap(), Some(rotation.kept_file(old.id())));
        assert_eq!(read(&path).unwrap().unwrap().id(), new.id());
        assert_eq!(read(&rotation.kept_file(old.id())).unwrap().unwrap().id(), old.id());
        assert!(rotation.waiting().unwrap().is_none());
        assert_eq!(rotation.finish(new.id()).unwrap(), None);
    }
}
