//! The scanner against `serde_json`.

use crate::wire::Refusal;
use crate::wire::json::{MAX_DEPTH, Number, Scanner};
use crate::wire::strings::{escape, unescape};
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

/// Any JSON value.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[a-zA-Z0-9 .,:]{0,90}", "\\PC{0,20}", any::<String>()];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map("[a-z\"\\\\\n]{0,12}", inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A change to a text at a place, both given as fractions of what is possible.
pub(super) fn mutate(mut text: Vec<u8>, changes: &[(u16, u8, u8)]) -> Vec<u8> {
    const BYTES: &[u8] = b"\"\\{}[]:,0-+.eEntfu \n\x00\x1f\xff\xc3\xa9/";
    for &(place, kind, byte) in changes {
        let at = usize::from(place) % (text.len() + 1);
        let byte = if kind & 8 == 0 { BYTES[usize::from(byte) % BYTES.len()] } else { byte };
        match kind % 4 {
            0 => text.insert(at, byte),
            1 if at < text.len() => text[at] = byte,
            2 if at < text.len() => drop(text.remove(at)),
            _ => text.truncate(at),
        }
    }
    text
}

pub(super) fn changes() -> impl Strategy<Value = Vec<(u16, u8, u8)>> {
    prop::collection::vec(any::<(u16, u8, u8)>(), 0..4)
}

fn scan(text: &[u8]) -> Result<&[u8], (usize, String)> {
    let read = || {
        let mut scanner = Scanner::trusting(text);
        scanner.white();
        let range = scanner.value()?;
        scanner.end()?;
        Ok(&text[range])
    };
    read().map_err(|stop: Box<Refusal>| match *stop {
        Refusal::Malformed { at, reason } => (at, reason),
        other => panic!("{other:?}"),
    })
}

/// The value as `serde_json` finds it.
fn oracle(text: &[u8]) -> Option<&[u8]> {
    let text = std::str::from_utf8(text).ok()?;
    serde_json::from_str::<&RawValue>(text).ok().map(|raw| raw.get().as_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_scanner_takes_what_serde_json_takes(value in any_json(), pretty: bool, changes in changes()) {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        prop_assert_eq!(scan(&text).ok(), Some(&text[..]));
        let text = String::from_utf8_lossy(&mutate(text, &changes)).into_owned();
        prop_assert_eq!(scan(text.as_bytes()).ok(), oracle(text.as_bytes()));
    }

    #[test]
    fn the_scanner_agrees_with_serde_on_texts(text in "[\\[\\]{}:,\"\\\\u0-9eE+.truefalsn \\n\u{1}é-]{0,40}") {
        prop_assert_eq!(scan(text.as_bytes()).ok(), oracle(text.as_bytes()));
    }

    #[test]
    fn the_scanner_agrees_with_serde_on_numbers(text in "-?[0-9]{0,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?") {
        prop_assert_eq!(scan(text.as_bytes()).ok(), oracle(text.as_bytes()));
    }

    #[test]
    fn strings_are_unescaped_as_serde_json_does(text: String, ascii_only: bool) {
        let mut literal = serde_json::to_string(&text).unwrap();
        if ascii_only {
            literal = literal.encode_utf16().map(|unit| match unit {
                0x20..0x7f => String::from(unit as u8 as char),
                unit => format!("\\u{unit:04X}"),
            }).collect();
        }
        let scanned = Scanner::trusting(literal.as_bytes()).text().unwrap().unwrap();
        prop_assert_eq!(String::from_utf8(scanned.meaning().into_owned()).unwrap(), text);
    }

    #[test]
    fn escaping_keeps_the_meaning(text: String) {
        let mut literal = vec![b'"'];
        escape(text.as_bytes(), &mut literal);
        literal.push(b'"');
        prop_assert_eq!(serde_json::from_slice::<String>(&literal).unwrap(), text);
    }

    #[test]
    fn integers_parse_as_in_the_standard_library(number: i64, digits in "-?(0|[1-9][0-9]{15,22})") {
        prop_assert_eq!(Number(number.to_string().as_bytes()).integer(), Some(number));
        prop_assert_eq!(Number(digits.as_bytes()).integer(), digits.parse().ok());
    }

    #[test]
    fn a_number_is_finite_when_its_float_is(text in "-?[1-9][0-9]{0,320}(\\.[0-9]{1,9})?(e[+-]?[0-9]{1,3})?") {
        prop_assert_eq!(Number(text.as_bytes()).is_finite(), text.parse::<f64>().unwrap().is_finite());
    }
}

#[test]
fn a_fault_names_the_byte() {
    for (text, at, reason) in [
        (r#"{"a":tru}"#, 5, "expected a value"),
        (r#"{"a":NaN}"#, 5, "expected a value (NaN and Infinity are not JSON)"),
        (r#"{"a" 1}"#, 5, "expected `:`"),
        (r#"{"a":1 "b":2}"#, 7, "expected `,` or `}`"),
        (r#"{"a":1,}"#, 7, "expected a key in quotes"),
        ("[1 2]", 3, "expected `,` or `]`"),
        ("[1,]", 3, "expected a value"),
        ("[01]", 2, "a number must not start with 0"),
        ("[1.]", 3, "expected a digit"),
        ("[-]", 2, "expected a digit"),
        ("[1e+]", 4, "expected a digit"),
        (r#"["\x"]"#, 2, "no such escape"),
        (r#"["\u12g4"]"#, 2, "expected four hexadecimal digits after `\\u`"),
        ("[\"a\tb\"]", 3, "a control character in a string must be escaped"),
        (r#"["abc"#, 5, "the body ends inside a string"),
        ("[1,", 3, "the body ends where a value is expected"),
        ("[] x", 3, "unexpected text after the JSON value"),
    ] {
        assert_eq!(scan(text.as_bytes()), Err((at, reason.to_owned())), "{text}");
    }
}

#[test]
fn nesting_is_bounded_and_takes_no_stack() {
    let nested = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
    assert!(scan(&nested(MAX_DEPTH as usize)).is_ok());
    let at = MAX_DEPTH as usize;
    assert_eq!(scan(&nested(at + 1)), Err((at, "nested deeper than 128 levels".to_owned())));
    assert!(scan(&b"{\"a\":".repeat(5_000_000)).is_err());
    let mixed = [b"[{\"a\":".repeat(64), b"1".to_vec(), b"}]".repeat(64)].concat();
    assert!(scan(&mixed).is_ok());
}

#[test]
fn half_a_surrogate_becomes_the_replacement_character() {
    let mut plain = Vec::new();
    unescape(br"a\ud83d\ude00b\ud83dc\ude00\ud83d\u0041", &mut plain);
    assert_eq!(String::from_utf8(plain).unwrap(), "a\u{1f600}b\u{fffd}c\u{fffd}\u{fffd}A");
    assert!(scan(br#""\ud800""#).is_ok());
}

#[test]
fn a_special_byte_is_found_anywhere() {
    for length in 0..150 {
        for (byte, what) in [(b'"', None), (b'\n', Some("a control character in a string must be escaped"))] {
            let mut text = vec![b'x'; length + 1];
            text[0] = b'"';
            text.push(byte);
            let scanned = scan(&text);
            match what {
                None => assert_eq!(scanned, Ok(&text[..])),
                Some(what) => assert_eq!(scanned, Err((length + 1, what.to_owned()))),
            }
        }
    }
}
