//! What applies to one tenant instead of `[limits]` and `[journal]`: keys of `[tenants.<id>]`, of the store, of the admin API,
//! and options of `dogsled tenant set`.

use super::form::{Choice, Number, Optional, Period, Size, from_json};
use super::journal::WHEN_FULL;
use super::key::{Key, Table, one_line, section};
use super::problems::nearest;
use super::{Allowance, Limits, Quota, WhenFull};
use config::ValueKind;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::marker::PhantomData;
use std::time::Duration;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

section! {
    /// How fast a tenant may send, where that differs from `[limits]`.
    pub struct OwnLimits {
        /// Items a second; 0 for no limit.
        items_per_second: Option<u64> = None, Optional(Number(Limits::ITEMS));
        /// Bytes of items a second, uncompressed; 0 for no limit.
        bytes_per_second: Option<usize> = None, Optional(Size(Limits::BYTES));
    }
}

section! {
    /// How much of a tenant's telemetry is queued, where that differs from `[journal]`.
    pub struct OwnQuota {
        /// Bytes on disk.
        max_bytes: Option<usize> = None, Optional(Size(Quota::SIZES));
        /// Older items are dropped as `expired`.
        max_age: Option<Duration> = None, Optional(Period(Quota::AGES));
        /// What happens to new items when the queue is full.
        when_full: Option<WhenFull> = None, Optional(Choice(WHEN_FULL));
    }
}

/// What applies to one tenant instead of what applies to all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Overrides {
    /// How fast it may send.
    pub limits: OwnLimits,
    /// How much of its telemetry is queued.
    pub journal: OwnQuota,
}

/// A change of overrides.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OverridesPatch {
    /// Of how fast the tenant may send.
    pub limits: TablePatch<OwnLimits>,
    /// Of how much of its telemetry is queued.
    pub journal: TablePatch<OwnQuota>,
}

/// A change of a table of overrides, which is a JSON Merge Patch (RFC 7396): a key that is absent stays as it is, and null
/// takes an override back; null instead of the object takes all of them back.
#[derive(Debug, Clone)]
pub struct TablePatch<T>(Option<Value>, PhantomData<T>);

/// A table of overrides.
pub(crate) trait OwnTable: Table + Copy {
    /// Its name in the admin API.
    const NAME: &'static str;

    /// The value of a key that was written as text, in the form of the admin API.
    fn parsed(key: &Key<Self>, text: &str) -> Result<Value, String> {
        let mut own = Self::default();
        (key.read)(&mut own, &ValueKind::String(text.to_owned()))?;
        Ok((key.to_api)(&own))
    }
}

impl Overrides {
    /// What the tenant may do, where all others may do `default`.
    pub fn over(&self, default: Allowance) -> Allowance {
        let Allowance { limits, quota } = default;
        Allowance {
            limits: Limits {
                items_per_second: self.limits.items_per_second.unwrap_or(limits.items_per_second),
                bytes_per_second: self.limits.bytes_per_second.unwrap_or(limits.bytes_per_second),
            },
            quota: Quota {
                max_bytes: self.journal.max_bytes.unwrap_or(quota.max_bytes),
                max_age: self.journal.max_age.unwrap_or(quota.max_age),
                when_full: self.journal.when_full.unwrap_or(quota.when_full),
            },
        }
    }

    /// These overrides after a change.
    ///
    /// # Errors
    /// The key that is unknown or whose value is wrong, and what is wrong with it.
    pub fn patched(mut self, patch: &OverridesPatch) -> Result<Self, String> {
        apply(&patch.limits, &mut self.limits)?;
        apply(&patch.journal, &mut self.journal)?;
        Ok(self)
    }

    /// Reads what the store keeps of a tenant. Keys of another version have no effect.
    ///
    /// # Errors
    /// The key whose value is wrong, and what is wrong with it.
    pub fn from_store(kept: &Map<String, Value>) -> Result<Self, String> {
        let mut own = Self::default();
        read_known(&mut own.limits, kept)?;
        read_known(&mut own.journal, kept)?;
        Ok(own)
    }

    /// What the store is to keep instead of `kept`; keys of another version stay.
    pub fn to_store(&self, kept: &Map<String, Value>) -> Map<String, Value> {
        let mut all = kept.clone();
        write(&self.limits, &mut all);
        write(&self.journal, &mut all);
        all
    }
}

