//! The directory of all dead letters, and adding to it.

use super::file::{self, lock};
use super::letter::{self, Items, Reason};
use super::lines::Lines;
use crate::payload::Payload;
use crate::types::{TenantId, UnixMillis};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tracing::warn;

/// How the files' names end.
const ENDING: &str = ".ndjson";

/// A file of this size, and each time it has doubled since, is worth a warning. Bytes.
const LARGE: u64 = 1 << 30;

/// Dead letters leave so much of the disk free, bytes...
const SPARED: u64 = 256 << 20;
/// ...or one of so many parts of a small disk.
const PARTS: u64 = 20;

/// The directory of all dead letters.
#[derive(Debug)]
pub struct DeadLetters {
    dir: PathBuf,
}

/// Why dead letters cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The tenant's quota on disk is used up by them.
    #[error(
        "{}: dead letters take the tenant's whole quota on disk, {max_bytes} bytes: look at them with `dogsled dead-letter \
         show`, and take them away with `dogsled dead-letter purge` or `replay`", path.display()
    )]
    Full {
        /// The tenant's file.
        path: PathBuf,
        /// The quota.
        max_bytes: u64,
    },
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl DeadLetters {
    /// Those below a state directory. Their own directory is made (0700) at first use.
    pub fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("dead-letters") }
    }

    /// Where they are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends a payload's items and waits until they are on disk. Of one tenant, one at a time. The file does not grow
    /// beyond `max_bytes`. Returns its size.
    ///
    /// # Errors
    /// When the file is full or cannot be written, naming it. The payload is then still the caller's to keep.
    pub fn write(
        &self,
        payload: &Payload,
        reason: &Reason,
        now: UnixMillis,
        max_bytes: u64,
    ) -> Result<u64, WriteError> {
        let Payload { kind, generation, items, accepted, .. } = *payload;
        let refused =
            Items { tenant: payload.tenant.clone(), kind, generation, items, accepted, body: payload.unpack()? };
        self.write_items(refused, reason, now, max_bytes)
    }

    /// The same of items that are no payload.
    ///
    /// # Errors
    /// When the file is full or cannot be written, naming it.
    pub fn write_items(
        &self,
        refused: Items,
        reason: &Reason,
        now: UnixMillis,
        max_bytes: u64,
    ) -> Result<u64, WriteError> {
        let tenant = refused.tenant.clone();
        let path = self.path(&tenant);
        let line = letter::line(refused, reason, now)?;
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let length = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            metadata => metadata.map_err(named)?.len(),
        };
        if length + line.len() as u64 > max_bytes {
            return Err(WriteError::Full { path, max_bytes });
        }
        let (before, after) = append(&self.dir, &path, &line).map_err(named)?;
        if is_worth_a_warning(before, after) {
            warn!(
                %tenant, bytes = after, file = %path.display(),
                "dead letters are never removed by themselves: look at them with `dogsled dead-letter show`, and take \
                 them away with `dogsled dead-letter purge` or `replay`"
            );
        }
        Ok(after)
    }

    /// The file of a tenant.
    pub fn path(&self, tenant: &TenantId) -> PathBuf {
        self.dir.join(format!("{tenant}{ENDING}"))
    }

    /// The tenants that have a file, in order, with its size in bytes.
    ///
    /// # Errors
    /// When the directory cannot be read. One that does not exist has no files.
    pub fn tenants(&self) -> io::Result<Vec<(TenantId, u64)>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut tenants = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(ENDING)).map(TenantId::new);
            let Some(Ok(id)) = id else { continue };
            match entry.metadata() {
                Ok(metadata) => tenants.push((id, metadata.len())),
                // Replayed or purged meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        tenants.sort();
        Ok(tenants)
    }

    /// The lines of a tenant's file as it is now; none when there is no file.
    ///
    /// # Errors
    /// When the file cannot be opened, naming it.
    pub fn read(&self, tenant: &TenantId) -> io::Result<Option<Lines<File>>> {
        let path = self.path(tenant);
        file::open(&path, OpenOptions::new().read(true))
            .and_then(|found| {
                found
                    .map(|file| {
                        let length = file.metadata()?.len();
                        Ok(Lines::new(file, length))
                    })
                    .transpose()
            })
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }
}

fn is_worth_a_warning(before: u64, after: u64) -> bool {
    after >= LARGE && before.max(1).ilog2() < after.ilog2()
}

/// Appends a line; the size of the file before and after.
pub(super) fn append(dir: &Path, path: &Path, line: &[u8]) -> io::Result<(u64, u64)> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    spare(dir, line.len() as u64)?;
    let mut file = lock(path, OpenOptions::new().create(true).read(true).append(true).mode(0o600))?;
    let length = file.seek(SeekFrom::End(0))?;
    if length == 0 {
        File::open(dir)?.sync_all()?;
    } else if last_byte(&mut file)? != b'\n' {
        // A crash or a full disk left a part of a line.
        file.write_all(b"\n")?;
    }
    let written = file.write_all(line).and_then(|()| file.sync_data());
    if written.is_err() {
        // Best effort: a part of a line that stays is harmless, see above.
        let _ = file.set_len(length);
    }
    written.map(|()| (length, length + line.len() as u64))
}

/// Leaves the last of the disk to the journal, which needs it to make room.
fn spare(dir: &Path, bytes: u64) -> io::Result<()> {
    let file_system = rustix::fs::statvfs(dir)?;
    let block = file_system.f_frsize;
    let (size, free) = (file_system.f_blocks.saturating_mul(block), file_system.f_bavail.saturating_mul(block));
    let spared = (size / PARTS).min(SPARED);
    // Some file systems have no size.
    if size > 0 && free < spared.saturating_add(bytes) {
        let words =
            format!("the disk is nearly full, and the last {spared} bytes are not for dead letters: free space");
        return Err(io::Error::new(io::ErrorKind::StorageFull, words));
    }
    Ok(())
}

fn last_byte(file: &mut File) -> io::Result<u8> {
    let mut byte = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut byte)?;
    Ok(byte[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_are_warned_of_at_each_doubling() {
        const GIB: u64 = 1 << 30;
        let sizes = [0, 1, GIB - 1, GIB, GIB + 1, 2 * GIB - 1, 2 * GIB + 9, 3 * GIB, 4 * GIB];
        let warned: Vec<u64> =
            sizes.windows(2).filter(|pair| is_worth_a_warning(pair[0], pair[1])).map(|pair| pair[1]).collect();
        assert_eq!(warned, [GIB, 2 * GIB + 9, 4 * GIB]);
    }
}
