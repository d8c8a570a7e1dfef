//! Whose the resources of a request are.

use super::super::{Context, Deltas, Options, Owner, Signal, logs, metrics, protobuf, survey};
use super::{KEY, LIMIT, clock, decode};
use serde_json::{Value, json};

/// A resource with a tenant and a name, and what follows it.
fn resource(tenant: Option<&str>, content: &str, value: Value) -> Value {
    let mut attributes = vec![json!({ "key": "team", "value": { "stringValue": "core" } })];
    attributes.extend(tenant.map(|tenant| json!({ "key": "tenant", "value": { "stringValue": tenant } })));
    json!({ "resource": { "attributes": attributes }, content: [value] })
}

fn gauge(name: &str) -> Value {
    let points = json!([{ "timeUnixNano": "5000000000", "asInt": "1" }]);
    json!({ "metrics": [{ "name": name, "gauge": { "dataPoints": points } }] })
}

#[test]
fn one_request_may_carry_several_tenants() {
    let sum = json!({ "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [{ "asInt": "1" }, {}] });
    let request = json!({ "resourceMetrics": [
        resource(Some("a"), "scopeMetrics", gauge("one")),
        resource(None, "scopeMetrics", json!({ "metrics": [{ "name": "two", "sum": sum }] })),
        resource(Some("a"), "scopeMetrics", gauge("three")),
        resource(Some("b"), "scopeMetrics", gauge("four")),
    ] });
    let body = protobuf(Signal::Metrics, request.to_string().as_bytes(), LIMIT).unwrap();
    let survey = survey(Signal::Metrics, &body, Some("tenant")).unwrap();
    let owner = |tenant: Option<&str>, items, is_cumulative| {
        let tenant = tenant.map(str::to_owned);
        Owner { tenant, items, is_cumulative }
    };
    assert_eq!(survey.owners, [owner(Some("a"), 2, false), owner(None, 2, true), owner(Some("b"), 1, false)]);
    let options = &Options { resource_attributes_as_tags: true, ..Options::default() };
    let context = Context { attribute: Some("tenant"), options, clock: clock(), hash_key: &KEY, limit: LIMIT };
    let mapped = metrics(&body, &survey, &context, &[0, 0, 0], &mut [&mut Deltas::default()]).unwrap();
    // Of the second, one point has no value, and no room was made to remember the other.
    assert_eq!((&mapped.taken[..], mapped.rejections.items()), (&[2, 0, 1][..], 2));
    let of = |tenant: Option<&str>| {
        let parts: Vec<_> = mapped.parts.iter().filter(|part| part.tenant.as_deref() == tenant).cloned().collect();
        decode::series(&parts)
    };
    let names = |list: Vec<Value>| list.iter().map(|series| series["metric"].clone()).collect::<Vec<_>>();
    assert_eq!(of(Some("a"))[0]["tags"], json!(["team:core"]), "the tenant's attribute is no tag");
    assert_eq!(names(of(Some("a"))), ["one", "three"]);
    assert_eq!(names(of(Some("b"))), ["four"]);
}

#[test]
fn an_attribute_that_names_no_tenant_is_one_as_any() {
    let record = json!({ "logRecords": [{ "body": { "stringValue": "x" } }] });
    let request = json!({ "resourceLogs": [resource(Some("a"), "scopeLogs", record)] });
    let body = protobuf(Signal::Logs, request.to_string().as_bytes(), LIMIT).unwrap();
    for (attribute, tenant) in [(Some("tenant"), Some("a")), (None, None)] {
        let survey = survey(Signal::Logs, &body, attribute).unwrap();
        let options = &Options::default();
        let context = Context { attribute, options, clock: clock(), hash_key: &KEY, limit: LIMIT };
        let parts = logs(&body, &survey, &context).unwrap().parts;
        assert_eq!(parts[0].tenant.as_deref(), tenant);
        let expected = if attribute.is_some() { Value::Null } else { json!("a") };
        assert_eq!(decode::logs(&parts)[0]["tenant"], expected);
    }
}
