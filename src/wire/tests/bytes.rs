//! Every byte of an item but its tenant's tag arrives as it came, however unusual the JSON: written here as text, with
//! white space, escapes, numbers that no float holds and keys that stand twice, which a tree of values would hide.

use super::*;
use proptest::prelude::*;

/// White space between two tokens.
fn space() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just(String::new()), 1 => "[ \t\r\n]{1,3}"]
}

/// The literal of a string; none of them is a name or tag that means something.
fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z0-9 _.,:{}\\[\\]/-]{0,12}",
        1 => "[à-ÿ€-₿😀-😆\u{7f}\u{2028}]{1,3}",
        1 => prop::sample::select(vec![
            r#"\""#, r"\\", r"\/", r"\b", r"\f", r"\n", r"\r", r"\t", r"\u0000", r"\u00e9", r"\uD83D\uDE00", r"\ud800",
            r"\uDFFF", r"\u002c", r"\\u0022",
        ]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| format!("\"~{}\"", pieces.concat()))
}

/// A literal that is no container.
fn plain() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec!["null", "true", "false", "-0", "0.0", "1e999", "-1E-400", "2e+05", "[]", "{ }"])
            .prop_map(str::to_owned),
        "-?[1-9][0-9]{0,40}(\\.[0-9]{1,40})?",
        string(),
    ]
}

/// Any value.
fn value() -> impl Strategy<Value = String> {
    plain().prop_recursive(6, 30, 5, |inner| {
        let array = prop::collection::vec(padded(inner.clone()), 1..5).prop_map(|list| format!("[{}]", list.join(",")));
        let object = prop::collection::vec((padded(string()), padded(inner)), 1..5).prop_map(|fields| {
            let fields: Vec<_> = fields.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
            format!("{{{}}}", fields.join(","))
        });
        prop_oneof![array, object]
    })
}

fn padded(literal: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (space(), literal, space()).prop_map(|(before, literal, after)| before + &literal + &after)
}

/// An item in three pieces: what stands before the value of its tags, the tags with the place of the tenant's, and what
/// stands after.
#[derive(Debug, Clone)]
struct Item {
    before: String,
    tags: Vec<String>,
    tenant: Option<(&'static str, usize)>,
    after: String,
}

/// The fields that each form needs, and the path of keys to its tags.
fn required(form: Form) -> (&'static str, &'static str, &'static str) {
    match form {
        Form::SeriesV2Json => (r#"{"metric":"a\u002eb","points":[{"value":1e300,"timestamp":1}]"#, "tags", "}"),
        Form::SeriesV1 => (r#"{"points":[[1.5,-2]],"metric":"a""#, "tags", "}"),
        Form::Distributions => (r#"{"points":[[1,[2,0.1]]],"metric":"a""#, "tags", "}"),
        Form::LogsJson => (r#"{"date":1"#, "ddtags", "}"),
        Form::CheckRun => (r#"{"check":"c","host_name":"","status":0"#, "tags", "}"),
        Form::EventV1 => (r#"{"title":"","text":"x""#, "tags", "}"),
        _ => (r#"{"data":{"attributes":{"title":"t","category":"alert","attributes":{}"#, "tags", "}}}"),
    }
}

/// An item of `form`, its tags in an array.
fn item(form: Form) -> impl Strategy<Value = Item> {
    let field = || (padded(string()), padded(value())).prop_map(|(key, value)| format!(",{key}:{value}"));
    let fields = || prop::collection::vec(field(), 0..3).prop_map(|fields| fields.concat());
    let tags = prop::collection::vec(prop_oneof![4 => string(), 1 => value()], 0..4);
    let tenant = prop::option::of((prop::sample::select(vec!["acme", "globex"]), 0usize..4));
    (fields(), space(), tags, tenant, fields()).prop_map(move |(first, space, tags, tenant, last)| {
        let (head, name, tail) = required(form);
        Item {
            before: format!("{head}{first},\"{name}\"{space}:{space}"),
            tags,
            tenant,
            after: format!("{last}{space}{tail}"),
        }
    })
}

impl Item {
    fn text(&self, with_tenant: bool) -> String {
        let mut tags = self.tags.clone();
        if let (Some((tenant, place)), true) = (self.tenant, with_tenant) {
            tags.insert(place.min(tags.len()), format!("\"tenant:{tenant}\""));
        }
        format!("{}[{}]{}", self.before, tags.join(","), self.after)
    }
}

/// A form and the items of one body of it.
fn body() -> impl Strategy<Value = (Form, Vec<Item>, String)> {
    let forms = [
        Form::SeriesV2Json,
        Form::SeriesV1,
        Form::Distributions,
        Form::LogsJson,
        Form::CheckRun,
        Form::EventV1,
        Form::EventV2,
    ];
    prop::sample::select(forms.to_vec()).prop_flat_map(|form| {
        let most = if matches!(form, Form::EventV1 | Form::EventV2) { 1 } else { 5 };
        (Just(form), prop::collection::vec(item(form), 1..=most), space())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn only_the_tenant_tag_changes((form, list, space) in body(), tagged: bool) {
        let texts: Vec<String> = list.iter().map(|item| item.text(true)).collect();
        let texts = texts.join(&format!("{space},{space}"));
        let body = match form {
            Form::SeriesV2Json | Form::SeriesV1 | Form::Distributions => format!("{{{space}\"series\"{space}:[{texts}{space}]}}"),
            Form::EventV1 | Form::EventV2 => format!("{space}{texts}{space}"),
            _ => format!("{space}[{texts}{space}]{space}"),
        };
        let mut expected: Vec<(Option<String>, Vec<String>)> = Vec::new();
        for item in list {
            let tenant = item.tenant.filter(|_| tagged).map(|(tenant, _)| tenant.to_owned());
            let text = item.text(!tagged);
            match expected.iter_mut().find(|(other, _)| *other == tenant) {
                Some((_, texts)) => texts.push(text),
                None => expected.push((tenant, vec![text])),
            }
        }
        let parts = split_text(form, &body, if tagged { &TAGGED } else { &PLAIN }).unwrap();
        check_parts(&parts, NOW);
        let cut = |part: &Part| {
            let texts = boundaries(part.kind, &part.bytes).into_iter();
            texts.map(|range| String::from_utf8(part.bytes[range].to_vec()).unwrap()).collect()
        };
        let found: Vec<(Option<String>, Vec<String>)> = parts.iter().map(|part| (part.tenant.clone(), cut(part))).collect();
        prop_assert_eq!(found, expected);
    }
}
