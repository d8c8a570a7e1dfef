//! Metric series and distribution points in JSON, and the checks that every form of metric shares.

use super::{Items, Refused};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// How far ahead a point may be: docs.datadoghq.com/api/latest/metrics says ten minutes.
const AHEAD: i64 = 600;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    series: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Series2<'a> {
    #[serde(borrow)]
    metric: Cow<'a, str>,
    points: Vec<Point2>,
    #[serde(default)]
    r#type: Option<u64>,
    #[serde(default, rename = "interval")]
    _interval: Option<i64>,
    #[serde(default, rename = "unit")]
    _unit: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    tags: Option<Vec<Cow<'a, str>>>,
    #[serde(default, borrow)]
    resources: Option<Vec<Resource<'a>>>,
}

#[derive(Deserialize)]
struct Point2 {
    timestamp: f64,
    #[serde(rename = "value")]
    _value: f64,
}

#[derive(Deserialize)]
struct Resource<'a> {
    #[serde(default, borrow)]
    r#type: Cow<'a, str>,
    #[serde(default, borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Series1<'a, P> {
    #[serde(borrow)]
    metric: Cow<'a, str>,
    points: Vec<(f64, P)>,
    #[serde(default, borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(default, rename = "interval")]
    _interval: Option<f64>,
    #[serde(default, borrow)]
    host: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    tags: Option<Vec<Cow<'a, str>>>,
    #[serde(default, rename = "metadata")]
    _metadata: IgnoredAny,
}

/// A body of `/api/v2/series`.
pub(super) fn series2(text: &str, now: i64, items: &mut Items) -> Result<(), Refused> {
    each(text, items, |raw| {
        let series: Series2<'_> = serde_json::from_str(raw).map_err(|error| error.to_string())?;
        check_name(&series.metric)?;
        check_times(series.points.iter().map(|point| point.timestamp as i64), now)?;
        // Unspecified is one of the values of the API's enum.
        check_type(series.r#type.unwrap_or(0))?;
        let resources = series.resources.unwrap_or_default();
        check_resources(resources.iter().map(|resource| (&*resource.r#type, &*resource.name)))?;
        check_tags(series.tags.unwrap_or_default().iter().map(|tag| &**tag))
    })
}

/// A body of `/api/v1/series`.
pub(super) fn series1(text: &str, now: i64, items: &mut Items) -> Result<(), Refused> {
    // `counter` is the older name of `count`, which dogapi-rb and datadogpy still document.
    each(text, items, |raw| check_series1::<f64>(raw, &["", "count", "counter", "gauge", "rate"], now))
}

/// A body of `/api/v1/distribution_points`.
pub(super) fn distributions(text: &str, now: i64, items: &mut Items) -> Result<(), Refused> {
    each(text, items, |raw| check_series1::<Vec<f64>>(raw, &["", "distribution"], now))
}

fn check_series1<'a, P: Deserialize<'a>>(raw: &'a str, types: &[&str], now: i64) -> Result<(), String> {
    let series: Series1<'a, P> = serde_json::from_str(raw).map_err(|error| error.to_string())?;
    check_name(&series.metric)?;
    check_times(series.points.iter().map(|(time, _)| *time as i64), now)?;
    if let Some(given) = series.r#type.as_deref().filter(|given| !types.contains(given)) {
        return Err(format!("type {given:?} is none of {types:?}"));
    }
    check_resources(series.host.iter().map(|host| ("host", &**host)))?;
    check_tags(series.tags.unwrap_or_default().iter().map(|tag| &**tag))
}

/// Gives the raw text of each series to `check`.
fn each(text: &str, items: &mut Items, mut check: impl FnMut(&str) -> Result<(), String>) -> Result<(), Refused> {
    let body: Body<'_> = serde_json::from_str(text)?;
    for (index, raw) in body.series.iter().enumerate() {
        check(raw.get()).map_err(|reason| refused(index, &reason))?;
        items.push(raw.get());
    }
    Ok(())
}

/// The refusal of a payload for the series at `index`.
pub(super) fn refused(index: usize, reason: &str) -> Refused {
    Refused::Bad(format!("Payload is not in the expected format: series {index}: {reason}"))
}

/// A metric's name: not empty, at most 350 bytes, with a letter.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    match name {
        "" => Err("metric name is empty".into()),
        long if long.len() > 350 => Err(format!("metric name has {} bytes, at most 350 are taken", long.len())),
        odd if !odd.bytes().any(|byte| byte.is_ascii_alphabetic()) => Err(format!("metric name {odd:?} has no letter")),
        _ => Ok(()),
    }
}

/// At least one point, and none too far ahead.
pub(super) fn check_times(times: impl Iterator<Item = i64>, now: i64) -> Result<(), String> {
    let mut any = false;
    for time in times {
        any = true;
        if time > now.saturating_add(AHEAD) {
            return Err(format!("timestamp {time} is more than {AHEAD} s ahead"));
        }
    }
    if any { Ok(()) } else { Err("no points".into()) }
}

/// Count, rate, gauge or unspecified.
pub(super) fn check_type(kind: u64) -> Result<(), String> {
    if kind > 3 { Err(format!("type {kind} is not between 0 and 3")) } else { Ok(()) }
}

/// At most 500 resources; hosts of at most 255 bytes.
pub(super) fn check_resources<'a>(resources: impl Iterator<Item = (&'a str, &'a str)>) -> Result<(), String> {
    for (index, (kind, name)) in resources.enumerate() {
        if index == 500 {
            return Err("more than 500 resources".into());
        }
        if kind == "host" && name.len() > 255 {
            return Err(format!("host has {} bytes, at most 255 are taken", name.len()));
        }
    }
    Ok(())
}

/// Tags of at most 100 KiB together, none with a reserved prefix. A tag too long, or one too many, is cut off by Datadog.
pub(super) fn check_tags<'a>(tags: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut bytes = 0;
    for tag in tags {
        bytes += tag.len();
        if tag.starts_with("device:") || tag.starts_with("dd.internal.resource:") {
            return Err(format!("tag {tag:?} has a reserved prefix"));
        }
    }
    if bytes > 100 * 1024 { Err(format!("tags have {bytes} bytes, at most 102400 are taken")) } else { Ok(()) }
}