impl From<Allowance> for Overrides {
    fn from(Allowance { limits, quota }: Allowance) -> Self {
        Self {
            limits: OwnLimits {
                items_per_second: Some(limits.items_per_second),
                bytes_per_second: Some(limits.bytes_per_second),
            },
            journal: OwnQuota {
                max_bytes: Some(quota.max_bytes),
                max_age: Some(quota.max_age),
                when_full: Some(quota.when_full),
            },
        }
    }
}

fn read_known<T: OwnTable>(own: &mut T, kept: &Map<String, Value>) -> Result<(), String> {
    for key in T::KEYS {
        if let Some(value) = kept.get(key.name) {
            (key.read)(own, &from_json(value)).map_err(|why| format!("{}: {why}", key.name))?;
        }
    }
    Ok(())
}

fn write<T: OwnTable>(own: &T, all: &mut Map<String, Value>) {
    for key in T::KEYS {
        match (key.print)(own) {
            Value::Null => all.remove(key.name),
            value => all.insert(key.name.to_owned(), value),
        };
    }
}

impl<T> Default for TablePatch<T> {
    /// Nothing changes.
    fn default() -> Self {
        Self(None, PhantomData)
    }
}

impl<'de, T> Deserialize<'de> for TablePatch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Some(Value::deserialize(deserializer)?), PhantomData))
    }
}

impl<T> Serialize for TablePatch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

fn apply<T: OwnTable>(patch: &TablePatch<T>, own: &mut T) -> Result<(), String> {
    let changes = match &patch.0 {
        None => return Ok(()),
        Some(Value::Null) => {
            *own = T::default();
            return Ok(());
        }
        Some(Value::Object(changes)) => changes,
        Some(_) => return Err(format!("{}: expected a map of keys and values, or null", T::NAME)),
    };
    for (name, value) in changes {
        let key = T::KEYS.iter().find(|key| key.name == name).ok_or_else(|| {
            let known: Vec<_> = T::KEYS.iter().map(|key| key.name).collect();
            let near = nearest(name, known.iter().copied()).map(|near| format!("did you mean {near:?}? "));
            format!("{}: unknown key {name:?}; {}there are {}", T::NAME, near.unwrap_or_default(), known.join(", "))
        })?;
        let says = |why: String| format!("{}.{name}: {why}", T::NAME);
        // Files and variables may write a number as text; programs may not.
        if value.is_string() && (key.api_schema)()["type"][0] != "string" {
            return Err(says("must be a number, not text".into()));
        }
        (key.read)(own, &from_json(value)).map_err(says)?;
    }
    Ok(())
}

/// The object of the admin API that stands for a table of overrides, with null for what is not given.
fn object<T: OwnTable>() -> RefOr<Schema> {
    let described = |key: &Key<T>| {
        let mut schema = (key.api_schema)();
        schema["description"] = one_line(key.help).into();
        (key.name.to_owned(), schema)
    };
    let properties: Map<_, _> = T::KEYS.iter().map(described).collect();
    let schema = json!({
        "type": "object",
        "description": one_line(T::ABOUT),
        "properties": properties,
        "additionalProperties": false,
    });
    // Every schema here is a form that OpenAPI has; a test looks at it.
    serde_json::from_value(schema).unwrap_or_default()
}

macro_rules! own_table {
    ($Table:ty, $name:literal) => {
        impl Copy for $Table {}

        impl OwnTable for $Table {
            const NAME: &'static str = $name;
        }

        impl Serialize for $Table {
            /// Writes the table as the admin API does: sizes as numbers, and null for what is not given.
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(Self::KEYS.iter().map(|key| (key.name, (key.to_api)(self))))
            }
        }

        impl<'de> Deserialize<'de> for $Table {
            /// Reads what [`serialize`](Self::serialize) writes; keys of another version have no effect.
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut own = Self::default();
                read_known(&mut own, &Map::deserialize(deserializer)?).map_err(D::Error::custom)?;
                Ok(own)
            }
        }

        impl PartialSchema for $Table {
            fn schema() -> RefOr<Schema> {
                object::<Self>()
            }
        }

        impl ToSchema for $Table {}
    };
}

