//! Directories of telemetry and secrets: only the user that runs the daemon may look into them.

use rustix::fs::{Mode, OFlags, fchmod, fstat, open};
use std::fs::{DirBuilder, OpenOptions, read_dir, remove_file, symlink_metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use tracing::warn;

/// The permissions of everyone but the owner.
const OTHERS: u32 = 0o077;

/// Makes a directory, and sees to it that it can be written and that nobody else can look into it: permissions of others are
/// taken away, from it and from everything in it.
///
/// # Errors
/// When that cannot be done, or it belongs to somebody else than root.
pub(super) fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let user = probe(dir)?;
    // The directory itself may be a link, as systemd has it for a dynamic user; nothing in it may.
    let dir = dir.canonicalize()?;
    tighten(&dir, user)?;
    tighten_within(&dir, user)
}

/// Writes a file to learn whether that works, and whose it is then.
fn probe(dir: &Path) -> io::Result<u32> {
    let path = dir.join(".writable");
    // Whatever somebody has put there: a link is removed, and not followed.
    match remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let user = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?.metadata()?.uid();
    remove_file(&path)?;
    Ok(user)
}

fn tighten_within(dir: &Path, user: u32) -> io::Result<()> {
    for entry in read_dir(dir)? {
        let path = entry?.path();
        let metadata = match symlink_metadata(&path) {
            // Removed since, by whoever owns it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if metadata.uid() == 0 && user != 0 {
            // Such as lost+found.
            continue;
        }
        // Sockets have a mode of their own.
        if metadata.is_file() && metadata.permissions().mode() & OTHERS != 0 {
            tighten(&path, user)?;
        } else if metadata.is_dir() {
            tighten(&path, user)?;
            tighten_within(&path, user)?;
        }
    }
    Ok(())
}

fn tighten(path: &Path, user: u32) -> io::Result<()> {
    let file = open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fstat(&file)?;
    let (owner, mode) = (stat.st_uid, stat.st_mode & 0o7777);
    if owner != user && owner != 0 {
        let what = format!("{} belongs to user {owner}, and dogsled runs as user {user}", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    if mode & OTHERS == 0 {
        return Ok(());
    }
    if owner != user {
        // Such as the root of a volume: all that the daemon makes in it is its own.
        warn!("{} belongs to root, and others have permissions on it (mode {mode:o}): chmod 700 it", path.display());
        return Ok(());
    }
    fchmod(&file, Mode::from_raw_mode(mode & 0o700))?;
    warn!("others had permissions on {} (mode {mode:o}), which are taken away: it is the daemon's own", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, create_dir, metadata, set_permissions, write};
    use std::os::unix::fs::{chown, symlink};

    fn mode(path: &Path) -> u32 {
        metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_loose_directory_is_tightened_to_its_last_file() {
        let home = tempfile::tempdir().unwrap();
        let (dir, within) = (home.path().join("state"), home.path().join("state/journal"));
        create_dir(&dir).unwrap();
        create_dir(&within).unwrap();
        let (file, outside) = (within.join("1.seg"), home.path().join("outside"));
        for path in [&file, &outside] {
            write(path, "x").unwrap();
            set_permissions(path, Permissions::from_mode(0o644)).unwrap();
        }
        symlink(&outside, within.join("link")).unwrap();
        set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        make(&dir).unwrap();
        assert_eq!([&dir, &within, &file, &outside].map(|path| mode(path)), [0o700, 0o700, 0o600, 0o644]);
    }

    #[test]
    fn a_link_in_place_of_the_probe_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("target");
        write(&target, "kept").unwrap();
        symlink(&target, home.path().join(".writable")).unwrap();
        make(home.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "kept");
        assert!(symlink_metadata(home.path().join(".writable")).is_err());
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let home = tempfile::tempdir().unwrap();
        // Only root can give a directory away.
        if chown(home.path(), Some(12_345), None).is_err() {
            return;
        }
        let error = make(home.path()).unwrap_err().to_string();
        assert!(error.contains("belongs to user 12345") && error.contains("runs as user 0"), "{error}");
    }
}
