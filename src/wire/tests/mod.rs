//! What holds for all forms, and what the tests of the single forms share.

mod bytes;
mod events;
mod json;
mod logs;
mod protobuf;
mod robustness;
mod series;

use super::*;
use serde_json::Value;

pub(super) const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
pub(super) const NO_DEFAULTS: &LogDefaults = &LogDefaults { source: None, tags: None, hostname: None, service: None };
/// Nothing is looked for and nothing added.
pub(super) const PLAIN: Context<'static> = Context { now: NOW, tenant_tag: None, log_defaults: NO_DEFAULTS };
/// Tags name the tenant.
pub(super) const TAGGED: Context<'static> = Context { now: NOW, tenant_tag: Some("tenant"), log_defaults: NO_DEFAULTS };

pub(super) const FORMS: [Form; 11] = [
    Form::SeriesV2Json,
    Form::SeriesV2Proto,
    Form::SeriesV1,
    Form::Distributions,
    Form::Sketches,
    Form::LogsJson,
    Form::LogsText,
    Form::EventV1,
    Form::EventV2,
    Form::AgentIntake,
    Form::CheckRun,
];

/// Splits a body of which nothing is set aside; else the first fault.
pub(super) fn split(form: Form, body: &Bytes, context: &Context<'_>) -> Result<Vec<Part>, Refusal> {
    let split = super::split(form, body, context)?;
    match split.invalid.first() {
        None => Ok(split.parts),
        Some(invalid) => Err(invalid.fault.clone()),
    }
}

pub(super) fn split_text(form: Form, body: &str, context: &Context<'_>) -> Result<Vec<Part>, Refusal> {
    split(form, &Bytes::copy_from_slice(body.as_bytes()), context)
}

/// The request body that a part makes.
pub(super) fn join(part: &Part) -> Vec<u8> {
    [part.kind.prefix(), &part.bytes, part.kind.suffix()].concat()
}

/// The items of a JSON part as values, by way of `serde_json` and of the part's own boundaries, which must agree.
pub(super) fn items(part: &Part) -> Vec<Value> {
    let all: Vec<Value> =
        serde_json::from_slice(&[b"[", &part.bytes[..], b"]"].concat()).expect("a run of JSON values");
    let ranges = boundaries(part.kind, &part.bytes);
    let cut: Vec<Value> = ranges.into_iter().map(|range| serde_json::from_slice(&part.bytes[range]).unwrap()).collect();
    assert_eq!(all, cut);
    assert_eq!(all.len(), part.items as usize);
    all
}

/// The form that bodies of a kind have.
fn form_of(kind: Kind) -> Form {
    match kind {
        Kind::SeriesV2Json => Form::SeriesV2Json,
        Kind::SeriesV2Proto => Form::SeriesV2Proto,
        Kind::SeriesV1 => Form::SeriesV1,
        Kind::Distributions => Form::Distributions,
        Kind::Sketches => Form::Sketches,
        Kind::Logs => Form::LogsJson,
        Kind::EventV1 => Form::EventV1,
        Kind::EventV2 => Form::EventV2,
        Kind::CheckRun => Form::CheckRun,
    }
}

/// What every part must be, whatever it came from.
pub(super) fn check_parts(parts: &[Part], now: UnixMillis) {
    for part in parts {
        let limits = part.kind.limits();
        let body = join(part);
        assert!(part.items >= 1 && part.items <= limits.items);
        assert!(body.len() <= limits.uncompressed);
        let ranges = boundaries(part.kind, &part.bytes);
        assert_eq!(ranges.len(), part.items as usize);
        let times = ranges.iter().map(|range| item_time(part.kind, &part.bytes[range.clone()]).unwrap_or(now));
        assert_eq!(times.min(), Some(part.oldest));
        // A part is a body that would be taken, without any further change.
        let context = Context { now, ..PLAIN };
        let again = split(form_of(part.kind), &Bytes::from(body), &context).expect("a part can be split again");
        assert_eq!(again.iter().map(|part| part.items).sum::<u32>(), part.items);
        if let [again] = &again[..] {
            assert_eq!(again.bytes, part.bytes);
        }
    }
}

/// The refusal's offset or item, and its reason.
pub(super) fn refusal(form: Form, body: &str, context: &Context<'_>) -> (usize, String) {
    match split_text(form, body, context) {
        Err(Refusal::Malformed { at, reason }) => (at, reason),
        Err(Refusal::Invalid { item, reason }) => (item, reason),
        other => panic!("{body} gave {other:?}"),
    }
}

#[test]
fn probes_give_no_parts_in_any_form() {
    for form in FORMS {
        for body in ["", "{}", "{ }"] {
            assert_eq!(split_text(form, body, &TAGGED), Ok(Vec::new()), "{form:?} {body:?}");
        }
        let is_protobuf = matches!(form, Form::SeriesV2Proto | Form::Sketches);
        for body in ["\n", " { \n } "] {
            let is_probe = split_text(form, body, &TAGGED) == Ok(Vec::new());
            assert_eq!(is_probe, !is_protobuf, "{form:?} {body:?}");
        }
    }
    for form in [Form::SeriesV2Json, Form::SeriesV1, Form::Distributions] {
        assert_eq!(split_text(form, r#"{"series":[]}"#, &PLAIN), Ok(Vec::new()));
    }
    for form in [Form::LogsJson, Form::CheckRun] {
        assert_eq!(split_text(form, " [ ] ", &PLAIN), Ok(Vec::new()));
    }
}

#[test]
fn boundaries_are_found_across_joined_runs() {
    let run = b"{\"a\":[1,2]} ,\n\"x,]\" , 3,{}";
    let ranges = boundaries(Kind::Logs, run);
    let texts: Vec<&[u8]> = ranges.into_iter().map(|range| &run[range]).collect();
    assert_eq!(texts, [&b"{\"a\":[1,2]}"[..], b"\"x,]\"", b"3", b"{}"]);
    assert!(boundaries(Kind::EventV1, b"{\"title\":1}, 2").into_iter().eq(std::iter::once(0..14)));
    assert!(boundaries(Kind::Logs, b" ").is_empty());
}