own_table!(OwnLimits, "limits");
own_table!(OwnQuota, "journal");

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Overrides {
        Overrides {
            limits: OwnLimits { items_per_second: Some(5), bytes_per_second: Some(1_000_000) },
            journal: OwnQuota {
                max_bytes: Some(3 << 20),
                max_age: Some(Duration::from_secs(5_400)),
                when_full: Some(WhenFull::DropOldest),
            },
        }
    }

    fn patched(own: Overrides, patch: Value) -> Result<Overrides, String> {
        own.patched(&serde_json::from_value(patch).unwrap())
    }

    #[test]
    fn the_store_gives_back_what_it_was_given() {
        for own in [all(), Overrides { journal: OwnQuota::default(), ..all() }, Overrides::default()] {
            let kept = own.to_store(&Map::new());
            assert_eq!(Overrides::from_store(&kept), Ok(own), "{kept:?}");
            let shown = serde_json::to_value(own).unwrap();
            assert_eq!(serde_json::from_value::<Overrides>(shown.clone()).unwrap(), own, "{shown}");
        }
        let written_by_0_1_0 = json!({ "bytes_per_second": "1MB", "items_per_second": 5, "max_age": "1h30m", "max_bytes": "3MiB", "when_full": "drop_oldest" });
        assert_eq!(Value::from(all().to_store(&Map::new())), written_by_0_1_0);
    }

    #[test]
    fn keys_of_another_version_stay_in_the_store() {
        let kept = json!({ "later": [1], "max_age": "1h" });
        let own = Overrides::from_store(kept.as_object().unwrap()).unwrap();
        assert_eq!(own.journal.max_age, Some(Duration::from_secs(3_600)));
        assert_eq!(Value::from(Overrides::default().to_store(kept.as_object().unwrap())), json!({ "later": [1] }));
    }

    #[test]
    fn the_api_schema_has_every_key_with_its_range() {
        let schema = serde_json::to_value(object::<OwnLimits>()).unwrap();
        let items = &schema["properties"]["items_per_second"];
        assert_eq!(
            (&items["type"], &items["maximum"]),
            (&json!(["integer", "null"]), &json!(1_000_000_000)),
            "{schema}"
        );
        let schema = serde_json::to_value(object::<OwnQuota>()).unwrap();
        assert_eq!(schema["properties"]["when_full"]["enum"], json!(["reject", "drop_oldest", null]), "{schema}");
        assert_eq!(schema["properties"].as_object().unwrap().len(), OwnQuota::KEYS.len());
    }

    #[test]
    fn a_patch_sets_keeps_and_takes_back() {
        let own =
            patched(all(), json!({ "limits": { "items_per_second": null }, "journal": { "max_age": "2h" } })).unwrap();
        assert_eq!(own.limits, OwnLimits { items_per_second: None, ..all().limits });
        assert_eq!(own.journal, OwnQuota { max_age: Some(Duration::from_secs(7_200)), ..all().journal });
        assert_eq!(patched(all(), json!({ "journal": null })).unwrap().journal, OwnQuota::default());
    }

    #[test]
    fn a_wrong_patch_is_refused_by_its_key() {
        for (wrong, message) in [
            (
                json!({ "limits": { "items_per_second": 1_000_000_001 } }),
                "limits.items_per_second: 1000000001 is out of range: 0 to 1000000000",
            ),
            (json!({ "limits": { "items_per_second": "5" } }), "limits.items_per_second: must be a number, not text"),
            (
                json!({ "limits": { "bytes_per_second": 2_u64 << 40 } }),
                "limits.bytes_per_second: 2199023255552 is out of range: 0B to 1TiB",
            ),
            (
                json!({ "limits": { "item_per_second": 1 } }),
                "limits: unknown key \"item_per_second\"; did you mean \"items_per_second\"?",
            ),
            (json!({ "limits": [1, 1] }), "limits: expected a map"),
            (json!({ "journal": { "max_bytes": 1 } }), "journal.max_bytes: 1 is out of range: 1MiB"),
            (json!({ "journal": { "max_age": "0s" } }), "journal.max_age: \"0s\" is out of range: 1s to 8760h"),
        ] {
            let error = patched(all(), wrong).unwrap_err();
            assert!(error.starts_with(message), "{message} but {error}");
        }
    }
}
