//! A disk in memory that loses what real ones may lose: writes that were not synced, by sectors and out of order, and
//! names that the directory was not synced for. Errors are injected. Deterministic by seed.

use crate::journal::disk::{Disk, DiskFile};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

const SECTOR: usize = 512;

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

struct State {
    rng: StdRng,
    files: Vec<Contents>,
    /// What a process sees.
    names: BTreeMap<String, usize>,
    /// What a crash cannot undo.
    durable_names: BTreeMap<String, usize>,
    faults: Faults,
    writes: u64,
    /// A file is being closed by whom that does not hold up.
    closing: bool,
    /// How many segments went out of memory otherwise.
    held_up: u64,
}

#[derive(Default)]
struct Contents {
    is_segment: bool,
    handles: u32,
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Space is reserved up to here.
    reserved: usize,
    /// Written before a sync that failed: later syncs say that all is well and do not write it.
    doomed: Vec<(usize, usize)>,
}

impl Contents {
    /// The space it takes.
    fn space(&self) -> usize {
        self.now.len().max(self.reserved)
    }

    /// What the next sync makes durable.
    fn syncable(&self) -> Vec<u8> {
        let mut bytes = self.now.clone();
        for (begin, end) in &self.doomed {
            let end = (*end).min(bytes.len());
            bytes[(*begin).min(end)..end].fill(0);
        }
        bytes
    }
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    /// No more than so many bytes in all files.
    pub(crate) quota: Option<usize>,
    /// Every write, creation and removal fails.
    pub(crate) read_only: bool,
    /// One of so many writes fails, after part of it was done. Cutting the file back succeeds, or what failed might come
    /// back: duplicates that the decision page tells of.
    pub(crate) write_error_in: Option<u32>,
    /// One of so many syncs fails, and forgets what it should have written.
    pub(crate) sync_error_in: Option<u32>,
    /// Space can be reserved.
    pub(crate) reserves: bool,
    /// This part of every file cannot be read.
    pub(crate) unreadable: Range<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            quota: None,
            read_only: false,
            write_error_in: None,
            sync_error_in: None,
            reserves: true,
            unreadable: 0..0,
        }
    }
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let state = State {
            rng,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            faults: Faults::default(),
            writes: 0,
            closing: false,
            held_up: 0,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Another disk with the same files, which works.
    pub(super) fn fork(&self, seed: u64) -> Self {
        let (copy, state) = (Self::new(seed), self.state());
        {
            let mut copied = copy.state();
            for (name, file) in &state.names {
                let now = state.files[*file].now.clone();
                let number = copied.files.len();
                copied.files.push(Contents { durable: now.clone(), now, ..Contents::default() });
                copied.names.insert(name.clone(), number);
            }
            copied.durable_names = copied.names.clone();
        }
        copy
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// The machine loses power: what was not synced is there, in part or not, sector by sector.
    pub(crate) fn lose_power(&self) {
        let mut state = self.state();
        let State { rng, files, names, durable_names, .. } = &mut *state;
        for file in files.iter_mut() {
            let syncable = file.syncable();
            let len = match rng.random_range(0..3) {
                0 => file.durable.len(),
                1 => file.now.len(),
                _ => rng.random_range(0..=file.now.len().max(file.durable.len())),
            };
            let len = len.max(file.durable.len().min(file.now.len()));
            let mut kept = vec![0; len];
            for begin in (0..len).step_by(SECTOR) {
                let end = (begin + SECTOR).min(len);
                let from = if rng.random() { &syncable } else { &file.durable };
                let until = end.min(from.len());
                if begin < until {
                    kept[begin..until].copy_from_slice(&from[begin..until]);
                }
            }
            file.doomed.clear();
            file.now = kept.clone();
            file.durable = kept;
        }
        let all: Vec<String> = names.keys().chain(durable_names.keys()).cloned().collect();
        for name in all {
            let (now, durable) = (names.get(&name).copied(), durable_names.get(&name).copied());
            let kept = if now == durable || rng.random() { now } else { durable };
            match kept {
                Some(file) => names.insert(name.clone(), file),
                None => names.remove(&name),
            };
        }
        *durable_names = names.clone();
    }

    /// The process dies. What a failed sync took is let off here: whoever comes after the one who was told of it can
    /// neither see nor mend it.
    pub(crate) fn kill(&self) {
        self.state().files.iter_mut().for_each(|file| file.doomed.clear());
    }

    /// How many removed segments the kernel would have taken out of memory while somebody waits who has better things to
    /// do than [`Disk::close`].
    pub(super) fn held_up(&self) -> u64 {
        self.state().held_up
    }

    /// The bytes of a file, to look at or to spoil.
    pub(super) fn with<T>(&self, name: &str, change: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut state = self.state();
        let file = state.names[name];
        let result = change(&mut state.files[file].now);
        state.files[file].durable = state.files[file].now.clone();
        result
    }
}

impl State {
    fn used(&self) -> usize {
        self.names.values().map(|file| self.files[*file].space()).sum()
    }

    fn space_left(&self) -> usize {
        self.faults.quota.map_or(usize::MAX, |quota| quota.saturating_sub(self.used()))
    }

    fn may_change(&self) -> io::Result<()> {
        if self.faults.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }

    /// A handle or the name of a file has gone, and its name has.
    fn let_go(&mut self, file: usize) {
        let Contents { is_segment, handles, .. } = self.files[file];
        if is_segment && handles == 0 && !self.closing {
            self.held_up += 1;
        }
    }

    fn fails(&mut self, one_in: Option<u32>) -> bool {
        one_in.is_some_and(|n| self.rng.random_range(0..n) == 0)
    }
}

struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl SimDisk {
    fn file(&self, state: &mut State, file: usize) -> Arc<dyn DiskFile> {
        state.files[file].handles += 1;
        Arc::new(SimFile { disk: self.clone(), file })
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        state.files[self.file].handles -= 1;
        if !state.names.values().any(|file| *file == self.file) {
            state.let_go(self.file);
        }
    }
}

impl Disk for SimDisk {
    fn list(&self, within: &str) -> io::Result<Vec<(String, u64)>> {
        let state = self.state();
        let names = state.names.iter().map(|(name, file)| (name.rsplit_once('/').unwrap_or(("", name)), file));
        let names = names.filter(|((dir, _), _)| *dir == within);
        Ok(names.map(|((_, name), file)| (name.to_owned(), state.files[*file].now.len() as u64)).collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.may_change()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.files.len();
        state.files.push(Contents { is_segment: name.ends_with(".seg"), ..Contents::default() });
        state.names.insert(name.into(), file);
        Ok(self.file(&mut state, file))
    }

    fn open_or_create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        match self.open(name) {
            Ok(file) => Ok(file),
            Err(_) => self.create(name),
        }
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let file = state.names.get(name).copied();
        file.map(|file| self.file(&mut state, file)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.may_change()?;
        let file = state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.let_go(file);
        Ok(())
    }

    fn close(&self, file: Arc<dyn DiskFile>) {
        self.state().closing = true;
        drop(file);
        self.state().closing = false;
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        let one_in = state.faults.sync_error_in;
        if state.fails(one_in) {
            return Err(io::Error::from_raw_os_error(5));
        }
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn size(&self) -> Option<u64> {
        self.state().faults.quota.map(|quota| quota as u64)
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/sim").join(name)
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].now.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.state();
        let bad = &state.faults.unreadable;
        if offset < bad.end && bad.start < offset + buf.len() as u64 {
            return Err(io::Error::from_raw_os_error(5));
        }
        let begin = offset as usize;
        let bytes = state.files[self.file].now.get(begin..begin + buf.len());
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn will_need(&self, _offset: u64, _len: u64) {}

    fn append(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.may_change()?;
        state.writes += 1;
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let file = &state.files[self.file];
        let space = state.space_left().saturating_add(file.space() - file.now.len());
        let mut error = None;
        if bytes.len() > space {
            bytes.truncate(space);
            error = Some(io::ErrorKind::StorageFull.into());
        } else {
            let one_in = state.faults.write_error_in;
            if state.fails(one_in) {
                let kept = state.rng.random_range(0..=bytes.len());
                bytes.truncate(kept);
                error = Some(io::Error::from_raw_os_error(5));
            }
        }
        state.files[self.file].now.extend(bytes);
        error.map_or(Ok(()), Err)
    }

    fn reserve(&self, until: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.may_change()?;
        if !state.faults.reserves {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let left = state.space_left();
        let file = &mut state.files[self.file];
        // What there is is taken, and nobody gives it back, as ext4 does.
        let granted = (until as usize).min(file.space().saturating_add(left));
        file.reserved = file.reserved.max(granted);
        if granted < until as usize { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.may_change()?;
        let file = &mut state.files[self.file];
        file.reserved = 0;
        file.now.resize(len as usize, 0);
        // What is written there next is new.
        for doomed in &mut file.doomed {
            doomed.1 = doomed.1.min(len as usize);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let one_in = state.faults.sync_error_in;
        let fails = state.fails(one_in);
        let file = &mut state.files[self.file];
        if fails {
            // As Linux does: the pages are clean from now on, though they are not on disk.
            file.doomed.push((file.durable.len(), file.now.len()));
            return Err(io::Error::from_raw_os_error(5));
        }
        file.durable = file.syncable();
        Ok(())
    }
}
