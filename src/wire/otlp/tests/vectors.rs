//! The vectors of `tests/otlp/vectors.jsonl`, computed by a model that was run on Datadog's own test inputs.

use super::super::{Deltas, Encoding, Histograms, Options, Signal, success};
use super::{decode, map};
use serde_json::{Value, json};

pub(super) const VECTORS: &str = include_str!("../../../../tests/otlp/vectors.jsonl");

fn of_signal(signal: &str) -> Vec<Value> {
    let vectors = VECTORS.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    vectors.filter(|vector| vector["signal"] == signal).collect()
}

fn options(config: &Value) -> Options {
    let is = |name: &str| config[name] == true;
    Options {
        histograms: match config["histograms"].as_str() {
            None => Histograms::Distributions,
            Some("counters") => Histograms::Counters,
            Some("nobuckets") => Histograms::NoBuckets,
            Some(other) => panic!("{other}"),
        },
        send_aggregation_metrics: is("aggregations"),
        resource_attributes_as_tags: is("resource_attributes_as_tags"),
        scope_as_tags: is("scope_tags"),
        sums_as_gauges: config["monotonic"] == "raw_value",
        quantiles: config["summaries"] != "noquantiles",
        infer_delta_interval: is("infer_interval"),
    }
}

#[test]
fn metrics_are_mapped_as_the_vectors_say() {
    let vectors = of_signal("metrics");
    assert_eq!(vectors.len(), 46);
    for vector in vectors {
        let (id, options) = (&vector["id"], options(&vector["config"]));
        let mut deltas = Deltas::default();
        let (mut parts, mut rejected) = (Vec::new(), 0);
        for request in vector["requests"].as_array().unwrap() {
            let mapped = map(Signal::Metrics, request, &options, &mut deltas).unwrap();
            rejected += mapped.rejections.items();
            parts.extend(mapped.parts);
        }
        let mut expected = vector["series"].as_array().unwrap().clone();
        for series in &mut expected {
            let tags = series["tags"].as_array_mut().unwrap();
            tags.sort_by_key(|tag| tag.as_str().unwrap().to_owned());
        }
        assert_same(decode::series(&parts), expected, id);
        let mut expected = vector["sketches"].as_array().unwrap().clone();
        for sketch in &mut expected {
            for (name, value) in vector["suggest"].as_object().into_iter().flatten() {
                sketch[name] = value.clone();
            }
            if sketch["min"].as_f64() > sketch["max"].as_f64() {
                sketch["min"] = sketch["max"].clone();
            }
        }
        assert_same(decode::sketches(&parts), expected, id);
        if let Some(expected) = vector["rejected_data_points"].as_u64() {
            assert_eq!(rejected, expected, "{id}");
        }
    }
}

#[test]
fn logs_are_mapped_as_the_vectors_say() {
    let vectors = of_signal("logs");
    assert_eq!(vectors.len(), 13);
    for vector in vectors {
        let id = &vector["id"];
        let requests = vector["requests"].as_array().unwrap();
        let map = |request| map(Signal::Logs, request, &Options::default(), &mut Deltas::default()).unwrap().parts;
        let mut logs: Vec<Value> = requests.iter().flat_map(|request| decode::logs(&map(request))).collect();
        let mut expected = vector["logs"].as_array().unwrap().clone();
        for (log, expected) in logs.iter_mut().zip(&mut expected) {
            assert_eq!(log["ddsource"], "otlp_log_ingestion", "{id}");
            log.as_object_mut().unwrap().remove("ddsource");
            if expected.get("@timestamp").is_none() {
                assert_eq!(log["timestamp"], 1_700_000_500_000_u64, "{id}");
                log.as_object_mut().unwrap().remove("timestamp");
            }
            // Go's JSON escapes what HTML would not take.
            if let Some(message) = expected["message"].as_str() {
                expected["message"] = message.replace("\\u003c", "<").replace("\\u003e", ">").into();
            }
            for item in [log, expected] {
                let tags: Vec<&str> = item["ddtags"].as_str().unwrap_or_default().split(',').collect();
                let mut tags: Vec<String> = tags.into_iter().map(str::to_owned).collect();
                tags.sort();
                item["ddtags"] = json!(tags);
            }
        }
        assert_eq!(logs, expected, "{id}");
    }
}

#[test]
fn a_refused_point_is_told_in_partial_success() {
    let vectors = of_signal("http");
    let vector = vectors.iter().find(|vector| vector["id"] == "T08").unwrap();
    let request = serde_json::from_str(vector["body"].as_str().unwrap()).unwrap();
    let mapped = map(Signal::Metrics, &request, &Options::default(), &mut Deltas::default()).unwrap();
    let answer = success(Signal::Metrics, Encoding::Json, &mapped.rejections);
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedDataPoints"], "1", "{answer}");
    let message = answer["partialSuccess"]["errorMessage"].as_str().unwrap();
    assert!(message.contains("\"lat\"") && message.contains("bucket_counts"), "{message}");
    assert_eq!(success(Signal::Metrics, Encoding::Json, &Default::default()), b"{}");
    assert_eq!(success(Signal::Metrics, Encoding::Protobuf, &Default::default()), b"");
}

/// Compares items whatever their order, numbers to the ninth digit.
fn assert_same(mut actual: Vec<Value>, mut expected: Vec<Value>, id: &Value) {
    for items in [&mut actual, &mut expected] {
        items.iter_mut().for_each(round);
        items.sort_by_key(Value::to_string);
    }
    assert_eq!(actual, expected, "{id}");
}

fn round(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let rounded = format!("{:.9e}", number.as_f64().unwrap());
            *value = json!(rounded.parse::<f64>().unwrap());
        }
        Value::Array(list) => list.iter_mut().for_each(round),
        Value::Object(members) => members.values_mut().for_each(round),
        _ => {}
    }
}
