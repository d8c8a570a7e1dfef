//! Logs: found one by one without building any of them.

use super::{Items, Refused};
use serde::de::{self, Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Entries an array may have (docs.datadoghq.com/api/latest/logs).
const MAX_ENTRIES: u64 = 1_000;
/// Bytes past which a single log is cut (the same page).
const MAX_LOG: usize = 1_000_000;

/// A JSON array of logs, or one log.
pub(super) fn json(text: &str, items: &mut Items) -> Result<(), Refused> {
    if text.trim_start().starts_with('[') {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        deserializer.deserialize_seq(Each(items))?;
        deserializer.end()?;
    } else {
        let log: &RawValue = serde_json::from_str(text)?;
        log_entry(log, items).map_err(Refused::Bad)?;
    }
    check_count(items)
}

/// One log a line.
pub(super) fn text(text: &str, items: &mut Items) -> Result<(), Refused> {
    for line in text.lines().filter(|line| !line.is_empty()) {
        items.cut += u64::from(line.len() > MAX_LOG);
        items.push_with(|| serde_json::json!({ "message": line }).to_string());
    }
    check_count(items)
}

fn check_count(items: &Items) -> Result<(), Refused> {
    if items.count > MAX_ENTRIES {
        return Err(Refused::TooMany(format!("{} logs in one request, at most {MAX_ENTRIES} are taken", items.count)));
    }
    Ok(())
}

fn log_entry(log: &RawValue, items: &mut Items) -> Result<(), String> {
    let log = log.get();
    if !log.starts_with('{') {
        return Err(format!("entry {} is not an object", items.count));
    }
    items.cut += u64::from(log.len() > MAX_LOG);
    items.push(log);
    Ok(())
}

struct Each<'a>(&'a mut Items);

impl<'de> Visitor<'de> for Each<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of logs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(log) = entries.next_element::<&RawValue>()? {
            log_entry(log, self.0).map_err(de::Error::custom)?;
        }
        Ok(())
    }
}
