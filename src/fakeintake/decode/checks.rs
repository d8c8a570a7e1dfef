//! Service checks.

use super::{Items, Refused};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;

#[derive(Deserialize)]
struct Check<'a> {
    #[serde(borrow)]
    check: Cow<'a, str>,
    #[serde(borrow, rename = "host_name")]
    _host: Cow<'a, str>,
    status: u8,
    // Required by the specification; the Agent and datadogpy send null for none.
    #[serde(default, rename = "tags")]
    _tags: Option<Vec<IgnoredAny>>,
    #[serde(default, rename = "timestamp")]
    _timestamp: Option<f64>,
}

/// A body of `/api/v1/check_run`: an array by the specification, one object from datadogpy.
pub(super) fn check_run(text: &str, items: &mut Items) -> Result<(), Refused> {
    let checks: Vec<&RawValue> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text)?
    } else {
        vec![serde_json::from_str(text)?]
    };
    for (index, raw) in checks.into_iter().enumerate() {
        let bad = |reason: String| Refused::Bad(format!("check {index}: {reason}"));
        let check: Check<'_> = serde_json::from_str(raw.get()).map_err(|error| bad(error.to_string()))?;
        if check.check.is_empty() {
            return Err(bad("the name is empty".into()));
        }
        if check.status > 3 {
            return Err(bad(format!("status {} is not between 0 and 3", check.status)));
        }
        items.push(raw.get());
    }
    Ok(())
}
