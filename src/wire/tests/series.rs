//! Series and distribution points in JSON.

use super::json::any_json;
use super::*;
use proptest::prelude::*;
use serde_json::{Map, json};

const JSON_FORMS: [Form; 3] = [Form::SeriesV2Json, Form::SeriesV1, Form::Distributions];

/// A point of that form.
fn point(form: Form, seconds: i64, value: f64) -> Value {
    match form {
        Form::SeriesV2Json => json!({"timestamp": seconds, "value": value}),
        Form::SeriesV1 => json!([seconds, value]),
        _ => json!([seconds, [value, 1]]),
    }
}

/// A series, its tags without the tenant's, and the tenant.
type Tagged = (Map<String, Value>, Vec<String>, Option<&'static str>);

/// A series of that form that is right.
fn any_series(form: Form) -> impl Strategy<Value = Tagged> {
    let tags = prop::collection::vec("[a-z]{1,3}:[a-z\"é]{0,3}", 0..3);
    let tenant = prop::option::of(prop::sample::select(vec!["acme", "globex"]));
    let points = prop::collection::vec((0i64..4_000_000_000, -1e300..1e300), 1..4);
    let others = prop::collection::btree_map("[a-z\"]{8,9}", any_json(), 0..3);
    ("[a-z_.é]{0,20}[a-z]", tags, tenant, points, others, any::<prop::sample::Index>()).prop_map(
        move |(name, tags, tenant, points, others, place)| {
            let mut series: Map<String, Value> = others.into_iter().collect();
            let points: Vec<Value> = points.into_iter().map(|(seconds, value)| point(form, seconds, value)).collect();
            let mut all = tags.clone();
            if let Some(tenant) = tenant {
                all.insert(place.index(tags.len() + 1), format!("tenant:{tenant}"));
            }
            series.extend([
                ("metric".into(), json!(name)),
                ("points".into(), json!(points)),
                ("tags".into(), json!(all)),
            ]);
            (series, tags, tenant)
        },
    )
}

fn any_body() -> impl Strategy<Value = (Form, Vec<Tagged>)> {
    prop::sample::select(JSON_FORMS.to_vec())
        .prop_flat_map(|form| (Just(form), prop::collection::vec(any_series(form), 1..6)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn series_split_by_tenant_lose_only_tags((form, series) in any_body(), pretty: bool, tagged: bool) {
        let all: Vec<_> = series.iter().map(|(series, ..)| series).collect();
        let body = json!({"extra": [1, {"series": 2}], "series": all, "zone": "x"});
        let body = if pretty { serde_json::to_vec_pretty(&body) } else { serde_json::to_vec(&body) }.unwrap();
        let mut expected: Vec<(Option<String>, Vec<Value>)> = Vec::new();
        for (mut series, tags, tenant) in series {
            let tenant = tenant.filter(|_| tagged).map(str::to_owned);
            if tagged {
                series.insert("tags".into(), json!(tags));
            }
            match expected.iter_mut().find(|(other, _)| *other == tenant) {
                Some((_, list)) => list.push(series.into()),
                None => expected.push((tenant, vec![series.into()])),
            }
        }
        let context = if tagged { TAGGED } else { PLAIN };
        let parts = split(form, &Bytes::from(body), &context).unwrap();
        check_parts(&parts, NOW);
        let found: Vec<_> = parts.iter().map(|part| (part.tenant.clone(), items(part))).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn unchanged_series_are_not_copied() {
    let body = Bytes::from_static(
        br#"{"series":[{"metric":"a","points":[{"timestamp":20,"value":1},{"value":-2e9,"timestamp":10.5}],"type":3}]}"#,
    );
    let parts = split(Form::SeriesV2Json, &body, &TAGGED).unwrap();
    assert_eq!(parts[0].bytes.as_ptr(), body[11..].as_ptr());
    assert_eq!((parts[0].oldest, join(&parts[0])), (UnixMillis(10_500), body.to_vec()));
}

#[test]
fn a_refused_series_is_named_with_its_fault() {
    let good = r#"{"metric":"a","points":[{"timestamp":1,"value":1}]}"#;
    let long = "x".repeat(351);
    for (series, reason) in [
        ("5".to_owned(), "a series must be a JSON object"),
        (good.replace("metric", "name"), "the series has no `metric`"),
        (good.replace("\"a\"", "1"), "`metric` must be a string"),
        (good.replace("\"a\"", "\"\""), "the metric's name is empty"),
        (good.replace("\"a\"", "\"1.é\""), "the metric's name contains no letter of A-Z a-z"),
        (good.replace("\"a\"", &format!("\"{long}\"")), "the metric's name is longer than 350 bytes"),
        (good.replace("points", "values"), "the series has no points"),
        (good.replace(r#"{"timestamp":1,"value":1}"#, ""), "the series has no points"),
        (good.replace(r#"[{"timestamp":1,"value":1}]"#, "{}"), "`points` must be an array"),
        (
            good.replace(r#"{"timestamp":1,"value":1}"#, "[1,2]"),
            "point 0 must be an object with `timestamp` and `value`",
        ),
        (good.replace(r#""timestamp":1,"#, ""), "point 0 has no `timestamp`"),
        (good.replace(r#","value":1"#, ""), "point 0 has no `value`"),
        (
            good.replace(r#""timestamp":1"#, r#""timestamp":"1""#),
            "point 0 has a timestamp that is not a number of seconds",
        ),
        (good.replace("}]", r#"},{"timestamp":2,"value":"1"}]"#), "point 1 has a value that is not a number"),
        (good.replace(r#""value":1"#, r#""value":1e999"#), "point 0 has a value that is not finite"),
        (good.replace(r#""value":1"#, r#""value":-Infinity"#), "point 0 has a value that is not finite"),
        (good.replace(r#""value":1"#, r#""value":NaN"#), "point 0 has a value that is not finite"),
        (good.replace("]}", r#"],"type":4}"#), "`type` must be 0 (unspecified), 1 (count), 2 (rate) or 3 (gauge)"),
        (
            good.replace("]}", r#"],"type":"gauge"}"#),
            "`type` must be 0 (unspecified), 1 (count), 2 (rate) or 3 (gauge)",
        ),
    ] {
        let body = format!(r#"{{"series":[{good},{series}]}}"#);
        assert_eq!(refusal(Form::SeriesV2Json, &body, &PLAIN), (1, reason.into()), "{series}");
    }
}

#[test]
fn points_of_another_form_are_refused() {
    for (form, points) in [
        (Form::SeriesV1, "[{}]"),
        (Form::SeriesV1, "[[1]]"),
        (Form::SeriesV1, "[[1,2,3]]"),
        (Form::SeriesV1, "[[1,[2]]]"),
        (Form::SeriesV1, "[[1,null]]"),
        (Form::Distributions, "[[1,2]]"),
        (Form::Distributions, "[[1]]"),
        (Form::Distributions, "[[1,[\"2\"]]]"),
        (Form::Distributions, "[[1,[1e400]]]"),
    ] {
        let body = format!(r#"{{"series":[{{"metric":"a","points":{points}}}]}}"#);
        let refused = split_text(form, &body, &PLAIN);
        assert!(matches!(refused, Err(Refusal::Invalid { item: 0, .. })), "{points} gave {refused:?}");
    }
    let body = r#"{"series":[{"metric":"a","points":[[1.5,2]],"type":"","interval":null}]}"#;
    assert_eq!(split_text(Form::SeriesV1, body, &PLAIN).unwrap()[0].oldest, UnixMillis(1_500));
}

#[test]
fn a_body_without_series_is_malformed() {
    for (body, at, reason) in [
        ("[]", 0, "expected an object"),
        (r#" {"metrics":[]}"#, 1, "the object has no `series`"),
        (r#"{"series":{}}"#, 10, "expected an array"),
        (r#"{"series":[],"series":[]}"#, 14, "`series` is given twice"),
        (r#"{"series":[]}{}"#, 13, "unexpected text after the JSON value"),
    ] {
        assert_eq!(refusal(Form::SeriesV2Json, body, &PLAIN), (at, reason.into()), "{body}");
    }
}

#[test]
fn parts_end_where_a_request_is_full() {
    let item = r#"{"metric":"a","points":[{"timestamp":1,"value":1}]}"#;
    let body = format!(r#"{{"series":[{}]}}"#, vec![item; 10_001].join(","));
    let parts = split_text(Form::SeriesV2Json, &body, &PLAIN).unwrap();
    assert_eq!(parts.iter().map(|part| part.items).collect::<Vec<_>>(), [10_000, 1]);
    check_parts(&parts, NOW);
    let item = format!(r#"{{"metric":"a","points":[{{"timestamp":1,"value":1}}],"unit":"{}"}}"#, "x".repeat(2_000_000));
    let body = format!(r#"{{"series":[{}]}}"#, [&item[..]; 5].join(" , "));
    let parts = split_text(Form::SeriesV2Json, &body, &PLAIN).unwrap();
    assert_eq!(parts.iter().map(|part| part.items).collect::<Vec<_>>(), [2, 2, 1]);
    check_parts(&parts, NOW);
}
