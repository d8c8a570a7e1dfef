//! Cumulative points: what is remembered, and when.

use super::super::{Context, Deltas, Options, Signal, metrics, protobuf, survey};
use super::{KEY, LIMIT, T, clock, decode, map, request, sum};
use serde_json::{Value, json};

/// The values that become of the points, in requests of their own.
fn values(deltas: &mut Deltas, points: &[(u64, u64, i64)]) -> Vec<f64> {
    let map = |point| map(Signal::Metrics, &sum(&[point]), &Options::default(), deltas).unwrap().parts;
    let parts: Vec<_> = points.iter().copied().flat_map(map).collect();
    decode::series(&parts).iter().map(|series| series["points"][0][1].as_f64().unwrap()).collect()
}

#[test]
fn two_senders_of_equal_attributes_do_not_mix() {
    // One counts from 0, the other from 1; what each reports grows by 5 and by 1.
    let points = [(0, 10, 100), (1, 10, 3), (0, 20, 105), (1, 20, 4), (0, 30, 110), (1, 30, 5)];
    let values = values(&mut Deltas::default(), &points);
    assert_eq!(values, [100.0, 3.0, 5.0, 1.0, 5.0, 1.0]);
}

#[test]
fn a_request_that_was_not_taken_leaves_no_trace() {
    let mut deltas = Deltas::default();
    assert_eq!(values(&mut deltas, &[(0, 10, 100)]), [100.0]);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    deltas.write(&mut before);
    // The same series, a new one, and the same series again.
    deltas.begin(100_000);
    for point in [(0, 20, 130), (1, 20, 5), (0, 30, 140)] {
        map_unkept(&sum(&[point]), &mut deltas);
    }
    deltas.roll_back();
    deltas.write(&mut after);
    assert_eq!(before, after);
    assert_eq!(values(&mut deltas, &[(0, 20, 130), (1, 20, 5), (0, 30, 140)]), [30.0, 5.0, 10.0]);
}

#[test]
fn what_is_remembered_survives_as_bytes() {
    let mut deltas = Deltas::default();
    deltas.begin(100_000);
    let first = [histogram(10, 6, &[1, 2, 3, 0]), sum(&[(0, 10, 7)])];
    first.iter().for_each(|request| map_unkept(request, &mut deltas));
    deltas.commit();
    let mut bytes = Vec::new();
    deltas.write(&mut bytes);
    bytes.extend_from_slice(b"rest");
    let (mut read, rest) = Deltas::read(&bytes, 0).unwrap();
    assert_eq!((read.len(), rest), (2, &b"rest"[..]));
    for cut in 0..bytes.len() - 4 {
        assert!(Deltas::read(&bytes[..cut], 0).is_none(), "{cut}");
    }
    assert_eq!(values(&mut read, &[(0, 20, 9)]), [2.0]);
    let request = histogram(20, 10, &[1, 3, 4, 2]);
    let parts = map(Signal::Metrics, &request, &Options::default(), &mut read).unwrap().parts;
    let sketch = &decode::sketches(&parts)[0];
    assert_eq!((&sketch["cnt"], &sketch["n"]), (&json!(4), &json!([1, 1, 2])));
}

#[test]
fn series_are_forgotten_after_their_time() {
    let mut deltas = Deltas::default();
    deltas.begin(1);
    map_unkept(&sum(&[(0, 10, 7)]), &mut deltas);
    deltas.commit();
    // The points were accepted in second 500.
    deltas.expire(500 + 3_600, 3_600);
    assert_eq!(deltas.len(), 1);
    deltas.expire(500 + 3_601, 3_600);
    assert_eq!(deltas.len(), 1, "looked for every half of the time only");
    deltas.expire(500 + 5_500, 3_600);
    assert!(deltas.is_empty());
}

#[test]
fn new_series_beyond_the_bound_are_refused_in_words() {
    let mut deltas = Deltas::default();
    let (mut rejected, mut message) = (0, String::new());
    for round in 0..101 {
        let points: Vec<Value> = (0..1_000)
            .map(|index| {
                let attributes = json!([{ "key": "i", "value": { "intValue": (round * 1_000 + index).to_string() } }]);
                json!({ "timeUnixNano": "5", "asInt": "1", "attributes": attributes })
            })
            .collect();
        let data = json!({ "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": points });
        let request = request(json!({ "name": "req", "sum": data }));
        let mapped = map(Signal::Metrics, &request, &Options::default(), &mut deltas).unwrap();
        rejected += mapped.rejections.items();
        message = mapped.rejections.to_string();
    }
    assert_eq!((deltas.len(), rejected), (100_000, 1_000));
    assert!(message.contains("too many cumulative series"), "{message}");
}

/// Maps a request, and keeps neither its items nor commits.
fn map_unkept(request: &Value, deltas: &mut Deltas) {
    let body = protobuf(Signal::Metrics, request.to_string().as_bytes(), LIMIT).unwrap();
    let survey = survey(Signal::Metrics, &body, None).unwrap();
    let options = &Options::default();
    let context = Context { attribute: None, options, clock: clock(), hash_key: &KEY, limit: LIMIT };
    metrics(&body, &survey, &context, &[0], &mut [deltas]).unwrap();
}

/// A cumulative histogram `lat` at a time after [`T`].
fn histogram(time: u64, count: u64, counts: &[u64]) -> Value {
    let point = json!({
        "startTimeUnixNano": "1600000000000000000", "timeUnixNano": ((T + time) * 1_000_000_000).to_string(),
        "count": count, "sum": 20.0 * count as f64, "bucketCounts": counts, "explicitBounds": [10, 20, 40],
    });
    request(json!({ "name": "lat", "histogram": { "aggregationTemporality": 2, "dataPoints": [point] } }))
}
