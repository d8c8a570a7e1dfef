//! Series and sketches in protobuf, built by a small encoder of their own.

use super::*;
use proptest::prelude::*;

/// One series of the reference encoding of `MetricPayload`.
const SERIES: &str = "0a460a0a0a04686f737412026831120c6170702e72657175657374731a08656e763a70726f641a0b736572766963653a776562220f0900000000000029401080e2cfaa062801400a";
/// One sketch of the reference encoding of `SketchPayload`, without the Agent's metadata.
const SKETCH: &str = "0a590a0b6170702e6c6174656e6379120268312208656e763a70726f643a3c0880e2cfaa06100519000000000000f03f210000000000005940296666666666663540310000000000c05a403a08f414ce158216c619420402010101";

fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn bytes_field(number: u8, content: &[u8]) -> Vec<u8> {
    [vec![number << 3 | 2], varint(content.len() as u64), content.to_vec()].concat()
}

fn varint_field(number: u8, value: u64) -> Vec<u8> {
    [vec![number << 3], varint(value)].concat()
}

fn double_field(number: u8, value: f64) -> Vec<u8> {
    [vec![number << 3 | 1], value.to_le_bytes().to_vec()].concat()
}

#[derive(Debug, Clone)]
struct Item {
    name: String,
    tags: Vec<String>,
    tenant: Option<(&'static str, usize)>,
    points: Vec<(u32, f64)>,
    unknown: Vec<u8>,
}

impl Item {
    /// The field of the payload that holds it.
    fn encode(&self, form: Form, with_tenant: bool) -> Vec<u8> {
        let is_sketch = form == Form::Sketches;
        let (name, tag) = if is_sketch { (1, 4) } else { (2, 3) };
        let mut tags = self.tags.clone();
        if let (Some((tenant, place)), true) = (self.tenant, with_tenant) {
            tags.insert(place.min(tags.len()), format!("tenant:{tenant}"));
        }
        let mut message = bytes_field(name, self.name.as_bytes());
        message.extend(tags.iter().flat_map(|text| bytes_field(tag, text.as_bytes())));
        for &(seconds, value) in &self.points {
            let time = |number| varint_field(number, seconds.into());
            let point = if is_sketch {
                let figures: Vec<u8> = (3..7).flat_map(|number| double_field(number, value)).collect();
                bytes_field(7, &[time(1), varint_field(2, 1), figures, bytes_field(7, &[0xf4, 0x14])].concat())
            } else {
                bytes_field(4, &[double_field(1, value), time(2)].concat())
            };
            message.extend(point);
        }
        message.extend(bytes_field(15, &self.unknown));
        bytes_field(1, &message)
    }
}

fn any_item() -> impl Strategy<Value = Item> {
    let tenant = prop::option::of((prop::sample::select(vec!["acme", "globex"]), 0usize..4));
    let points = prop::collection::vec((any::<u32>(), -1e300..1e300), 1..4);
    ("[a-zé]{0,20}a", prop::collection::vec("[a-zé:]{0,9}", 0..4), tenant, points, any::<Vec<u8>>())
        .prop_map(|(name, tags, tenant, points, unknown)| Item { name, tags, tenant, points, unknown })
}

proptest! {
    #[test]
    fn payloads_split_by_tenant_lose_only_tags(
        list in prop::collection::vec((any_item(), any::<bool>()), 1..6), sketches: bool, tagged: bool,
    ) {
        let form = if sketches { Form::Sketches } else { Form::SeriesV2Proto };
        let mut body = Vec::new();
        let mut expected: Vec<(Option<String>, u32, Vec<u8>)> = Vec::new();
        for (item, metadata_first) in &list {
            if *metadata_first {
                body.extend(bytes_field(2, b""));
            }
            body.extend(item.encode(form, true));
            let tenant = item.tenant.filter(|_| tagged).map(|(tenant, _)| tenant.to_owned());
            let bytes = item.encode(form, !tagged);
            match expected.iter_mut().find(|(other, ..)| *other == tenant) {
                Some((_, items, run)) => {
                    *items += 1;
                    run.extend(bytes);
                }
                None => expected.push((tenant, 1, bytes)),
            }
        }
        let parts = split(form, &Bytes::from(body), if tagged { &TAGGED } else { &PLAIN }).unwrap();
        check_parts(&parts, NOW);
        let oldest = list.iter().flat_map(|(item, _)| &item.points).map(|point| i64::from(point.0) * 1000).min();
        prop_assert_eq!(parts.iter().map(|part| part.oldest.0).min(), oldest);
        let found: Vec<_> = parts.into_iter().map(|part| (part.tenant, part.items, part.bytes.to_vec())).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn the_reference_encodings_pass_uncopied() {
    for (form, hex) in [(Form::SeriesV2Proto, SERIES), (Form::Sketches, SKETCH)] {
        let body = Bytes::from(from_hex(&[hex, hex].concat()));
        let parts = split(form, &body, &TAGGED).unwrap();
        assert_eq!((parts[0].items, parts[0].oldest, &parts[0].bytes), (2, UnixMillis(1_700_000_000_000), &body));
        assert_eq!(parts[0].bytes.as_ptr(), body.as_ptr());
        assert_eq!(boundaries(parts[0].kind, &body), [0..body.len() / 2, body.len() / 2..body.len()]);
    }
}

#[test]
fn agent_metadata_is_not_an_item() {
    let body = Bytes::from(from_hex(&format!("{SKETCH}1200")));
    let parts = split(Form::Sketches, &body, &PLAIN).unwrap();
    assert_eq!((parts[0].items, &parts[0].bytes[..]), (1, &from_hex(SKETCH)[..]));
    assert!(boundaries(Kind::Sketches, &body).into_iter().eq(std::iter::once(0..body.len() - 2)));
    assert_eq!(split(Form::Sketches, &Bytes::from_static(&[0x12, 0]), &PLAIN), Ok(Vec::new()));
}

#[test]
fn a_refused_item_is_named_with_its_fault() {
    let good = Item { name: "a".into(), tags: vec![], tenant: None, points: vec![(1, 1.0)], unknown: vec![] };
    let change = |change: fn(&mut Item)| {
        let mut item = good.clone();
        change(&mut item);
        item
    };
    for form in [Form::SeriesV2Proto, Form::Sketches] {
        for (item, reason) in [
            (change(|item| item.name.clear()), "the metric's name is empty"),
            (change(|item| item.name = "1".into()), "the metric's name contains no letter of A-Z a-z"),
            (change(|item| item.name = "a".repeat(351)), "longer than 350 bytes"),
            (change(|item| item.points.clear()), "has no points"),
            (change(|item| item.points.push((1, f64::NAN))), "point 1 has a "),
            (change(|item| item.points[0].1 = f64::INFINITY), "that is not finite"),
        ] {
            let body = [good.encode(form, true), item.encode(form, true)].concat();
            match split(form, &Bytes::from(body), &PLAIN) {
                Err(Refusal::Invalid { item: 1, reason: given }) if given.contains(reason) => {}
                other => panic!("{item:?} gave {other:?}"),
            }
        }
    }
    let with = |extra: Vec<u8>| {
        let message = [bytes_field(2, b"a"), bytes_field(4, b""), extra].concat();
        split(Form::SeriesV2Proto, &Bytes::from(bytes_field(1, &message)), &PLAIN)
    };
    assert_eq!(with(varint_field(5, 3)).unwrap()[0].oldest, UnixMillis(0));
    assert!(matches!(with(varint_field(5, 4)), Err(Refusal::Invalid { item: 0, .. })));
    let mended = [bytes_field(2, b"a"), bytes_field(4, b""), bytes_field(3, "a\u{fffd}".as_bytes())].concat();
    assert_eq!(with(bytes_field(3, b"a\xff")).unwrap()[0].bytes, bytes_field(1, &mended));
    let resource = |name: &[u8]| bytes_field(1, &[bytes_field(1, b"host"), bytes_field(2, name)].concat());
    let mended = [bytes_field(2, b"a"), bytes_field(4, b""), resource("\u{fffd}h".as_bytes())].concat();
    assert_eq!(with(resource(b"\xffh")).unwrap()[0].bytes, bytes_field(1, &mended));
}

#[test]
fn a_malformed_protobuf_names_the_byte() {
    for (hex, at, reason) in [
        ("0a", 1, "the message ends inside a varint"),
        ("0a05", 1, "a length beyond the end of the message"),
        ("0aff", 1, "the message ends inside a varint"),
        ("0affffffffffffffffffff01", 1, "a varint of more than 10 bytes"),
        ("0affffffffffffffffff01", 1, "a length beyond the end of the message"),
        ("00", 0, "no such protobuf field number"),
        ("0b", 0, "this wire type does not exist in proto3"),
        ("0d0000", 1, "the message ends inside a fixed-width field"),
        ("0801", 0, "expected a field with a length"),
        ("0a0412ff0101", 0, "a length beyond the end of the message at byte 3"),
        ("0a021005", 0, "expected a field with a length at byte 2"),
        ("0a0422021005", 0, "the metric's name is empty"),
        ("0a0422020801", 0, "expected a 64-bit field at byte 4"),
    ] {
        let found = match split(Form::SeriesV2Proto, &Bytes::from(from_hex(hex)), &PLAIN) {
            Err(Refusal::Malformed { at, reason }) => (at, reason),
            Err(Refusal::Invalid { item, reason }) => (item, reason),
            other => panic!("{hex} gave {other:?}"),
        };
        assert_eq!(found, (at, reason.into()), "{hex}");
    }
}

#[test]
fn parts_end_where_a_request_is_full() {
    let item =
        Item { name: "a".into(), tags: vec![], tenant: None, points: vec![(1, 1.0)], unknown: vec![0; 1_500_000] };
    let body = item.encode(Form::Sketches, false).repeat(5);
    let parts = split(Form::Sketches, &Bytes::from(body), &PLAIN).unwrap();
    check_parts(&parts, NOW);
    assert_eq!(parts.iter().map(|part| part.items).collect::<Vec<_>>(), [2, 2, 1]);
}
