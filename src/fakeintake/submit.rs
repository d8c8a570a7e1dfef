//! Submissions: checks a request as the intake does, counts it, and answers.

use super::answer::{self, Answer};
use super::body::{Sent, Unreadable, with_decompressed};
use super::decode::{self, Refused};
use super::endpoint::{Endpoint, Form, Voice};
use super::faults::{Active, Effect};
use super::headers::header;
use super::keys::{Verdict, redacted};
use super::record::Arrival;
use super::state::Shared;
use crate::types::UnixMillis;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use hyper::{Method, StatusCode};
use serde_json::Value;
use std::sync::Arc;

/// What a submission was refused with.
struct No {
    status: StatusCode,
    text: String,
}

impl No {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

/// A submission, read.
pub(super) struct Submission<'a> {
    pub(super) endpoint: &'static Endpoint,
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    /// The key that the request has, if any.
    pub(super) key: Option<&'a str>,
    /// What it is counted under.
    pub(super) name: &'a str,
    /// The kind that it is counted as.
    pub(super) kind: &'static str,
    pub(super) rules: &'a [Arc<Active>],
}

/// Handles a submission whose body has been read.
pub(super) fn submit(shared: &Shared, submission: &Submission<'_>, sent: &Sent) -> Answer {
    let endpoint = submission.endpoint;
    let verdict = shared.keys.judge(submission.key);
    let outcome = match verdict {
        Verdict::Valid(_) => check(shared, submission, sent),
        _ => Err(bad_key(endpoint, &verdict)),
    };
    match outcome {
        Ok((form, event)) => answer::accepted(endpoint, form, event.as_ref()),
        Err(No { status, text }) => {
            tracing::warn!("{status} to {} of key {}: {text}", endpoint.path, redacted(submission.name));
            let is_page = verdict == Verdict::Malformed && matches!(endpoint.voice, Voice::Plain | Voice::Series1);
            if is_page { answer::forbidden_page() } else { answer::refusal(endpoint, status, &text) }
        }
    }
}

/// What is said of a key that is missing or not good: docs.datadoghq.com/api/latest/logs says 401 for a log without a
/// key, the other intakes say 403 for both.
fn bad_key(endpoint: &Endpoint, verdict: &Verdict) -> No {
    let missing = *verdict == Verdict::Missing;
    match endpoint.voice {
        Voice::Detailed if missing && endpoint.form == Form::LogsJson => {
            No::new(StatusCode::UNAUTHORIZED, "API key is missing or invalid")
        }
        Voice::Detailed => No::new(StatusCode::FORBIDDEN, "API key is missing or invalid"),
        _ if missing => No::new(StatusCode::FORBIDDEN, "API key required"),
        _ => No::new(StatusCode::FORBIDDEN, "Forbidden"),
    }
}

/// Checks the request from the outside in, and counts it if it is good.
fn check(shared: &Shared, submission: &Submission<'_>, sent: &Sent) -> Result<(Form, Option<Value>), No> {
    let Submission { endpoint, headers, .. } = *submission;
    if submission.method != Method::POST {
        return Err(No::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"));
    }
    let content_type = header(headers, CONTENT_TYPE);
    let form = endpoint.form_of(content_type).ok_or_else(|| {
        let text = format!("unsupported media type {:?} for {}", content_type.unwrap_or_default(), endpoint.path);
        No::new(StatusCode::BAD_REQUEST, text)
    })?;
    let encoding = encoding_of(endpoint, headers)?;
    let too_large = |what: &str, limit: usize| {
        let text = format!("Payload too large: at most {limit} bytes {what} are taken");
        No::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    if sent.too_large {
        return Err(too_large("as sent", endpoint.max_sent));
    }
    let at_ms = UnixMillis::now().0;
    let read = with_decompressed(sent, encoding, endpoint.max_decompressed, |body| {
        apply_rules(submission.rules, sent.len, body)?;
        let items =
            decode::items(form, body, at_ms / 1000, shared.records.recording).map_err(|refused| match refused {
                Refused::Bad(text) => No::new(StatusCode::BAD_REQUEST, text),
                Refused::TooMany(text) => No::new(StatusCode::PAYLOAD_TOO_LARGE, text),
            })?;
        // The answer to a v1 event repeats it.
        let event = (form == Form::Event1).then(|| serde_json::from_slice(body).unwrap_or_default());
        Ok((items, body.len(), event))
    });
    let (items, bytes_decompressed, event) = read.map_err(|error| match error {
        Unreadable::TooLarge => too_large("once decompressed", endpoint.max_decompressed),
        Unreadable::Corrupt(error) => {
            let coding = encoding.unwrap_or("identity");
            No::new(StatusCode::BAD_REQUEST, format!("Unable to decompress payload as {coding}: {error}"))
        }
    })??;
    shared.records.accept(Arrival {
        key: submission.name,
        kind: submission.kind,
        encoding: encoding.unwrap_or("identity"),
        items: items.count,
        items_cut: items.cut,
        bytes_sent: sent.len,
        bytes_decompressed,
        at_ms: at_ms.cast_unsigned(),
        texts: items.texts,
    });
    Ok((form, event))
}

/// The content coding, if there is one and the endpoint takes it.
fn encoding_of(endpoint: &'static Endpoint, headers: &HeaderMap) -> Result<Option<&'static str>, No> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let given = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().unwrap_or("?").trim().to_ascii_lowercase(),
        (Some(_), Some(_)) => "more than one".into(),
    };
    if given.is_empty() || given == "identity" {
        return Ok(None);
    }
    endpoint.encodings.iter().copied().find(|known| *known == given).map(Some).ok_or_else(|| {
        let is_logs = endpoint.form == Form::LogsJson;
        let status = if is_logs { StatusCode::UNSUPPORTED_MEDIA_TYPE } else { StatusCode::BAD_REQUEST };
        No::new(status, format!("unsupported Content-Encoding {given:?} for {}", endpoint.path))
    })
}

/// The rules that look at the body.
fn apply_rules(rules: &[Arc<Active>], sent: usize, body: &[u8]) -> Result<(), No> {
    for rule in rules {
        let no = match &rule.rule.effect {
            Effect::RejectItems { contains } => memchr::memmem::find(body, contains.as_bytes())
                .map(|_| No::new(StatusCode::BAD_REQUEST, "Payload is not in the expected format: invalid item")),
            Effect::MaxBody { sent: max_sent, decompressed } => {
                let over = max_sent.is_some_and(|max| sent > max) || decompressed.is_some_and(|max| body.len() > max);
                over.then(|| No::new(StatusCode::PAYLOAD_TOO_LARGE, "Payload too large"))
            }
            _ => None,
        };
        if let Some(no) = no {
            rule.hit();
            return Err(no);
        }
    }
    Ok(())
}
