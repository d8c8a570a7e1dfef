use super::*;
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

/// Lines with what the Agent makes of them, and where it is for us to differ, with that.
const VECTORS: &str = include_str!("../../../tests/vectors/dogstatsd.jsonl");

fn vectors(group: &str) -> impl Iterator<Item = Json> {
    let all = VECTORS.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    all.filter(move |vector| vector["group"] == group)
}

fn input(vector: &Json) -> Vec<u8> {
    if let Some(text) = vector["input"].as_str() {
        return text.as_bytes().to_vec();
    }
    let hex = vector["input_hex"].as_str().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// A line as the vectors write it.
fn described(line: &[u8]) -> Json {
    match parse(line) {
        Ok(Message::Metric(metric)) => json!({ "metric": describe_metric(&metric) }),
        Ok(Message::Event(event)) => json!({ "event": describe_event(&event) }),
        Ok(Message::Check(check)) => json!({ "check": describe_check(&check) }),
        Err(reason) => json!({ "error": reason.name() }),
    }
}

fn put(object: &mut Json, key: &str, value: Option<impl Into<Json>>) {
    if let Some(value) = value {
        object[key] = value.into();
    }
}

fn put_tags(object: &mut Json, raw: &[u8], host: Option<&[u8]>) {
    let tags = Tags::parse(raw, None).unwrap();
    object["tags"] = json!(tags.tags);
    put(
        object,
        "host",
        match host.map_or(tags.host, Host::of) {
            Host::Unsaid => None,
            Host::None => Some(String::new()),
            Host::Named(host) => Some(host.into_owned()),
        },
    );
}

fn describe_metric(metric: &Metric<'_>) -> Json {
    let symbol = match metric.metric_type {
        MetricType::Counter => "c",
        MetricType::Gauge => "g",
        MetricType::Histogram => "h",
        MetricType::Timer => "ms",
        MetricType::Distribution => "d",
        MetricType::Set => "s",
    };
    let mut object = json!({ "name": text(metric.name), "type": symbol, "rate": metric.rate });
    match metric.value {
        Value::Text(member) => object["set"] = json!(text(member)),
        value => {
            let shown = |value: f64| if value.is_nan() { json!("NaN") } else { json!(value) };
            object["values"] = value.numbers().map(shown).collect();
        }
    }
    put(&mut object, "ts", metric.timestamp);
    put_tags(&mut object, metric.tags, None);
    object
}

fn describe_event(event: &Event<'_>) -> Json {
    let unescaped = |bytes| text(bytes).replace("\\n", "\n");
    let mut object = json!({
        "title": unescaped(event.title), "text": unescaped(event.text),
        "priority": event.priority, "alert_type": event.alert_type,
    });
    put(&mut object, "ts", event.timestamp);
    put(&mut object, "aggregation_key", event.aggregation_key.map(text));
    put(&mut object, "source_type", event.source_type.map(text));
    put_tags(&mut object, event.tags, event.host);
    object
}

fn describe_check(check: &Check<'_>) -> Json {
    let mut object = json!({ "name": text(check.name), "status": check.status });
    put(&mut object, "ts", check.timestamp);
    put(&mut object, "message", check.message.map(text));
    put_tags(&mut object, check.tags, check.host);
    object
}

#[test]
fn lines_are_read_as_the_agent_reads_them() {
    let mut seen = 0;
    for vector in vectors("parse") {
        let packet = input(&vector);
        let mut expected = vector["expect"].clone();
        if vector["id"] == "P22" {
            // Suggested instead: empty tags are left out.
            expected[0]["metric"]["tags"] = json!(["a", "b"]);
        }
        for item in expected.as_array_mut().unwrap() {
            if let Some(metric) = item.get_mut("metric").and_then(Json::as_object_mut) {
                // Accepted and forgotten: they feed the Agent's container tagger.
                metric.retain(|field, _| !["local", "external", "card"].contains(&field.as_str()));
            }
        }
        let got: Json = lines(&packet).map(described).collect();
        assert_eq!(got, expected, "{}", vector["id"]);
        seen += 1;
    }
    assert_eq!(seen, 83);
}

#[test]
fn streams_are_cut_as_the_agent_cuts_them() {
    for vector in vectors("stream") {
        let stream = input(&vector);
        // In pieces of every size: the cuts of a stream mean nothing.
        for piece in 1..=stream.len() {
            let mut frames = Frames::new(8192);
            let (mut messages, mut connection) = (Vec::new(), "waiting");
            'stream: for bytes in stream.chunks(piece) {
                frames.room()[..bytes.len()].copy_from_slice(bytes);
                frames.filled(bytes.len());
                loop {
                    match frames.packet() {
                        Ok(Some(packet)) => messages.extend(lines(packet).map(|line| text(line).into_owned())),
                        Ok(None) => break,
                        Err(_) => {
                            connection = "closed";
                            break 'stream;
                        }
                    }
                }
            }
            assert_eq!(json!(messages), vector["expect"]["messages"], "{}", vector["id"]);
            if let Some(expected) = vector["expect"]["connection"].as_str() {
                assert_eq!(connection, expected, "{}", vector["id"]);
            }
        }
    }
}

