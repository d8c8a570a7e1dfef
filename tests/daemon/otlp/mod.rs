//! OTLP through the real program: what a client is told, and what arrives.

mod grpc;
mod http;
mod series;

use crate::support::{Daemon, FakeIntake, client};
use reqwest::Response;
use serde_json::{Value, json};

/// Names and values.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// A body, and its content type.
struct Sent<'a> {
    path: &'a str,
    content_type: &'a str,
    headers: Headers<'a>,
    body: Vec<u8>,
}

impl<'a> Sent<'a> {
    fn json(path: &'a str, body: &Value) -> Self {
        Self { path, content_type: "application/json", headers: &[], body: body.to_string().into_bytes() }
    }

    fn with(mut self, headers: Headers<'a>) -> Self {
        self.headers = headers;
        self
    }

    async fn to(self, base: &str) -> Response {
        let mut request = client().post(format!("{base}{}", self.path)).header("content-type", self.content_type);
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        request.body(self.body).send().await.unwrap()
    }
}

/// The JSON of an answer with that status.
async fn answered(answer: Response, status: u16) -> Value {
    let told = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    assert_eq!(told, status, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text:?}"))
}

/// A resource with these attributes, and what it holds.
fn resource(attributes: &[(&str, &str)], content: &str, value: Value) -> Value {
    let attributes: Vec<Value> =
        attributes.iter().map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } })).collect();
    json!({ "resource": { "attributes": attributes }, content: [value] })
}

/// The logs of one resource, one for each message.
fn logs(attributes: &[(&str, &str)], messages: &[&str]) -> Value {
    let records: Vec<Value> = messages.iter().map(|message| json!({ "body": { "stringValue": message } })).collect();
    json!({ "resourceLogs": [resource(attributes, "scopeLogs", json!({ "logRecords": records }))] })
}

/// A request of one metric.
fn metric(metric: Value) -> Value {
    json!({ "resourceMetrics": [resource(&[], "scopeMetrics", json!({ "metrics": [metric] }))] })
}

/// Nanoseconds since the Unix epoch, as JSON has them.
fn nanos(seconds: i64) -> String {
    format!("{seconds}000000000")
}

/// The messages of a tenant's logs.
async fn messages(fakeintake: &FakeIntake, tenant: &str) -> Vec<String> {
    let items = fakeintake.items(tenant, "logs").await;
    items.iter().map(|log| log.item["message"].as_str().unwrap().to_owned()).collect()
}

/// The name, value and sorted tags of a tenant's series.
async fn series(fakeintake: &FakeIntake, daemon: &Daemon, tenant: &str) -> Vec<(String, f64)> {
    daemon.wait_empty(tenant).await;
    let items = fakeintake.items(tenant, "series_v2_protobuf").await;
    let point = |item: &Value| item["points"][0]["value"].as_f64().unwrap_or_else(|| panic!("{item}"));
    items.iter().map(|series| (series.item["metric"].as_str().unwrap().to_owned(), point(&series.item))).collect()
}
