//! Bodies that nobody sends by mistake: refused in words, or mapped, in bounded time and memory.

use super::super::{Deltas, Fault, Options, Signal, protobuf, survey};
use super::{LIMIT, decode, map, map_surveyed, request};
use crate::wire::encode;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A protobuf message within so many others, each the field `number` of the one around it.
fn nested(numbers: &[u32], inside: &[u8]) -> Vec<u8> {
    numbers.iter().rev().fold(inside.to_vec(), |inside, &number| {
        let mut out = Vec::new();
        encode::packed(number, &mut out, |out| out.extend_from_slice(&inside));
        out
    })
}

/// A request of one log record whose body is `value`.
fn log_of(value: &[u8]) -> Vec<u8> {
    nested(&[1, 2, 2, 5], value)
}

/// An `AnyValue`: arrays within each other.
fn arrays(levels: usize) -> Vec<u8> {
    nested(&[5, 1].repeat(levels), &[])
}

fn map_bytes(signal: Signal, body: &[u8]) -> Result<u64, Fault> {
    let survey = survey(signal, body, Some("tenant"))?;
    let mapped = map_surveyed(signal, body, &survey, &Options::default(), &mut Deltas::default())?;
    Ok(mapped.rejections.items())
}

#[test]
fn deep_bodies_cost_their_record_only() {
    assert_eq!(map_bytes(Signal::Logs, &log_of(&arrays(30))), Ok(0));
    let mut body = log_of(&arrays(20_000));
    body.extend_from_slice(&log_of(&nested(&[1], b"")));
    let survey = survey(Signal::Logs, &body, None).unwrap();
    let mapped = map_surveyed(Signal::Logs, &body, &survey, &Options::default(), &mut Deltas::default()).unwrap();
    assert_eq!(mapped.rejections.items(), 1);
    assert_eq!(decode::logs(&mapped.parts).len(), 1);
}

#[test]
fn deep_json_is_refused() {
    let value = format!("{}{}", r#"{"arrayValue":{"values":["#.repeat(10_000), "]}}".repeat(10_000));
    let body = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{value}}}]}}]}}]}}"#);
    assert!(matches!(protobuf(Signal::Logs, body.as_bytes(), LIMIT), Err(Fault::Malformed(_))));
    let unknown = format!(r#"{{"unknown":{}1{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    assert!(matches!(protobuf(Signal::Logs, unknown.as_bytes(), LIMIT), Err(Fault::Malformed(_))));
}

#[test]
fn json_that_grows_beyond_the_limit_is_refused() {
    let bounds = vec!["1"; LIMIT / 8];
    let point = format!(r#"{{"explicitBounds":[{}]}}"#, bounds.join(","));
    let metric = format!(r#"{{"histogram":{{"dataPoints":[{point}]}}}}"#);
    let body = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metric}]}}]}}]}}"#);
    assert!(body.len() < LIMIT / 2);
    assert!(protobuf(Signal::Metrics, body.as_bytes(), LIMIT).is_err());
}

#[test]
fn output_beyond_the_limit_is_refused() {
    // Each point repeats the resource's tags.
    let point = json!({ "timeUnixNano": "1", "asInt": "1" });
    let resource = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "s".repeat(2_000) } }] });
    let mut request = request(json!({ "name": "m", "gauge": { "dataPoints": vec![point; 1_000] } }));
    request["resourceMetrics"][0]["resource"] = resource;
    let refused = map(Signal::Metrics, &request, &Options::default(), &mut Deltas::default()).unwrap_err();
    assert_eq!(refused, Fault::TooLarge { limit: LIMIT });
}

#[test]
fn lengths_and_wire_types_that_lie_are_refused() {
    for body in [
        &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f][..],
        &[0x0a, 0x05, 0x01],
        &[0x08, 0x01, 0x0b],
        &[0x08, 0x01, 0x00],
        &[0x0d, 0x01],
        &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        // A resource, a data point and packed counts of other types than they have.
        &[0x08, 0x01],
        &nested(&[1, 2, 2, 5], &[0x08, 0x01]),
        &nested(&[1, 2, 2, 9, 1, 6], &[0; 7]),
    ] {
        for signal in [Signal::Metrics, Signal::Logs] {
            let refused = map_bytes(signal, body);
            assert!(matches!(refused, Err(Fault::Malformed(_)) | Ok(0 | 1)), "{body:x?}: {refused:?}");
        }
    }
    assert!(map_bytes(Signal::Metrics, &[0x08, 0x01]).is_err());
}

