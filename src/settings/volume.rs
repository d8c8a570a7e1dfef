//! What the machine has room for.

use super::Settings;
use super::units::format_size;
use std::path::Path;

impl Settings {
    /// What is wrong with `journal.max_bytes` on this machine, if anything.
    pub(super) fn volume_warning(&self) -> Option<String> {
        let dir = self.journal_dir();
        // Before the first start, its volume is that of the directory that it will be made in.
        let volume = dir.ancestors().find_map(size_of_volume)?;
        (self.journal.max_bytes as u64 > volume).then(|| {
            format!(
                "journal.max_bytes: {} is more than the whole volume of {}, which has {}: set it so that the journal fits",
                format_size(self.journal.max_bytes as u64),
                dir.display(),
                format_size(volume >> 20 << 20),
            )
        })
    }
}

fn size_of_volume(dir: &Path) -> Option<u64> {
    let volume = rustix::fs::statvfs(dir).ok()?;
    volume.f_blocks.checked_mul(volume.f_frsize)
}
