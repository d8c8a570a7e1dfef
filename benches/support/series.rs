//! Metric series as applications send them, from a seeded generator, in each of the forms that Datadog takes.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// One series, before it has a form.
#[derive(Debug)]
pub struct Series {
    metric: String,
    is_count: bool,
    host: &'static str,
    tags: Vec<String>,
    /// Unix seconds and value.
    points: Vec<(u64, f64)>,
}

const SUBJECTS: [&str; 8] =
    ["http.server.requests", "db.pool", "cache", "queue.consumer", "jvm.memory", "checkout", "search.index", "mailer"];
const FIGURES: [&str; 8] = ["count", "duration", "errors", "active", "size_bytes", "lag", "hit_rate", "p95"];
const HOSTS: [&str; 4] = ["ip-10-3-17-22", "ip-10-4-2-9", "worker-a-7f9c4d", "edge-1"];
const TAGS: [(&str, &[&str]); 6] = [
    ("service", &["checkout", "catalog-api", "billing-worker", "gateway"]),
    ("version", &["2.14.0", "2.14.1", "2.15.0-rc1"]),
    ("region", &["eu-west-1", "us-east-1"]),
    ("endpoint", &["/api/v1/orders", "/search", "/cart/checkout", "/login"]),
    ("status_class", &["2xx", "3xx", "4xx", "5xx"]),
    ("pod", &["web-55d8bc-x2k4p", "web-55d8bc-9qz7m", "web-7f9c4d-l0v3s"]),
];

impl Series {
    /// `count` series.
    pub fn generate(seed: u64, count: usize) -> Vec<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        (0..count).map(|_| Self::random(&mut random)).collect()
    }

    fn random(random: &mut StdRng) -> Self {
        let is_count = random.random_bool(0.4);
        let mut tags = vec!["env:prod".to_owned()];
        for (name, values) in TAGS {
            if random.random_bool(0.6) {
                tags.push(format!("{name}:{}", values[random.random_range(0..values.len())]));
            }
        }
        let end = 1_700_000_000 + random.random_range(0..3_600u64);
        let points = (0..random.random_range(1..4u64))
            .map(|point| {
                let chance: f64 = random.random();
                (end + 10 * point, if is_count { (chance * 900.0).floor() } else { chance * 1e4 })
            })
            .collect();
        Self {
            metric: format!(
                "{}.{}",
                SUBJECTS[random.random_range(0..SUBJECTS.len())],
                FIGURES[random.random_range(0..FIGURES.len())]
            ),
            is_count,
            host: HOSTS[random.random_range(0..HOSTS.len())],
            tags,
            points,
        }
    }

    /// A body of `/api/v2/series`.
    pub fn json_v2(series: &[Self]) -> Vec<u8> {
        let of = |series: &Self| {
            let points: Vec<Value> =
                series.points.iter().map(|(time, value)| json!({ "timestamp": time, "value": value })).collect();
            json!({
                "metric": series.metric, "type": if series.is_count { 1 } else { 3 }, "interval": 10, "points": points,
                "tags": series.tags, "resources": [{ "type": "host", "name": series.host }],
            })
        };
        body(series.iter().map(of))
    }

    /// A body of `/api/v1/series`.
    pub fn json_v1(series: &[Self]) -> Vec<u8> {
        body(series.iter().map(|series| {
            json!({
                "metric": series.metric, "type": if series.is_count { "count" } else { "gauge" }, "interval": 10,
                "points": series.points, "tags": series.tags, "host": series.host,
            })
        }))
    }

    /// A `MetricPayload` (DataDog/agent-payload, `proto/metrics/agent_payload.proto`).
    pub fn protobuf(series: &[Self]) -> Vec<u8> {
        let of = |series: &Self| {
            let host = [field(1, b"host"), field(2, series.host.as_bytes())].concat();
            let mut message = [field(1, &host), field(2, series.metric.as_bytes())].concat();
            message.extend(series.tags.iter().flat_map(|tag| field(3, tag.as_bytes())));
            for (time, value) in &series.points {
                let point = [&[1 << 3 | 1][..], &value.to_le_bytes(), &[2 << 3], &varint(*time)].concat();
                message.extend(field(4, &point));
            }
            message.extend([5 << 3, if series.is_count { 1 } else { 3 }, 8 << 3, 10]);
            field(1, &message)
        };
        series.iter().flat_map(of).collect()
    }
}

fn body(series: impl Iterator<Item = Value>) -> Vec<u8> {
    json!({ "series": series.collect::<Vec<_>>() }).to_string().into_bytes()
}

/// A field with a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &varint(content.len() as u64), content].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
