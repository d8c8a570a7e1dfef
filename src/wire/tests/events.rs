//! Events in their three forms, and check runs.

use super::*;
use serde_json::json;

const V2: &str = r#"{"data":{"type":"event","attributes":{"title":"t","category":"change","tags":["a:b","tenant:acme"],
    "timestamp":"2023-11-14T22:13:19Z","attributes":{"changed_resource":{"name":"n","type":"feature_flag"}}}}}"#;

#[test]
fn a_v1_event_loses_only_its_tenant() {
    let body = r#" {"title":"t","text":"","tags":["tenant:acme","a"],"date_happened":1699999999} "#;
    let parts = split_text(Form::EventV1, body, &TAGGED).unwrap();
    check_parts(&parts, NOW);
    assert_eq!((parts[0].tenant.as_deref(), parts[0].oldest), (Some("acme"), UnixMillis(1_699_999_999_000)));
    assert_eq!(parts[0].bytes, r#"{"title":"t","text":"","tags":["a"],"date_happened":1699999999}"#);
}

#[test]
fn a_v2_event_loses_only_its_tenant() {
    let parts = split_text(Form::EventV2, V2, &TAGGED).unwrap();
    check_parts(&parts, NOW);
    assert_eq!((parts[0].tenant.as_deref(), parts[0].oldest), (Some("acme"), UnixMillis(1_699_999_999_000)));
    assert_eq!(parts[0].bytes, V2.replace(r#","tenant:acme""#, ""));
}

#[test]
fn an_event_without_what_is_required_is_refused() {
    for (body, reason) in [
        (r#"{"text":"x"}"#, "the event has no `title`"),
        (r#"{"title":"x"}"#, "the event has no `text`"),
        (r#"{"title":1,"text":"x"}"#, "`title` must be a string"),
    ] {
        assert_eq!(refusal(Form::EventV1, body, &PLAIN), (0, reason.into()));
    }
    assert_eq!(refusal(Form::EventV1, "[{}]", &PLAIN), (0, "expected an object".into()));
    for (from, to, reason) in [
        ("\"data\"", "\"date\"", "the event has no `data`"),
        (r#""title":"t","#, "", "the event has no `data.attributes.title`"),
        (r#""title":"t""#, r#""title":"""#, "`title` has 0 characters, not 1 to 500"),
        (r#""change""#, r#""deploy""#, "`category` must be `change` or `alert`; other events go to version 1"),
        (
            r#""attributes":{"changed"#,
            r#""attribute":{"changed"#,
            "the event has no an object `data.attributes.attributes`",
        ),
    ] {
        assert_eq!(refusal(Form::EventV2, &V2.replace(from, to), &PLAIN), (0, reason.into()));
    }
}

#[test]
fn agent_events_become_v1_events() {
    let body = r#"{"apiKey":"","internalHostname":"h1","events":{"api":[
        {"msg_title":"t","msg_text":"x","timestamp":1699990000,"priority":"normal","host":"h1","tags":["a:b","tenant:acme"],
         "alert_type":"info","aggregation_key":"","source_type_name":"api","event_type":"e","unknown":1}],
        "my \"source\"":[{"msg_title":"u"},{"msg_title":"v","msg_text":"","source_type_name":"w"}],"none":null}}"#;
    let parts = split_text(Form::AgentIntake, body, &TAGGED).unwrap();
    check_parts(&parts, NOW);
    let mut found: Vec<_> =
        parts.iter().map(|part| (part.kind, part.tenant.as_deref(), part.oldest.0, items(part))).collect();
    // Only the items of one tenant have an order.
    found.sort_by_key(|(_, tenant, ..)| *tenant);
    let first = json!({"title": "t", "text": "x", "date_happened": 1_699_990_000, "priority": "normal", "host": "h1",
        "tags": ["a:b"], "alert_type": "info", "source_type_name": "api", "event_type": "e"});
    let second = json!({"title": "u", "text": "", "source_type_name": "my \"source\""});
    let third = json!({"title": "v", "text": "", "source_type_name": "w"});
    assert_eq!(
        found,
        [
            (Kind::EventV1, None, NOW.0, vec![second]),
            (Kind::EventV1, None, NOW.0, vec![third]),
            (Kind::EventV1, Some("acme"), 1_699_990_000_000, vec![first]),
        ]
    );
}

#[test]
fn metadata_of_an_agent_gives_no_parts() {
    for body in [r#"{"internalHostname":"h1","meta":{"a":[1]}}"#, r#"{"events":{}}"#, r#"{"events":null}"#] {
        assert_eq!(split_text(Form::AgentIntake, body, &PLAIN), Ok(Vec::new()));
    }
    let body = r#"{"events":{"api":[{"msg_title":"t"},{"msg_text":"x"}]}}"#;
    assert_eq!(refusal(Form::AgentIntake, body, &PLAIN), (1, "the event has no `msg_title`".into()));
}

#[test]
fn check_runs_are_an_array_or_one() {
    let check = r#"{"check":"app.up","host_name":"h","status":0,"tags":["tenant:acme"],"timestamp":1699999999}"#;
    for body in [check.to_owned(), format!("[{check},\n{check}]")] {
        let parts = split_text(Form::CheckRun, &body, &TAGGED).unwrap();
        check_parts(&parts, NOW);
        assert_eq!((parts[0].tenant.as_deref(), parts[0].oldest), (Some("acme"), UnixMillis(1_699_999_999_000)));
        assert_eq!(items(&parts[0])[0]["tags"], json!([]));
    }
    // As datadogpy and the Agent send them.
    for check in [check.replace("[\"tenant:acme\"]", "null"), check.replace("\"tags\"", "\"x\"")] {
        assert_eq!(split_text(Form::CheckRun, &check, &TAGGED).unwrap()[0].bytes, check);
    }
}

#[test]
fn an_incomplete_check_run_is_named() {
    let good = r#"{"check":"a","host_name":"h","status":3}"#;
    for (from, to, reason) in [
        ("\"check\"", "\"chek\"", "the check run has no `check`"),
        ("\"a\"", "\"\"", "`check` must be a non-empty string"),
        ("host_name", "host", "the check run has no `host_name`"),
        ("\"h\"", "null", "`host_name` must be a string"),
        ("\"status\"", "\"state\"", "the check run has no `status`"),
        ("3", "4", "`status` must be 0 (OK), 1 (warning), 2 (critical) or 3 (unknown)"),
        ("3", "\"0\"", "`status` must be 0 (OK), 1 (warning), 2 (critical) or 3 (unknown)"),
        (good, "[]", "a check run must be a JSON object"),
    ] {
        let body = format!("[{good},{}]", good.replace(from, to));
        assert_eq!(refusal(Form::CheckRun, &body, &PLAIN), (1, reason.into()));
    }
    assert_eq!(refusal(Form::CheckRun, "1", &PLAIN), (0, "expected an object or an array of objects".into()));
}

#[test]
fn an_event_too_far_in_the_past_is_refused() {
    let event = |seconds: i64| format!(r#"{{"title":"t","text":"x","date_happened":{seconds}}}"#);
    for seconds in [0, 1, NOW.0 / 1000 - 86_401] {
        let refused = refusal(Form::EventV1, &event(seconds), &PLAIN);
        assert_eq!(refused, (0, "Event too far in the past".into()));
    }
    assert!(split_text(Form::EventV1, &event(NOW.0 / 1000 - 18 * 3_600), &PLAIN).is_ok());
    let agent = r#"{"events":{"api":[{"msg_title":"t","timestamp":5}]}}"#;
    assert_eq!(refusal(Form::AgentIntake, agent, &PLAIN), (0, "Event too far in the past".into()));
}
