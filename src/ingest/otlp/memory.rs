//! What is remembered of the cumulative series of all tenants, within a run and from one to the next.
//!
//! A request holds the memory of its tenants from its mapping until the journal has it, or has not: two requests of a tenant
//! that go on at once would both take the difference to the same point. Then it is committed, or rolled back.
//!
//! The file is written when the daemon stops and removed when it is read, so that it is never older than the last point that
//! was taken. After a crash there is none: each series then begins anew, and what it grew by across the crash is not
//! counted. An older file would count twice what was sent since.

use crate::machine::UnixMillis;
use crate::types::TenantId;
use crate::wire::otlp::{Clock, Deltas, HashKey};
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

/// What one tenant's series may take, in units of [`Deltas::units`]: 100,000 sums, or some 25,000 histograms.
const TENANT_UNITS: usize = 100_000;

/// The same of all tenants together, below 200 MB.
const TOTAL_UNITS: usize = 2_000_000;

/// The beginning of the file, with the version of its form.
const MAGIC: &[u8; 8] = b"dsotlp01";

/// Why the file could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct MemoryError {
    path: PathBuf,
    source: io::Error,
}

type Shared = Arc<tokio::sync::Mutex<Deltas>>;

/// The memory of all tenants.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    hash_key: HashKey,
    origin: Instant,
    /// In nanoseconds since the Unix epoch.
    started: u64,
    tenants: Mutex<Tenants>,
    units: AtomicUsize,
    series: metrics::Gauge,
}

#[derive(Debug, Default)]
struct Tenants {
    by_id: HashMap<TenantId, Shared>,
    /// When it was last looked whose memory has expired.
    swept: u32,
}

/// The memory of the tenants of one request, held until it is committed; rolled back on drop.
#[derive(Debug)]
pub(super) struct Held {
    memory: Arc<Memory>,
    guards: Vec<(TenantId, OwnedMutexGuard<Deltas>, usize)>,
}

impl Memory {
    /// The memory that the file at `path` holds, or none, and why the file could not be read if it is there. The file is
    /// removed.
    pub fn open(path: PathBuf, hash_key: HashKey, started: UnixMillis) -> (Self, Option<MemoryError>) {
        let mut memory = Self {
            path,
            hash_key,
            origin: Instant::now(),
            started: u64::try_from(started.0).unwrap_or(0).saturating_mul(1_000_000),
            tenants: Mutex::default(),
            units: AtomicUsize::new(0),
            series: super::metrics::SERIES.handle(),
        };
        let error = memory.load().err().filter(|error| error.kind() != io::ErrorKind::NotFound);
        let error = error.map(|source| MemoryError { path: memory.path.clone(), source });
        (memory, error)
    }

