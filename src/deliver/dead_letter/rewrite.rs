//! Taking letters out of a tenant's file while the daemon may be adding to it.
//!
//! Letters are first marked, each by one byte in its place, so that whatever ends this process, a letter that has been
//! replayed is not replayed again. Those that stay are then copied to a new file, which takes the place of the old one.
//! Until that moment the daemon adds to the old one; what it has added meanwhile is copied under the lock.

use super::directory::DeadLetters;
use super::file::{is_at, lock_again, open};
use super::lines::{Content, Line, Lines, REPLAYED, Section};
use crate::types::TenantId;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// Why a tenant's file cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// Another process changes files there.
    #[error("another `dogsled dead-letter` is replaying or purging in {0}: wait for its end")]
    Busy(PathBuf),
    /// The system refuses something.
    #[error("{path}: {source}")]
    Io {
        /// Of what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Neither this process nor the daemon did that.
    #[error("{0} was replaced by another program meanwhile; nothing was taken out of it")]
    Replaced(PathBuf),
}

/// A tenant's file of which letters are to be taken. Of all tenants, one at a time.
#[derive(Debug)]
pub struct Rewrite {
    dir: File,
    path: PathBuf,
    file: File,
    length: u64,
}

impl Rewrite {
    /// Opens the file of a tenant, as long as it is now; nothing when there is none.
    ///
    /// # Errors
    /// When another process is at it, or it cannot be opened for writing.
    pub fn begin(letters: &DeadLetters, tenant: &TenantId) -> Result<Option<Self>, RewriteError> {
        let path = letters.path(tenant);
        let dir = match File::open(letters.dir()) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(RewriteError::Io { path: letters.dir().to_owned(), source }),
        };
        match dir.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RewriteError::Busy(letters.dir().to_owned())),
            Err(TryLockError::Error(source)) => {
                return Err(RewriteError::Io { path: letters.dir().to_owned(), source });
            }
        }
        let opened = open(&path, OpenOptions::new().read(true).write(true));
        match opened.and_then(|file| file.map(|file| Ok((file.metadata()?.len(), file))).transpose()) {
            Ok(found) => Ok(found.map(|(length, file)| Self { dir, path, file, length })),
            Err(source) => Err(RewriteError::Io { path, source }),
        }
    }

    /// The lines that there were at the beginning.
    pub fn lines(&self) -> Lines<&File> {
        Lines::new(&self.file, self.length)
    }

    /// Marks a line's items as replayed.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn mark_replayed(&self, line: &Range<u64>) -> Result<(), RewriteError> {
        self.file.write_all_at(&[REPLAYED], line.start).map_err(|source| self.failed(source))
    }

    /// Takes out the letters that `keep` does not want, and those whose items have been replayed. Lines that cannot be
    /// read stay. A file that would be empty is removed.
    ///
    /// # Errors
    /// When the new file cannot be written; the old one is then as it was.
    pub fn finish(self, keep: impl FnMut(&Line<'_>) -> bool) -> Result<(), RewriteError> {
        // No tenant's file ends like this.
        let mut aside = self.path.clone().into_os_string();
        aside.push(".new");
        let aside = PathBuf::from(aside);
        let done = self.replace(&aside, keep);
        if done.is_err() {
            // The next one begins it anew.
            let _ = fs::remove_file(&aside);
        }
        done
    }

    fn replace(&self, aside: &Path, keep: impl FnMut(&Line<'_>) -> bool) -> Result<(), RewriteError> {
        let new = self.copy(aside, keep).map_err(|source| RewriteError::Io { path: aside.to_owned(), source })?;
        lock_again(&self.file).map_err(|source| self.failed(source))?;
        if !is_at(&self.file, &self.path).map_err(|source| self.failed(source))? {
            return Err(RewriteError::Replaced(self.path.clone()));
        }
        self.swap(aside, new).map_err(|source| self.failed(source))
        // The lock ends with the file. Who has waited for it finds another file under the name.
    }

    /// Copies what stays of the lines that there were at the beginning.
    fn copy(&self, aside: &Path, mut keep: impl FnMut(&Line<'_>) -> bool) -> io::Result<File> {
        let options = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(aside);
        let mut out = BufWriter::new(options?);
        let (old, new) = (self.file.metadata()?, out.get_ref().metadata()?);
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            // Root may do this for the daemon, which must be able to go on with the file.
            fchown(out.get_ref(), Some(old.uid()), Some(old.gid()))?;
        }
        let mut lines = self.lines();
        while let Some(line) = lines.read()? {
            let stays = match line.content {
                Content::Letter(_) => keep(&line),
                Content::Replayed => false,
                Content::Unreadable(_) => true,
            };
            if stays {
                io::copy(&mut Section { file: &self.file, range: line.range }, &mut out)?;
            }
        }
        let new = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        new.sync_all()?;
        Ok(new)
    }

    /// Copies what was added since, and puts the new file in the place of the old one.
    fn swap(&self, aside: &Path, mut new: File) -> io::Result<()> {
        let added = self.length..self.file.metadata()?.len();
        if !added.is_empty() {
            io::copy(&mut Section { file: &self.file, range: added }, &mut new)?;
            new.flush()?;
            new.sync_data()?;
        }
        if new.metadata()?.len() == 0 {
            fs::remove_file(&self.path)?;
            fs::remove_file(aside)?;
        } else {
            fs::rename(aside, &self.path)?;
        }
        self.dir.sync_all()
    }

    fn failed(&self, source: io::Error) -> RewriteError {
        RewriteError::Io { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a test's file is made of.
    #[derive(Debug, Clone)]
    enum Piece {
        Letter { id: u32, stays: bool, settled: bool },
        Garbage(Vec<u8>),
        Blank,
    }

    fn piece() -> impl Strategy<Value = Piece> {
        let garbage = prop::collection::vec(any::<u8>(), 0..200).prop_map(|mut bytes| {
            bytes.retain(|byte| *byte != b'\n');
            bytes.insert(0, b'x');
            Piece::Garbage(bytes)
        });
        let letter = (0..1000u32, any::<bool>(), prop::bool::weighted(0.3))
            .prop_map(|(id, stays, settled)| Piece::Letter { id, stays, settled });
        prop_oneof![4 => letter, 2 => garbage, 1 => Just(Piece::Blank)]
    }

    fn line(id: u32, stays: bool) -> Vec<u8> {
        let line = serde_json::json!({
            "refused_at": 1, "accepted_at": 1, "kind": "logs", "items": 1, "status": 400,
            "reason": if stays { "stays" } else { "goes" }, "body": [{ "id": id }],
        });
        format!("{line}\n").into_bytes()
    }

    proptest! {
        // Each waits for the disk several times.
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn kept_and_new_letters_stay_byte_for_byte(
            pieces in prop::collection::vec(piece(), 0..30), torn in any::<bool>(), added in 0..5u32
        ) {
            let home = tempfile::tempdir().unwrap();
            let letters = DeadLetters::new(home.path());
            let tenant = TenantId::new("a").unwrap();
            let path = letters.path(&tenant);
            fs::create_dir(letters.dir()).unwrap();
            let (mut before, mut after) = (Vec::new(), Vec::new());
            for piece in &pieces {
                match piece {
                    Piece::Letter { id, stays, .. } => before.extend(line(*id, *stays)),
                    Piece::Garbage(bytes) => before.extend([bytes, &b"\n"[..]].concat()),
                    Piece::Blank => before.push(b'\n'),
                }
                match piece {
                    Piece::Letter { id, stays: true, settled: false } => after.extend(line(*id, true)),
                    Piece::Garbage(bytes) => after.extend([bytes, &b"\n"[..]].concat()),
                    Piece::Letter { .. } | Piece::Blank => {}
                }
            }
            if torn {
                before.extend(b"{\"refused_at\":");
                after.extend(b"{\"refused_at\":");
            }
            fs::write(&path, &before).unwrap();

            let rewrite = Rewrite::begin(&letters, &tenant).unwrap().unwrap();
            prop_assert!(matches!(Rewrite::begin(&letters, &tenant), Err(RewriteError::Busy(_))));
            let mut settled = pieces.iter().filter_map(|piece| match piece {
                Piece::Letter { settled, .. } => Some(*settled),
                Piece::Garbage(_) | Piece::Blank => None,
            });
            let mut lines = rewrite.lines();
            while let Some(line) = lines.read().unwrap() {
                if matches!(line.content, Content::Letter(_)) && settled.next() == Some(true) {
                    rewrite.mark_replayed(&line.range).unwrap();
                }
            }
            for id in 0..added {
                super::super::directory::append(letters.dir(), &path, &line(id, false)).unwrap();
                if torn && id == 0 {
                    after.push(b'\n');
                }
                after.extend(line(id, false));
            }
            let stays = |line: &Line<'_>| matches!(&line.content, Content::Letter(letter) if letter.reason == "stays");
            rewrite.finish(stays).unwrap();
            prop_assert_eq!(fs::read(&path).unwrap_or_default(), after.clone());
            prop_assert_eq!(path.exists(), !after.is_empty());
            prop_assert_eq!(fs::read_dir(letters.dir()).unwrap().count(), usize::from(path.exists()));
        }
    }
}
