//! Logs, against a model on `serde_json` values.

use super::json::any_json;
use super::*;
use proptest::prelude::*;
use serde_json::{Map, json};

const DATES: [&str; 8] =
    ["@timestamp", "timestamp", "_timestamp", "Timestamp", "eventTime", "date", "published_date", "syslog.timestamp"];

/// A log with some of the attributes that mean something.
fn any_log() -> impl Strategy<Value = Map<String, Value>> {
    let tag = prop_oneof![Just("tenant:acme"), Just("tenant:globex"), Just("env:prod"), Just("tenants:x"), Just("é")];
    let joined = prop::collection::vec(tag.clone(), 0..4).prop_map(|tags| json!(tags.join(",")));
    let listed = prop::collection::vec(tag, 0..4).prop_map(|tags| json!(tags));
    let tags = prop_oneof![4 => joined, 2 => listed, 1 => Just(Value::Null), 1 => any_json()];
    let date = prop_oneof![Just(json!(1_699_999_999_000i64)), Just(json!("2023-11-14T22:13:19.5Z")), any_json()];
    let message = prop_oneof![
        any::<String>().prop_map(Value::from),
        Just(json!(r#"{"eventTime":1600000000000,"a":"b"}"#)),
        Just(json!(r#"{"a":"timestamp"}"#)),
        Just(json!("{not json")),
        Just(json!({"timestamp": 1600000000000_i64, "a": "b"})),
        Just(json!({"timestamp": null})),
    ];
    let names = prop::sample::select(
        [&DATES[..], &["ddsource", "service", "hostname", "host", "syslog", "tags", "other", "a\"b"]].concat(),
    );
    let others = prop::collection::btree_map(names, prop_oneof![any_json(), Just(json!({"timestamp": 1}))], 0..3);
    let field = |strategy: BoxedStrategy<Value>| prop::option::of(strategy);
    (field(tags.boxed()), field(date.boxed()), field(message.boxed()), others, prop::sample::select(DATES.to_vec()))
        .prop_map(|(tags, date, message, others, date_name)| {
            let mut log: Map<String, Value> = others.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
            log.extend(tags.map(|tags| ("ddtags".to_owned(), tags)));
            log.extend(message.map(|message| ("message".to_owned(), message)));
            log.extend(date.map(|date| (date_name.to_owned(), date)));
            log
        })
}

fn is_date(value: &Value) -> bool {
    value.is_number() || value.as_str().is_some_and(|text| !text.trim().is_empty())
}

fn has_date(log: &Map<String, Value>) -> bool {
    let nested = log.get("syslog").and_then(|syslog| syslog.get("timestamp"));
    DATES.iter().filter_map(|name| log.get(*name)).chain(nested).any(is_date)
}

/// Takes the tenants out of a value of tags.
fn model_tags(tags: &mut Value, tenants: &mut Vec<String>) {
    let mut stays = |tag: &str| match tag.trim().strip_prefix("tenant:") {
        Some(id) => {
            tenants.push(id.to_owned());
            false
        }
        None => true,
    };
    match tags {
        Value::String(text) => *text = text.split(',').filter(|tag| stays(tag)).collect::<Vec<_>>().join(","),
        Value::Array(list) => list.retain(|tag| tag.as_str().is_none_or(&mut stays)),
        _ => {}
    }
}

/// What a log should become, and its tenants.
fn model(mut log: Map<String, Value>, tagged: bool, defaults: &LogDefaults) -> (Value, Vec<String>) {
    let mut tenants = Vec::new();
    if tagged {
        for name in ["ddtags", "tags"] {
            if let Some(tags) = log.get_mut(name) {
                model_tags(tags, &mut tenants);
            }
        }
    }
    let message_has_date = || {
        let inner: Map<String, Value> = match log.get("message")? {
            Value::Object(inner) => inner.clone(),
            message => serde_json::from_str(message.as_str()?).ok()?,
        };
        Some(has_date(&inner))
    };
    if !has_date(&log) && message_has_date() != Some(true) {
        log.insert("timestamp".into(), json!(NOW.0));
    }
    let syslog = |name: &str| log.get("syslog").is_some_and(|syslog| syslog.get(name).is_some());
    let has_host = log.contains_key("hostname") || log.contains_key("host") || syslog("hostname");
    let has_service = log.contains_key("service") || syslog("appname");
    for (name, has, value) in [
        ("ddsource", log.contains_key("ddsource"), &defaults.source),
        ("hostname", has_host, &defaults.hostname),
        ("service", has_service, &defaults.service),
    ] {
        if let (false, Some(value)) = (has, value) {
            log.insert(name.into(), json!(value));
        }
    }
    if let Some(extra) = &defaults.tags {
        match log.entry("ddtags").or_insert(Value::Null) {
            Value::String(text) if !text.is_empty() => *text = format!("{text},{extra}"),
            Value::Array(list) => list.extend(extra.split(',').map(Value::from)),
            tags @ (Value::Null | Value::String(_)) => *tags = json!(extra),
            _ => {}
        }
    }
    (Value::Object(log), tenants)
}

fn some_defaults() -> LogDefaults {
    LogDefaults {
        source: Some("ng\"inx".into()),
        tags: Some("team:é,\"q\"".into()),
        hostname: Some("h1".into()),
        service: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn logs_are_split_as_the_model_says(
        logs in prop::collection::vec(any_log(), 1..6), pretty: bool, tagged: bool, with_defaults: bool,
    ) {
        let defaults = if with_defaults { some_defaults() } else { LogDefaults::default() };
        let context = Context { now: NOW, tenant_tag: tagged.then_some("tenant"), log_defaults: &defaults };
        let body = if pretty { serde_json::to_vec_pretty(&logs) } else { serde_json::to_vec(&logs) }.unwrap();
        let mut expected: Vec<(Option<String>, Vec<Value>)> = Vec::new();
        let mut ambiguous = None;
        for (index, log) in logs.into_iter().enumerate() {
            let (log, mut tenants) = model(log, tagged, &defaults);
            tenants.dedup();
            if tenants.len() > 1 {
                ambiguous = ambiguous.or(Some(index));
            }
            let tenant = tenants.pop();
            match expected.iter_mut().find(|(other, _)| *other == tenant) {
                Some((_, logs)) => logs.push(log),
                None => expected.push((tenant, vec![log])),
            }
        }
        let result = split(Form::LogsJson, &Bytes::from(body), &context);
        if let Some(index) = ambiguous {
            prop_assert!(matches!(&result, Err(Refusal::Invalid { item, .. }) if *item == index), "{result:?}");
        } else {
            let parts = result.unwrap();
            check_parts(&parts, NOW);
            let found: Vec<_> = parts.iter().map(|part| (part.tenant.clone(), items(part))).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn lines_of_text_become_logs(text in "([ -~é\u{1}\t]{0,60}(\r?\n)?){0,6}", with_defaults: bool) {
        let defaults = if with_defaults { some_defaults() } else { LogDefaults::default() };
        let context = Context { log_defaults: &defaults, ..PLAIN };
        if text.trim().strip_prefix('{').is_none_or(|rest| rest.trim() != "}") && !text.trim().is_empty() {
            let parts = split_text(Form::LogsText, &text, &context).unwrap();
            check_parts(&parts, NOW);
            let logs: Vec<Value> = parts.iter().flat_map(items).collect();
            let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).filter(|line| !line.is_empty());
            let expected: Vec<Value> = lines.map(|line| {
                let log = Map::from_iter([("message".to_owned(), json!(line))]);
                model(log, false, &defaults).0
            }).collect();
            prop_assert_eq!(logs, expected);
        }
    }
}

#[test]
fn unchanged_logs_are_not_copied() {
    let body = Bytes::from_static(br#" [ {"timestamp":1} , {"date":"x","message":"y"} ] "#);
    let parts = split(Form::LogsJson, &body, &TAGGED).unwrap();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].bytes, &br#"{"timestamp":1} , {"date":"x","message":"y"}"#[..]);
    assert_eq!(parts[0].bytes.as_ptr(), body[3..].as_ptr());
    assert_eq!((parts[0].items, parts[0].oldest), (2, UnixMillis(1)));
}

#[test]
fn a_single_object_is_one_log() {
    let parts = split_text(Form::LogsJson, "\n{\"message\":\"m\"}\n", &PLAIN).unwrap();
    assert_eq!(parts[0].bytes, &br#"{"timestamp":1700000000000,"message":"m"}"#[..]);
    assert_eq!((parts[0].items, parts[0].oldest, parts[0].tenant.clone()), (1, NOW, None));
}

#[test]
fn datadogs_choice_of_date_counts() {
    for (log, oldest) in [
        (r#"{"date":5,"@timestamp":7}"#, 7),
        (r#"{"@timestamp":7,"date":5}"#, 7),
        (r#"{"syslog":{"timestamp":9}}"#, 9),
        (r#"{"\u0064ate":"1970-01-01T00:00:00.011Z"}"#, 11),
        (r#"{"timestamp":1.5e3}"#, 1500),
        (r#"{"message":"{\"timestamp\":13}"}"#, 13),
        (r#"{"message":{"a":1,"timestamp":13}}"#, 13),
        (r#"{"timestamp":null,"date":15}"#, 15),
        (r#"{"date":"yesterday"}"#, NOW.0),
    ] {
        let parts = split_text(Form::LogsJson, log, &PLAIN).unwrap();
        assert_eq!((parts[0].oldest.0, &parts[0].bytes[..]), (oldest, log.as_bytes()), "{log}");
    }
}

#[test]
fn an_invalid_timestamp_becomes_acceptance() {
    for blank in ["null", r#""""#, r#"" ""#, "true", "{}", "[]"] {
        let parts = split_text(Form::LogsJson, &format!(r#"{{"a":1,"timestamp":{blank}}}"#), &PLAIN).unwrap();
        assert_eq!(parts[0].bytes, &br#"{"a":1,"timestamp":1700000000000}"#[..], "{blank}");
        let parts = split_text(Form::LogsJson, &format!(r#"{{"date":{blank}}}"#), &PLAIN).unwrap();
        assert_eq!(parts[0].bytes, format!(r#"{{"timestamp":1700000000000,"date":{blank}}}"#), "{blank}");
    }
}

#[test]
fn what_is_no_object_is_named() {
    assert_eq!(refusal(Form::LogsJson, r#"[{},"text"]"#, &PLAIN), (1, "a log must be a JSON object".into()));
    assert_eq!(refusal(Form::LogsJson, " 5", &PLAIN), (1, "expected an object or an array of objects".into()));
}

#[test]
fn a_tenant_tag_is_removed_with_one_comma() {
    for (tags, left) in [
        (r#""tenant:a""#, r#""""#),
        (r#""tenant:a,b""#, r#""b""#),
        (r#""b,tenant:a""#, r#""b""#),
        (r#""b, tenant:a ,c""#, r#""b,c""#),
        (r#""tenant:a,b,tenant:a""#, r#""b""#),
        (r#""tenant:a,tenant:a,b""#, r#""b""#),
        (r#""\u0074enant:a\u002cb\"""#, r#""b\"""#),
        (r#"["tenant:a"]"#, "[]"),
        (r#"[ "x" , "tenant:a" ]"#, r#"[ "x" ]"#),
        (r#"[ "tenant:a" , "x" ]"#, r#"[ "x" ]"#),
        (r#"["x","\u0074enant:a",1]"#, r#"["x",1]"#),
    ] {
        let log = |tags: &str| format!(r#"{{"date":1,"ddtags":{tags},"tags":["y"]}}"#);
        let parts = split_text(Form::LogsJson, &log(tags), &TAGGED).unwrap();
        assert_eq!(parts[0].tenant.as_deref(), Some("a"), "{tags}");
        assert_eq!(parts[0].bytes, log(left), "{tags}");
    }
}

#[test]
fn a_tag_naming_two_tenants_is_refused() {
    for tags in ["tenant:", "tenant:a/b", "tenant:ä", "tenant:a b"] {
        let (item, reason) = refusal(Form::LogsJson, &format!(r#"[{{}},{{"ddtags":"{tags}"}}]"#), &TAGGED);
        assert!(item == 1 && reason.contains("is not a tenant id"), "{reason}");
    }
    let body = r#"{"ddtags":"tenant:a","tags":["tenant:b"]}"#;
    assert_eq!(refusal(Form::LogsJson, body, &TAGGED), (0, "has two different tags `tenant`: a and b".into()));
}

#[test]
fn query_tags_may_name_the_tenant() {
    let defaults = LogDefaults { tags: Some("tenant:a,env:prod".into()), ..LogDefaults::default() };
    let context = Context { log_defaults: &defaults, ..TAGGED };
    for (form, body) in [(Form::LogsText, "m\n"), (Form::LogsJson, r#"{"message":"m"}"#)] {
        let parts = split_text(form, body, &context).unwrap();
        assert_eq!(parts[0].tenant.as_deref(), Some("a"));
        assert_eq!(items(&parts[0]), [json!({"message": "m", "timestamp": NOW.0, "ddtags": "env:prod"})]);
    }
}

#[test]
fn parts_end_where_a_request_is_full() {
    for log in [r#"{"date":1}"#, r#"{"message":"undated"}"#] {
        let body = format!("[{}]", vec![log; 2_500].join(","));
        let parts = split_text(Form::LogsJson, &body, &PLAIN).unwrap();
        assert_eq!(parts.iter().map(|part| part.items).collect::<Vec<_>>(), [1_000, 1_000, 500]);
        check_parts(&parts, NOW);
    }
    for (log, first) in [
        (format!(r#"{{"date":"{}"}}"#, "x".repeat(1_249_988)), 3),
        (format!(r#"{{"a":"{}"}}"#, "x".repeat(1_200_000)), 4),
    ] {
        let body = format!("[{}]", [&log[..]; 6].join(","));
        let parts = split_text(Form::LogsJson, &body, &PLAIN).unwrap();
        assert_eq!(parts.iter().map(|part| part.items).collect::<Vec<_>>(), [first, 6 - first]);
        check_parts(&parts, NOW);
    }
}

#[test]
fn a_log_larger_than_a_request_is_named() {
    for name in ["date", "text"] {
        let log = |length: usize| format!(r#"{{"{name}":"{}"}}"#, "x".repeat(length));
        let body = format!("[{{}},{}]", log(5_000_000));
        let refused = split_text(Form::LogsJson, &body, &PLAIN);
        assert!(matches!(refused, Err(Refusal::TooLarge { item: 1, kind: Kind::Logs, limit: 5_000_000, .. })));
    }
    // Exactly full is not too full.
    let body = format!(r#"[{{"date":"{}"}}]"#, "x".repeat(5_000_000 - 13));
    assert_eq!(body.len(), 5_000_000);
    check_parts(&split_text(Form::LogsJson, &body, &PLAIN).unwrap(), NOW);
}

#[test]
fn many_tenants_in_turn_keep_their_order() {
    let logs: Vec<String> = (0..3_000).map(|n| format!(r#"{{"date":{n},"ddtags":"tenant:t{}"}}"#, n % 7)).collect();
    let parts = split_text(Form::LogsJson, &format!("[{}]", logs.join(",")), &TAGGED).unwrap();
    check_parts(&parts, NOW);
    assert_eq!(parts.len(), 7);
    for (index, part) in parts.iter().enumerate() {
        assert_eq!(part.tenant, Some(format!("t{index}")));
        let dates: Vec<i64> = items(part).iter().map(|log| log["date"].as_i64().unwrap()).collect();
        assert_eq!(dates, (0..3_000).filter(|n| n % 7 == index as i64).collect::<Vec<_>>());
    }
}