#[test]
fn reasons_have_the_names_and_order_they_are_counted_by() {
    let mut names = Map::new();
    for (index, reason) in Reason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, index, "{reason:?}");
        assert!(names.insert(reason.name().to_owned(), Json::Null).is_none(), "{reason:?}");
    }
}

#[test]
fn tags_that_name_the_tenant_are_taken_out() {
    let parse = |raw: &'static str| Tags::parse(raw.as_bytes(), Some("tenant"));
    let tags = parse("a,tenant:acme,b,tenant:acme").unwrap();
    assert_eq!((tags.tenant, tags.tags), (Some("acme"), vec!["a".into(), "b".into()]));
    assert_eq!(parse("tenant:acme,tenant:globex"), Err(Reason::TenantConflict));
    for raw in ["tenant:", "tenant:a/b", "tenant:.."] {
        assert_eq!(parse(raw), Err(Reason::UnknownTenant), "{raw}");
    }
    assert_eq!(parse("tenants:acme,tenant").unwrap().tenant, None);
    assert_eq!(Tags::parse(b"tenant:acme", None).unwrap().tags, ["tenant:acme"]);
}

/// Lines that are nearly right.
fn nearly_lines() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("a"),
        Just("page.views"),
        Just(":"),
        Just("|"),
        Just("1"),
        Just("-2.5e3"),
        Just("c"),
        Just("ms"),
        Just("d"),
        Just("s"),
        Just("#"),
        Just("@0.5"),
        Just("T17"),
        Just(","),
        Just("tenant:x"),
        Just("_e{"),
        Just("1,1}:"),
        Just("_sc|"),
        Just("\n"),
        Just("\r"),
        Just("m:"),
        Just("\u{e9}"),
    ];
    let piece = prop_oneof![20 => word.prop_map(|word| word.as_bytes().to_vec()), 1 => prop::collection::vec(any::<u8>(), 1..4)];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_bad_line_never_takes_its_neighbours(bad in nearly_lines()) {
        let packet = [b"first:1|c\n".as_slice(), &bad, b"\nlast:2|c"].concat();
        let names: Vec<_> = lines(&packet).filter_map(|line| match parse(line) {
            Ok(Message::Metric(metric)) => Some(text(metric.name).into_owned()),
            _ => None,
        }).collect();
        prop_assert_eq!(names.first().map(String::as_str), Some("first"));
        prop_assert_eq!(names.last().map(String::as_str), Some("last"));
    }

    #[test]
    fn values_that_were_read_are_values(line in nearly_lines()) {
        for line in lines(&line) {
            if let Ok(Message::Metric(metric)) = parse(line) {
                let numbers = metric.value.numbers().count();
                prop_assert_eq!(numbers == 0, matches!(metric.value, Value::Text(_)));
                prop_assert!(metric.rate > 0.0 && metric.rate <= 1.0);
            }
        }
    }

    #[test]
    fn mended_text_has_one_mark_for_each_bad_run(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
        let mended = text(&bytes);
        let is_doubled = mended.contains("\u{fffd}\u{fffd}");
        prop_assert!(!is_doubled || bytes.contains(&0xef), "one of the marks may have been sent");
        let lossy = String::from_utf8_lossy(&bytes).into_owned();
        let squeezed = lossy.split('\u{fffd}').filter(|part| !part.is_empty()).collect::<Vec<_>>();
        prop_assert_eq!(mended.split('\u{fffd}').filter(|part| !part.is_empty()).collect::<Vec<_>>(), squeezed);
    }
}