    fn load(&mut self) -> io::Result<()> {
        let bytes = fs::read(&self.path)?;
        fs::remove_file(&self.path)?;
        let (hash_key, tenants) = decode(&bytes).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "it is damaged, or of another version; cumulative series begin anew",
            )
        })?;
        self.hash_key = hash_key;
        self.units = AtomicUsize::new(tenants.iter().map(|(_, deltas)| deltas.units()).sum());
        let shared = tenants.into_iter().map(|(id, deltas)| (id, Arc::new(tokio::sync::Mutex::new(deltas))));
        self.tenants = Mutex::new(Tenants { by_id: shared.collect(), swept: 0 });
        self.show();
        Ok(())
    }

    /// Writes the file. To be called when no request is in flight any more; what one holds nevertheless is left out.
    ///
    /// # Errors
    /// When it cannot be written; there is no file then.
    pub fn save(&self) -> Result<(), MemoryError> {
        let bytes = self.encode();
        let fresh = self.path.with_extension("new");
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&fresh, &self.path)?;
            fs::File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
        };
        write().map_err(|source| MemoryError { path: self.path.clone(), source })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &self.hash_key].concat();
        for (id, shared) in &self.lock().by_id {
            let Ok(deltas) = shared.try_lock() else { continue };
            // No id is longer than 100 bytes.
            bytes.push(id.as_str().len() as u8);
            bytes.extend_from_slice(id.as_str().as_bytes());
            deltas.write(&mut bytes);
        }
        let sum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// What series are hashed with.
    pub(super) fn hash_key(&self) -> &HashKey {
        &self.hash_key
    }

    /// The time, for a request that was accepted `now`.
    pub(super) fn clock(&self, now: UnixMillis) -> Clock {
        Clock { now, seconds: self.seconds(), started: self.started }
    }

    fn seconds(&self) -> u32 {
        u32::try_from(self.origin.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    /// Waits for the memory of these tenants, and holds it.
    pub(super) async fn hold(self: &Arc<Self>, tenants: BTreeSet<TenantId>, ttl: Duration) -> Held {
        let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        self.sweep(ttl);
        let mut held = Held { memory: self.clone(), guards: Vec::with_capacity(tenants.len()) };
        // In the order of their ids, so that two requests never wait for each other.
        for tenant in tenants {
            let shared = self.lock().by_id.entry(tenant.clone()).or_default().clone();
            let mut deltas = shared.lock_owned().await;
            let before = deltas.units();
            deltas.expire(self.seconds(), ttl);
            self.units.fetch_sub(before - deltas.units(), Ordering::Relaxed);
            let units = deltas.units();
            let left = TOTAL_UNITS.saturating_sub(self.units.load(Ordering::Relaxed));
            deltas.begin(TENANT_UNITS.min(units + left));
            held.guards.push((tenant, deltas, units));
        }
        held
    }

    /// Forgets what has expired of tenants that send nothing more.
    fn sweep(&self, ttl: u32) {
        let now = self.seconds();
        let mut tenants = self.lock();
        if now.saturating_sub(tenants.swept) <= ttl / 2 {
            return;
        }
        tenants.swept = now;
        tenants.by_id.retain(|_, shared| {
            // What is held at present is in use.
            let Ok(mut deltas) = shared.try_lock() else { return true };
            let before = deltas.units();
            deltas.expire(now, ttl);
            self.units.fetch_sub(before - deltas.units(), Ordering::Relaxed);
            let is_in_use = Arc::strong_count(shared) > 1;
            is_in_use || !deltas.is_empty()
        });
        drop(tenants);
        self.show();
    }

    fn show(&self) {
        let tenants = self.lock();
        let series = tenants.by_id.values().filter_map(|shared| Some(shared.try_lock().ok()?.len())).sum::<usize>();
        self.series.set(series as f64);
    }

    fn lock(&self) -> MutexGuard<'_, Tenants> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Which of [`deltas`](Self::deltas) is a tenant's.
    pub(super) fn index(&self, tenant: &TenantId) -> Option<usize> {
        self.guards.iter().position(|(id, ..)| id == tenant)
    }

    /// What is remembered, by tenant.
    pub(super) fn deltas(&mut self) -> Vec<&mut Deltas> {
        self.guards.iter_mut().map(|(_, deltas, _)| &mut **deltas).collect()
    }

    /// The journal has what was mapped for these tenants: what it changed stays.
    pub(super) fn commit(mut self, taken: impl Fn(&TenantId) -> bool) {
        for (tenant, deltas, _) in &mut self.guards {
            if taken(tenant) {
                let before = deltas.len();
                deltas.commit();
                self.memory.series.increment((deltas.len() - before) as f64);
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for (_, deltas, before) in &mut self.guards {
            // Of what is committed nothing is left to roll back.
            deltas.roll_back();
            let (units, before) = (deltas.units(), *before);
            if units >= before {
                self.memory.units.fetch_add(units - before, Ordering::Relaxed);
            } else {
                self.memory.units.fetch_sub(before - units, Ordering::Relaxed);
            }
        }
    }
}

fn decode(bytes: &[u8]) -> Option<(HashKey, Vec<(TenantId, Deltas)>)> {
    let (bytes, sum) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(bytes) != u32::from_le_bytes(*sum) {
        return None;
    }
    let (hash_key, mut rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<16>()?;
    let mut tenants = Vec::new();
    while let Some((&length, tail)) = rest.split_first() {
        let (id, tail) = tail.split_at_checked(usize::from(length))?;
        let id = TenantId::new(std::str::from_utf8(id).ok()?).ok()?;
        let (deltas, tail) = Deltas::read(tail, 0)?;
        tenants.push((id, deltas));
        rest = tail;
    }
    Some((*hash_key, tenants))
}
