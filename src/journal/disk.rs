//! The file-system operations that the journal needs: few enough that tests replace them by a simulated disk, with
//! crashes, lost writes and errors.

use rustix::fs::Advice;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// One directory and the files in it, by name. A name may have one `/`, for the quarantine.
pub(crate) trait Disk: Send + Sync {
    /// Names and lengths of the files in the directory itself, with `""`, or in one within it; none if there is no such.
    fn list(&self, within: &str) -> io::Result<Vec<(String, u64)>>;
    /// Creates an empty file; an error if it exists.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading and writing, created if necessary.
    fn open_or_create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Closes a file, not necessarily at once: with the last handle of one that was removed its pages leave memory, which
    /// takes 20 ms for 64 MiB.
    fn close(&self, file: Arc<dyn DiskFile>);
    /// Makes creations and removals of files durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// The size of the file system in bytes; `None` where that is not known.
    fn size(&self) -> Option<u64>;
    /// The path of a file, for messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// One open file.
pub(crate) trait DiskFile: Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Fills `buf` from `offset` on; an error of kind `UnexpectedEof` if there is less.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Tells the kernel that this part will be read soon.
    fn will_need(&self, offset: u64, len: u64);
    /// Appends to the file. After an error any part of it may have been written.
    fn append(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()>;
    /// Reserves space for the part before `until`; the length stays as it is. After an error some of it may be reserved.
    fn reserve(&self, until: u64) -> io::Result<()>;
    /// Cuts the file, and gives back what is reserved beyond `len`.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Makes the contents and the length durable.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the machine's file system, locked for as long as this lives.
#[derive(Debug)]
pub(super) struct RealDisk {
    dir: PathBuf,
    /// Held for its lock.
    _lock: Option<File>,
    /// To the thread that closes files, which ends with this.
    closer: Option<Sender<Arc<dyn DiskFile>>>,
}

/// The file that the journal's writer locks.
const LOCK: &str = "lock";

impl RealDisk {
    /// Creates the directory if necessary, and locks it. `None` when another process has it locked.
    #[expect(clippy::disallowed_methods, reason = "bounded by the segments that there are")]
    pub(super) fn lock(dir: &Path) -> io::Result<Option<Self>> {
        make_dir(dir)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {
                let (closer, files) = channel();
                thread::Builder::new().name("journal-close".into()).spawn(move || files.into_iter().for_each(drop))?;
                Ok(Some(Self { dir: dir.into(), _lock: Some(lock), closer: Some(closer) }))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The directory without its lock, for readers.
    pub(super) fn unlocked(dir: &Path) -> Self {
        Self { dir: dir.into(), _lock: None, closer: None }
    }

    /// Whether a process has the directory locked.
    pub(super) fn is_in_use(dir: &Path) -> bool {
        File::open(dir.join(LOCK)).is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    fn make(&self, name: &str, options: &OpenOptions) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.dir.join(name);
        match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && name.contains('/') => {
                if let Some(parent) = path.parent() {
                    make_dir(parent)?;
                }
                Ok(Arc::new(options.open(&path)?))
            }
            opened => Ok(Arc::new(opened?)),
        }
    }
}

/// Makes a directory that only its owner may look into.
fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

impl Disk for RealDisk {
    fn list(&self, within: &str) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        let entries = match fs::read_dir(self.dir.join(within)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !within.is_empty() => return Ok(files),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                files.push((name, metadata.len()));
            }
        }
        Ok(files)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.make(name, OpenOptions::new().create_new(true).read(true).append(true).mode(0o600))
    }

    fn open_or_create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.make(name, OpenOptions::new().create(true).read(true).append(true).mode(0o600))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(File::open(self.dir.join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn close(&self, file: Arc<dyn DiskFile>) {
        if let Some(closer) = &self.closer {
            // An error gives it back, and it is closed here.
            let _ = closer.send(file);
        }
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn size(&self) -> Option<u64> {
        let file_system = rustix::fs::statvfs(&self.dir).ok()?;
        // Some that have no size say 0.
        file_system.f_blocks.checked_mul(file_system.f_frsize).filter(|bytes| *bytes > 0)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buf, offset)
    }

    fn will_need(&self, offset: u64, len: u64) {
        // It is a hint: where it is not taken, reading is slower.
        let _ = rustix::fs::fadvise(self, offset, NonZeroU64::new(len), Advice::WillNeed);
    }

    fn append(&self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut file = self;
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match file.write_vectored(parts) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut parts, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn reserve(&self, until: u64) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        rustix::fs::fallocate(self, rustix::fs::FallocateFlags::KEEP_SIZE, 0, until)?;
        #[cfg(not(target_os = "linux"))]
        let _ = until;
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
