//! The answers to events, which say more than that the event was taken.
//!
//! Datadog's clients read an id and the event itself from the answer. The id is made here, since the event is on its
//! way only after the answer; it names nothing at Datadog, and so the link leads to the event explorer.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The fields that the answer repeats.
#[derive(Default, Deserialize)]
struct Given<'a> {
    #[serde(borrow, default)]
    title: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    date_happened: Option<&'a RawValue>,
    #[serde(borrow, default)]
    priority: Option<&'a RawValue>,
    #[serde(borrow, default)]
    related_event_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tags: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct AnswerV1<'a> {
    status: &'static str,
    event: EventV1<'a>,
}

#[derive(Serialize)]
struct EventV1<'a> {
    id: u64,
    id_str: String,
    title: Option<&'a RawValue>,
    text: Option<&'a RawValue>,
    date_happened: Date<'a>,
    handle: Option<()>,
    priority: Option<&'a RawValue>,
    related_event_id: Option<&'a RawValue>,
    tags: Option<&'a RawValue>,
    url: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Date<'a> {
    Given(&'a RawValue),
    Seconds(i64),
}

/// The answer to `/api/v1/events` for `event`, taken at `now` seconds, for a tenant whose web application is at `app`
/// (the form is that of Datadog's own answers in the recordings of its clients).
pub(super) fn answer_v1(event: &[u8], now: i64, id: u64, app: &str) -> Bytes {
    let given: Given<'_> = serde_json::from_slice(event).unwrap_or_default();
    // Clients keep it in a signed integer.
    let id = id >> 1;
    let event = EventV1 {
        id,
        id_str: id.to_string(),
        title: given.title,
        text: given.text,
        date_happened: given.date_happened.map_or(Date::Seconds(now), |date| match date.get().parse::<f64>() {
            // Datadog keeps whole seconds; `as` saturates.
            Ok(seconds) if seconds.is_finite() => Date::Seconds(seconds.trunc() as i64),
            _ => Date::Given(date),
        }),
        handle: None,
        priority: given.priority,
        related_event_id: given.related_event_id,
        tags: given.tags,
        url: explorer(app),
    };
    serde_json::to_vec(&AnswerV1 { status: "ok", event }).unwrap_or_default().into()
}

/// The answer to `/api/v2/events` (the same recordings).
pub(super) fn answer_v2(id: u64, app: &str) -> Bytes {
    serde_json::json!({
        "data": {
            "type": "event",
            "id": "_",
            "attributes": { "attributes": { "evt": { "id": (id >> 1).to_string(), "uid": format!("{id:016x}") } } },
        },
        "links": { "self": explorer(app) },
    })
    .to_string()
    .into()
}

fn explorer(app: &str) -> String {
    format!("{app}/event/explorer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_v1_answer_repeats_the_event_with_an_id_as_number_and_text() {
        let event = br#"{"title":"t \u00e4","text":"x","tags":["a:b"],"alert_type":"info"}"#;
        let answer = answer_v1(event, 1_700_000_000, u64::MAX, "https://app.datadoghq.com");
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(
            answer,
            json!({"status": "ok", "event": {
                "id": i64::MAX, "id_str": i64::MAX.to_string(), "title": "t ä", "text": "x",
                "date_happened": 1_700_000_000, "handle": null, "priority": null, "related_event_id": null,
                "tags": ["a:b"], "url": "https://app.datadoghq.com/event/explorer",
            }})
        );
    }

    #[test]
    fn a_v1_answer_keeps_the_date_given() {
        let answer = answer_v1(br#"{"title":"t","text":"x","date_happened":12}"#, 99, 4, "https://a");
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!((&answer["event"]["date_happened"], &answer["event"]["id"]), (&json!(12), &json!(2)));
        let answer = answer_v1(br#"{"title":"t","text":"x","date_happened":1580746667.9}"#, 99, 4, "https://a");
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["event"]["date_happened"], json!(1_580_746_667));
    }

    #[test]
    fn a_v2_answer_has_the_ids_where_clients_look_for_them() {
        let answer: Value = serde_json::from_slice(&answer_v2(255, "https://a")).unwrap();
        assert_eq!(answer["data"]["attributes"]["attributes"]["evt"], json!({"id": "127", "uid": "00000000000000ff"}));
        assert_eq!(answer["data"]["type"], "event");
    }
}
