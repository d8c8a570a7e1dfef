//! The stand-in's answers, in Datadog's words where they are known.

#![expect(clippy::disallowed_methods, reason = "ids, which decide nothing")]

use super::endpoint::{Endpoint, Form, Voice};
use crate::types::UnixMillis;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

/// An answer of the stand-in.
pub(super) type Answer = Response<Full<Bytes>>;

/// A body of the given type.
pub(super) fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// A JSON body.
pub(super) fn json_body(status: StatusCode, body: &Value) -> Answer {
    with_type(status, "application/json", body.to_string())
}

/// The usual refusal: `{"errors":["text"]}`.
pub(super) fn errors(status: StatusCode, text: &str) -> Answer {
    json_body(status, &json!({ "errors": [text] }))
}

/// A refusal by a submission endpoint, in its own form.
pub(super) fn refusal(endpoint: &Endpoint, status: StatusCode, text: &str) -> Answer {
    let code = status.as_u16();
    let body = match endpoint.voice {
        Voice::Plain => json!({ "errors": [text] }),
        // As seen in github.com/dbader/node-datadog-metrics, issue 115.
        Voice::Series1 => json!({
            "status": "error", "code": code, "errors": [text], "statuspage": "http://status.datadoghq.com",
            "twitter": "http://twitter.com/datadogops", "email": "support@datadoghq.com",
        }),
        Voice::Logs1 => json!({ "code": code, "message": text }),
        Voice::Detailed => {
            let title = status.canonical_reason().unwrap_or_default();
            json!({ "errors": [{ "status": code.to_string(), "title": title, "detail": text }] })
        }
    };
    // Recorded of Datadog: JSON that calls itself plain text.
    let content_type = if endpoint.form == Form::Event1 { "text/plain" } else { "application/json" };
    with_type(status, content_type, body.to_string())
}

/// The page that an API key of the wrong form has been seen to get.
pub(super) fn forbidden_page() -> Answer {
    with_type(
        StatusCode::FORBIDDEN,
        "text/html; charset=utf-8",
        "<html><head><title>403 Forbidden</title></head><body><h1>403 Forbidden</h1></body></html>\n",
    )
}

/// The answer to an accepted submission. `event` is the one that was sent, where the answer tells of it.
pub(super) fn accepted(endpoint: &Endpoint, form: Form, event: Option<&Value>) -> Answer {
    const OK: &str = r#"{"status":"ok"}"#;
    let accepted = StatusCode::ACCEPTED;
    match form {
        Form::Series2Json | Form::Series2Proto | Form::Sketches => {
            with_type(accepted, "application/json", r#"{"errors":[]}"#)
        }
        Form::LogsJson | Form::LogsText if endpoint.voice == Voice::Logs1 => {
            with_type(StatusCode::OK, "application/json", "{}")
        }
        Form::LogsJson | Form::LogsText => with_type(accepted, "application/json", "{}"),
        Form::Series1 | Form::Distributions | Form::CheckRun => with_type(accepted, "text/json", OK),
        Form::AgentIntake => with_type(accepted, "application/json", OK),
        Form::Event1 => json_body(accepted, &event1(event.unwrap_or(&Value::Null))),
        Form::Event2 => {
            let id = rand::random::<u128>();
            let evt = json!({ "id": format!("{:019}", id as u64), "uid": format!("{id:032x}") });
            let event = json!({ "type": "event", "id": "_", "attributes": { "attributes": { "evt": evt } } });
            json_body(accepted, &json!({ "data": event, "links": { "self": "https://app.datadoghq.com/event" } }))
        }
    }
}

fn event1(sent: &Value) -> Value {
    // Above 2^53, as Datadog's are, so that a client that reads it as a double shows.
    let id = rand::random::<u64>() >> 1 | 1 << 60;
    // Whole seconds, and those of acceptance for an event without a date (recorded).
    let date = sent["date_happened"].as_f64().map_or_else(|| UnixMillis::now().0 / 1000, |date| date as i64);
    json!({ "status": "ok", "event": {
        "id": id, "id_str": id.to_string(), "title": sent["title"], "text": sent["text"],
        "date_happened": date, "handle": null, "priority": sent["priority"],
        "related_event_id": sent["related_event_id"], "tags": sent["tags"],
        "url": format!("https://app.datadoghq.com/event/event?id={id}"),
    }})
}
