//! The sections of the configuration file, walked without knowing their types.

use super::Settings;
use super::difference::{Difference, compare};
use super::key::{Description, Table, describe, one_line, printed};
use super::reader::Reader;
use serde_json::Value;

/// A section of the configuration file.
pub(super) trait Section: Sync {
    fn name(&self) -> &'static str;
    fn about(&self) -> String;
    fn keys(&self) -> Vec<Description>;
    fn read(&self, settings: &mut Settings, reader: &mut Reader<'_>);
    fn printed(&self, settings: &Settings) -> Vec<(String, Value)>;
    fn compare(&self, from: &Settings, to: &Settings, found: &mut Vec<Difference>);
    /// Gives `to` the values of the keys that need a restart.
    fn keep(&self, from: &Settings, to: &mut Settings);
}

/// A table, and where it is in [`Settings`].
struct Within<T> {
    name: &'static str,
    get: fn(&Settings) -> &T,
    get_mut: fn(&mut Settings) -> &mut T,
}

impl<T: Table> Section for Within<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> String {
        one_line(T::ABOUT)
    }

    fn keys(&self) -> Vec<Description> {
        describe::<T>()
    }

    fn read(&self, settings: &mut Settings, reader: &mut Reader<'_>) {
        reader.read((self.get_mut)(settings));
    }

    fn printed(&self, settings: &Settings) -> Vec<(String, Value)> {
        printed((self.get)(settings))
    }

    fn compare(&self, from: &Settings, to: &Settings, found: &mut Vec<Difference>) {
        compare(self.name, (self.get)(from), (self.get)(to), found);
    }

    fn keep(&self, from: &Settings, to: &mut Settings) {
        for key in T::KEYS.iter().filter(|key| key.restart) {
            (key.copy)((self.get)(from), (self.get_mut)(to));
        }
    }
}

macro_rules! sections {
    ($($name:ident),+) => {
        [$(&Within { name: stringify!($name), get: |settings| &settings.$name, get_mut: |settings| &mut settings.$name }),+]
    };
}

/// The sections in the order of the file, apart from `[tenants]`.
pub(super) static SECTIONS: [&dyn Section; 17] = sections![
    state, ingest, dogstatsd, otlp, tenancy, oauth, store, batch, delivery, limits, journal, memory, admin, metrics,
    log, shutdown, datadog
];
