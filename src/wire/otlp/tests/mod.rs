//! The mapping against the rules of Datadog's exporter.

mod decode;
mod deltas;
mod hostile;
mod owners;
mod vectors;

use super::{Clock, Context, Deltas, Fault, HashKey, Mapped, Options, Signal, Survey, logs, metrics, protobuf, survey};
use crate::types::UnixMillis;
use serde_json::{Value, json};

/// The second that tests count from, as in the vectors.
const T: u64 = 1_700_000_100;

const KEY: HashKey = [7; 16];

/// Bytes that the result of a test may take.
const LIMIT: usize = 1 << 20;

/// When the daemon of the vectors started.
fn clock() -> Clock {
    Clock { now: UnixMillis(1_700_000_500_000), seconds: 500, started: 1_700_000_000_000_000_000 }
}

/// Maps a JSON request without looking for tenants; keeps what it changes in `deltas`.
fn map(signal: Signal, request: &Value, options: &Options, deltas: &mut Deltas) -> Result<Mapped, Fault> {
    let body = protobuf(signal, request.to_string().as_bytes(), LIMIT)?;
    let survey = survey(signal, &body, None)?;
    map_surveyed(signal, &body, &survey, options, deltas)
}

fn map_surveyed(
    signal: Signal,
    body: &[u8],
    survey: &Survey,
    options: &Options,
    deltas: &mut Deltas,
) -> Result<Mapped, Fault> {
    deltas.begin(100_000);
    let context = Context { attribute: None, options, clock: clock(), hash_key: &KEY, limit: LIMIT };
    let mapped = match signal {
        Signal::Metrics => metrics(body, survey, &context, &[0], &mut [&mut *deltas])?,
        Signal::Logs => logs(body, survey, &context)?,
    };
    deltas.commit();
    Ok(mapped)
}

/// A request of one metric.
fn request(metric: Value) -> Value {
    json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [metric] }] }] })
}

/// A cumulative monotonic sum `req` with points of start, time (seconds after [`T`]) and value.
fn sum(points: &[(u64, u64, i64)]) -> Value {
    let nanos = |seconds: u64| ((T + seconds) * 1_000_000_000).to_string();
    let points: Vec<Value> = points
        .iter()
        .map(|&(start, time, value)| {
            json!({ "startTimeUnixNano": nanos(start), "timeUnixNano": nanos(time), "asInt": value.to_string() })
        })
        .collect();
    request(json!({ "name": "req", "sum": { "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": points } }))
}
