//! Events in their three forms.

use super::{Items, Refused};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// How old an event may be (docs.datadoghq.com/api/latest/events).
const MAX_AGE: i64 = 18 * 3_600;

/// The fields that the v1 API knows. It takes others too: Datadog's own Ruby client sends each text twice, under the
/// names of the Agent's form as well (dogapi-rb `lib/dogapi/v1/event.rb`).
#[derive(Deserialize)]
struct Event1 {
    /// An empty one is taken (recorded of dogapi-rb).
    #[serde(rename = "title")]
    _title: String,
    text: String,
    aggregation_key: Option<String>,
    alert_type: Option<String>,
    /// Fractions are taken (recorded of dogapi-rb).
    date_happened: Option<f64>,
    #[serde(rename = "device_name")]
    _device_name: Option<String>,
    #[serde(rename = "host")]
    _host: Option<String>,
    priority: Option<String>,
    #[serde(rename = "related_event_id")]
    _related_event_id: Option<i64>,
    #[serde(rename = "source_type_name")]
    _source_type_name: Option<String>,
    #[serde(rename = "tags")]
    _tags: Option<Vec<String>>,
}

/// A body of `/api/v1/events`.
pub(super) fn event1(text: &str, now: i64, items: &mut Items) -> Result<(), Refused> {
    let event: Event1 = serde_json::from_str(text)?;
    at_most("text", &event.text, 4_000)?;
    at_most("aggregation_key", event.aggregation_key.as_deref().unwrap_or_default(), 100)?;
    let alert_types = ["error", "warning", "info", "success", "user_update", "recommendation", "snapshot"];
    one_of("alert_type", event.alert_type.as_deref(), &alert_types)?;
    one_of("priority", event.priority.as_deref(), &["normal", "low"])?;
    if event.date_happened.is_some_and(|time| time < (now - MAX_AGE) as f64) {
        return Err(Refused::Bad("Event too far in the past".into()));
    }
    items.push(text.trim());
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event2 {
    data: Data,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    r#type: String,
    attributes: Attributes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attributes {
    title: String,
    category: String,
    attributes: BTreeMap<String, serde_json::Value>,
    message: Option<String>,
    tags: Option<Vec<String>>,
    aggregation_key: Option<String>,
    host: Option<String>,
    integration_id: Option<String>,
    #[serde(rename = "timestamp")]
    _timestamp: Option<String>,
}

/// A body of `/api/v2/events`.
pub(super) fn event2(text: &str, items: &mut Items) -> Result<(), Refused> {
    let event: Event2 = serde_json::from_str(text)?;
    let attributes = event.data.attributes;
    one_of_json("type", &event.data.r#type, &["event"])?;
    one_of_json("attributes.category", &attributes.category, &["alert", "change"])?;
    let title = attributes.title.chars().count();
    if !(1..=500).contains(&title) {
        return Err(at_path("attributes.title", &format!("length {title} is not between 1 and 500")));
    }
    at_most("message", attributes.message.as_deref().unwrap_or_default(), 4_000)?;
    at_most("aggregation_key", attributes.aggregation_key.as_deref().unwrap_or_default(), 100)?;
    at_most("host", attributes.host.as_deref().unwrap_or_default(), 255)?;
    if let Some(id) = &attributes.integration_id {
        one_of_json("attributes.integration_id", id, &["custom-events"])?;
    }
    let tags = attributes.tags.unwrap_or_default();
    if tags.len() > 100 {
        return Err(at_path("attributes.tags", "more than 100 items"));
    }
    tags.iter().try_for_each(|tag| at_most("tags", tag, 200))?;
    let (required, known): (&str, &[&str]) = if attributes.category == "alert" {
        ("status", &["status", "priority", "custom", "links"])
    } else {
        let optional = ["author", "change_metadata", "impacted_resources", "new_value", "prev_value"];
        ("changed_resource", &[&["changed_resource"][..], &optional].concat())
    };
    if let Some(unknown) = attributes.attributes.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(at_path("attributes.attributes", &format!("unknown property {unknown:?}")));
    }
    if !attributes.attributes.contains_key(required) {
        return Err(at_path("attributes.attributes", &format!("missing property {required:?}")));
    }
    items.push(text.trim());
    Ok(())
}

#[derive(Deserialize)]
struct AgentIntake<'a> {
    #[serde(borrow, default)]
    events: BTreeMap<String, Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct AgentEvent {
    #[serde(rename = "msg_title")]
    _title: String,
    #[serde(rename = "msg_text")]
    _text: String,
    #[serde(default, rename = "tags")]
    _tags: Option<Vec<IgnoredAny>>,
}

/// A body of `/intake/`: events by their source, or metadata of a host, in which there is nothing to count.
pub(super) fn agent_intake(text: &str, items: &mut Items) -> Result<(), Refused> {
    let body: AgentIntake<'_> = serde_json::from_str(text)?;
    for event in body.events.into_values().flatten() {
        let _: AgentEvent = serde_json::from_str(event.get())?;
        items.push(event.get());
    }
    Ok(())
}

fn at_most(field: &str, value: &str, limit: usize) -> Result<(), Refused> {
    let len = value.chars().count();
    if len > limit {
        return Err(Refused::Bad(format!("{field} has {len} characters, at most {limit} are taken")));
    }
    Ok(())
}

fn one_of(field: &str, value: Option<&str>, known: &[&str]) -> Result<(), Refused> {
    match value {
        Some(value) if !known.contains(&value) => {
            Err(Refused::Bad(format!("{field}: value must be one of: {known:?}.")))
        }
        _ => Ok(()),
    }
}

fn one_of_json(path: &str, value: &str, known: &[&str]) -> Result<(), Refused> {
    if known.contains(&value) { Ok(()) } else { Err(at_path(path, &format!("value must be one of: {known:?}."))) }
}

/// As recorded of Datadog: `JSON validation failed at $.data.attributes.category: value must be one of: […].`
fn at_path(path: &str, reason: &str) -> Refused {
    Refused::Bad(format!("JSON validation failed at $.data.{path}: {reason}"))
}
