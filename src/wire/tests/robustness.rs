//! No input makes any form panic, and whatever is taken makes proper parts.

use super::json::{changes, mutate};
use super::*;
use proptest::prelude::*;

/// A body that each form takes, with the tenant's tag in it.
const BODIES: &[(Form, &[u8])] = &[
    (
        Form::SeriesV2Json,
        br#"{"series":[{"metric":"a.b","type":1,"points":[{"timestamp":1700000000,"value":12.5}],"tags":["a:b","tenant:acme"]}, {"metric":"c","points":[{"value":1,"timestamp":1}]}]}"#,
    ),
    (Form::SeriesV1, br#"{"series":[{"metric":"a.b","points":[[1700000000,12.5]],"tags":["tenant:acme"]}]}"#),
    (Form::Distributions, br#"{"series":[{"metric":"a","points":[[1700000000,[1,2.5]]],"tags":["tenant:acme","b"]}]}"#),
    (
        Form::LogsJson,
        br#"[{"message":"{\"date\":5}","ddtags":"a:b,tenant:acme"}, {"message":"x","syslog":{"timestamp":1}},{"date":"2023-11-14T22:13:20Z"}]"#,
    ),
    (Form::LogsText, b"first line\r\n\nsecond \"line\"\n{\"timestamp\":5}"),
    (Form::EventV1, br#"{"title":"t","text":"x","date_happened":1700000000,"tags":["tenant:acme","b"]}"#),
    (
        Form::EventV2,
        br#"{"data":{"attributes":{"title":"t","category":"alert","timestamp":"2023-11-14T22:13:20Z","tags":["b","tenant:acme"],"attributes":{"status":"ok"}}}}"#,
    ),
    (
        Form::AgentIntake,
        br#"{"events":{"api":[{"msg_title":"t","msg_text":"x","timestamp":1699999999,"tags":["tenant:acme"]}],"b":[{"msg_title":"u"}]}}"#,
    ),
    (Form::CheckRun, br#"[{"check":"a","host_name":"h","status":0,"tags":["b","tenant:acme"],"timestamp":1}]"#),
    (
        Form::SeriesV2Proto,
        b"\x0a\x2b\x0a\x0a\x0a\x04host\x12\x02h1\x12\x01a\x1a\x0btenant:acme\x22\x0b\x09\0\0\0\0\0\0\x29\x40\x10\x01\x28\x01",
    ),
    (Form::Sketches, b"\x0a\x16\x0a\x01a\x22\x0btenant:acme\x3a\x04\x08\x05\x10\x01\x12\x00"),
];

fn take(form: Form, body: Vec<u8>, context: &Context<'_>) -> bool {
    let body = Bytes::from(body);
    let parts = split(form, &body, context);
    check_parts(parts.as_deref().unwrap_or_default(), context.now);
    for kind in Kind::ALL {
        for range in boundaries(kind, &body) {
            item_time(kind, &body[range]);
        }
    }
    parts.is_ok()
}

fn contexts(defaults: &LogDefaults) -> [Context<'_>; 3] {
    [PLAIN, TAGGED, Context { log_defaults: defaults, ..TAGGED }]
}

fn defaults() -> LogDefaults {
    LogDefaults {
        source: Some("s".into()),
        tags: Some("q,r".into()),
        hostname: Some("h".into()),
        service: Some("v".into()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn mutated_bodies_make_proper_parts_or_are_refused(
        (form, body) in prop::sample::select(BODIES.to_vec()), changes in changes(), context in 0usize..3,
    ) {
        let defaults = defaults();
        take(form, mutate(body.to_vec(), &changes), &contexts(&defaults)[context]);
    }

    #[test]
    fn arbitrary_bytes_make_proper_parts_or_are_refused(body: Vec<u8>, form in prop::sample::select(FORMS.to_vec())) {
        take(form, body, &TAGGED);
    }
}

#[test]
fn the_bodies_that_are_mutated_are_taken() {
    let defaults = defaults();
    for (form, body) in BODIES {
        for context in contexts(&defaults) {
            assert!(
                take(*form, body.to_vec(), &context),
                "{form:?} {:?}",
                split(*form, &Bytes::from_static(body), &context)
            );
        }
    }
}