#[test]
fn wide_buckets_with_few_observations_are_quick() {
    // Each spans all bins of a sketch, of which there are more than 60,000.
    let point = json!({
        "timeUnixNano": "1", "count": "1", "sum": 1.0, "bucketCounts": ["0", "1", "0"], "explicitBounds": [-1e200, 1e200],
    });
    let histogram = json!({ "aggregationTemporality": 1, "dataPoints": vec![point; 2_000] });
    let request = request(json!({ "name": "m", "histogram": histogram }));
    let start = Instant::now();
    let mapped = map(Signal::Metrics, &request, &Options::default(), &mut Deltas::default()).unwrap();
    assert_eq!(decode::sketches(&mapped.parts).len(), 2_000);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn exponential_histograms_out_of_range_are_refused() {
    for (scale, offset) in [(-20, 1), (0, 2_000), (0, 900), (60, 1), (i32::MAX, 1), (i32::MIN, 1), (0, i32::MAX)] {
        let point = json!({
            "timeUnixNano": "1", "count": "2", "sum": 1.0, "scale": scale,
            "positive": { "offset": offset, "bucketCounts": ["1", "1"] },
        });
        let histogram = json!({ "aggregationTemporality": 1, "dataPoints": [point] });
        let request = request(json!({ "name": "m", "exponentialHistogram": histogram }));
        let mapped = map(Signal::Metrics, &request, &Options::default(), &mut Deltas::default()).unwrap();
        assert_eq!(mapped.rejections.items(), 1, "scale {scale}, offset {offset}");
        assert!(mapped.parts.is_empty());
    }
}

#[test]
fn many_attributes_of_one_record_are_quick() {
    let attribute = |index: usize| json!({ "key": format!("k{}", index % 40_000), "value": { "intValue": "1" } });
    let attributes: Vec<Value> = (0..50_000).map(attribute).collect();
    let record = json!({ "body": { "stringValue": "x" }, "attributes": attributes });
    let request = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [record] }] }] });
    let body = protobuf(Signal::Logs, request.to_string().as_bytes(), 8 * LIMIT).unwrap();
    let survey = survey(Signal::Logs, &body, None).unwrap();
    let start = Instant::now();
    let mapped = map_surveyed(Signal::Logs, &body, &survey, &Options::default(), &mut Deltas::default()).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // Each of the names once, and those that every log has.
    let logs = decode::logs(&mapped.parts);
    assert_eq!(logs[0].as_object().unwrap().len(), 40_000 + 4);
}

#[test]
fn text_that_is_not_utf8_is_mended() {
    let mut body = log_of(&nested(&[1], b"caf\xe9"));
    let logs = |body: &[u8]| {
        let survey = survey(Signal::Logs, body, None).unwrap();
        let mapped = map_surveyed(Signal::Logs, body, &survey, &Options::default(), &mut Deltas::default());
        decode::logs(&mapped.unwrap().parts)
    };
    assert_eq!(logs(&body)[0]["message"], "caf\u{fffd}");
    body = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"caf?"}}]}]}]}"#.to_vec();
    let at = body.iter().position(|byte| *byte == b'?').unwrap();
    body[at] = 0xe9;
    assert_eq!(logs(&protobuf(Signal::Logs, &body, LIMIT).unwrap())[0]["message"], "caf\u{fffd}");
}

proptest! {
    #[test]
    fn any_bytes_are_mapped_or_refused(body in prop::collection::vec(any::<u8>(), 0..200), is_log in any::<bool>()) {
        let signal = if is_log { Signal::Logs } else { Signal::Metrics };
        let _ = map_bytes(signal, &body);
        let _ = protobuf(signal, &body, LIMIT).map(|body| map_bytes(signal, &body).expect("our own protobuf can be read"));
    }

    #[test]
    fn a_vector_with_a_byte_changed_is_mapped_or_refused(line in 0_usize..59, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let vector: Value = serde_json::from_str(super::vectors::VECTORS.lines().nth(line).unwrap()).unwrap();
        let signal = if vector["signal"] == "logs" { Signal::Logs } else { Signal::Metrics };
        let mut json = vector["requests"][0].to_string().into_bytes();
        let mut body = protobuf(signal, &json, LIMIT).unwrap();
        let at_byte = at.index(body.len());
        body[at_byte] = byte;
        let _ = map_bytes(signal, &body);
        let at_byte = at.index(json.len());
        json[at_byte] = byte;
        let _ = protobuf(signal, &json, LIMIT).map(|body| map_bytes(signal, &body).expect("our own protobuf can be read"));
    }
}
