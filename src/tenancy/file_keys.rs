//! The organisations of the keys of the configuration file: the file may get another key while items wait that were accepted
//! for the former one. Kept in the state directory, since a key may be exchanged while the daemon is down.

use super::{Hold, Recipients};
use crate::types::{Generation, Secret, TenantId, UnixMillis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// As many keys of a tenant are remembered.
const MOST: usize = 64;

/// What is known of the keys that tenants of the configuration file have, or had.
#[derive(Debug, Default)]
pub struct FileKeys {
    /// None: nothing is kept.
    path: Option<PathBuf>,
    keys: Mutex<BTreeMap<String, Vec<FileKey>>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct FileKey {
    generation: u64,
    /// None as long as it is not known.
    organisation: Option<String>,
    /// Datadog has refused it before it had an organisation: what was accepted for it is for the next key.
    #[serde(default)]
    refused: bool,
    /// It also gets what was accepted for others before this time: the operator's decision, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    released: Option<i64>,
}

impl FileKeys {
    /// Those that a state directory remembers.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join("file-keys.json");
        let keys = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { path: Some(path), keys: Mutex::new(keys) })
    }

    /// What is held of a tenant with this key. What older releases accepted is of no generation, and is not held.
    pub(super) fn hold(&self, tenant: &TenantId, key: Option<&Secret>) -> Hold {
        let present = key.map_or(Generation::UNKNOWN, Generation::of_key);
        let keys = self.lock();
        let known = keys.get(tenant.as_str()).map_or(&[][..], Vec::as_slice);
        let this = known.iter().find(|known| known.generation == present.0);
        let is_same = |other: &&FileKey| match &other.organisation {
            Some(organisation) => this.is_some_and(|this| this.organisation.as_ref() == Some(organisation)),
            None => other.refused,
        };
        let same = known.iter().filter(is_same);
        let others = std::iter::once(Generation::UNKNOWN).chain(same.map(|other| Generation(other.generation)));
        let recipients = Recipients { present, others: others.filter(|other| *other != present).collect() };
        Hold { paused: false, recipients, released: this.and_then(|this| this.released).map(UnixMillis) }
    }

    /// Whether the organisation of a tenant's key is known.
    pub(super) fn knows(&self, tenant: &TenantId, key: &Secret) -> bool {
        let generation = Generation::of_key(key).0;
        self.lock()
            .get(tenant.as_str())
            .is_some_and(|known| known.iter().any(|key| key.generation == generation && key.organisation.is_some()))
    }

    /// Remembers the organisation of a tenant's key.
    pub(super) fn learn(&self, tenant: &TenantId, key: &Secret, organisation: &str) -> io::Result<()> {
        let generation = Generation::of_key(key).0;
        self.change(tenant, generation, |key| key.organisation = Some(organisation.to_owned()))
    }

    /// Remembers that Datadog refuses a tenant's key.
    pub(super) fn note_refused(&self, tenant: &TenantId, key: &Secret) -> io::Result<()> {
        self.change(tenant, Generation::of_key(key).0, |key| key.refused = true)
    }

    /// Remembers that a key gets what was accepted before a time for others.
    pub(super) fn release(&self, tenant: &TenantId, key: &Secret, before: UnixMillis) -> io::Result<()> {
        let generation = Generation::of_key(key).0;
        self.change(tenant, generation, |key| key.released = Some(before.0))
    }

    fn change(&self, tenant: &TenantId, generation: u64, change: impl FnOnce(&mut FileKey)) -> io::Result<()> {
        let mut keys = self.lock();
        let known = keys.entry(tenant.as_str().to_owned()).or_default();
        let at = known.iter().position(|key| key.generation == generation);
        let mut key = at
            .map_or(FileKey { generation, organisation: None, refused: false, released: None }, |at| known.remove(at));
        change(&mut key);
        known.push(key);
        if known.len() > MOST {
            known.remove(0);
        }
        let Some(path) = &self.path else { return Ok(()) };
        let new = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(&*keys)?)?;
        file.sync_all()?;
        fs::rename(&new, path)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<FileKey>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_organisation_share_telemetry_across_runs() {
        let dir = tempfile::tempdir().unwrap();
        let tenant = TenantId::new("acme").unwrap();
        let [first, second, foreign] = ["a", "b", "c"].map(|key| Secret::new(key.repeat(32)));
        let keys = FileKeys::open(dir.path()).unwrap();
        keys.learn(&tenant, &first, "alpha").unwrap();
        keys.learn(&tenant, &second, "alpha").unwrap();
        keys.learn(&tenant, &foreign, "beta").unwrap();
        let keys = FileKeys::open(dir.path()).unwrap();
        let gets = |key: &Secret, accepted_for: &Secret| {
            keys.hold(&tenant, Some(key)).recipients.contains(Generation::of_key(accepted_for))
        };
        assert!(gets(&first, &second) && gets(&second, &first) && gets(&foreign, &foreign));
        assert!(!gets(&first, &foreign) && !gets(&foreign, &second));
        assert!(keys.hold(&tenant, Some(&foreign)).recipients.contains(Generation::UNKNOWN));
        let unknown = Secret::new("d".repeat(32));
        assert!(!gets(&unknown, &first) && !gets(&first, &unknown) && !keys.knows(&tenant, &unknown));
        keys.note_refused(&tenant, &unknown).unwrap();
        assert!(gets(&first, &unknown), "a key that never worked had no organisation");
    }

    #[test]
    fn a_release_is_to_the_present_key_alone() {
        let keys = FileKeys::default();
        let tenant = TenantId::new("acme").unwrap();
        let [first, second] = ["a", "b"].map(|key| Secret::new(key.repeat(32)));
        keys.learn(&tenant, &first, "alpha").unwrap();
        keys.learn(&tenant, &second, "beta").unwrap();
        keys.release(&tenant, &second, UnixMillis(7)).unwrap();
        let held = |key: &Secret, accepted| {
            let other = if *key == first { &second } else { &first };
            keys.hold(&tenant, Some(key)).awaits_decision(Generation::of_key(other), UnixMillis(accepted))
        };
        assert_eq!((held(&second, 6), held(&second, 7), held(&first, 6)), (false, true, true));
    }
}
