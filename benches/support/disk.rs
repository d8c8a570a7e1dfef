//! A disk by itself, and what the kernel keeps of it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// So many fsyncs are measured at a time.
const SYNCS: usize = 200;

/// The times that `fdatasync` takes after so many bytes were appended to a file in a directory; sorted.
pub fn fsyncs(dir: &Path, bytes: usize) -> io::Result<Vec<Duration>> {
    let mut file = tempfile::tempfile_in(dir)?;
    let payload = vec![b'x'; bytes];
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&payload)?;
        let begun = Instant::now();
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// Has the kernel forget what it knows of the contents of a directory's files.
pub fn forget(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let file = File::open(entry.path())?;
            file.sync_all()?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
    }
    Ok(())
}
