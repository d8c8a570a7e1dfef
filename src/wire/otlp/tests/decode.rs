//! Reads what was mapped, for comparing.

use crate::types::Kind;
use crate::wire::Part;
use crate::wire::protobuf::{Field, Message, Value as Raw};
use serde_json::{Value, json};

/// The series of parts, in the form of the vectors.
pub(super) fn series(parts: &[Part]) -> Vec<Value> {
    items(parts, Kind::SeriesV2Proto, |item| {
        let mut series = json!({ "tags": [] });
        for field in item.fields().map(Result::unwrap) {
            match field.number {
                1 => series["host"] = strings(&field)[1].clone().into(),
                2 => series["metric"] = text(&field).into(),
                3 => series["tags"].as_array_mut().unwrap().push(text(&field).into()),
                4 => {
                    let mut point = json!([0, 0.0]);
                    for field in field.message().unwrap().fields().map(Result::unwrap) {
                        match field.value {
                            Raw::Fixed64(bits) => point[1] = f64::from_bits(bits).into(),
                            _ => point[0] = field.varint().unwrap().into(),
                        }
                    }
                    series["points"] = json!([point]);
                }
                5 => series["type"] = ["", "count", "rate", "gauge"][field.varint().unwrap() as usize].into(),
                8 => series["interval"] = field.varint().unwrap().into(),
                other => panic!("field {other} of a series"),
            }
        }
        sort_tags(&mut series);
        series
    })
}

/// The sketches of parts, in the form of the vectors.
pub(super) fn sketches(parts: &[Part]) -> Vec<Value> {
    items(parts, Kind::Sketches, |item| {
        let mut sketch = json!({ "tags": [] });
        for field in item.fields().map(Result::unwrap) {
            match field.number {
                1 => sketch["metric"] = text(&field).into(),
                2 => sketch["host"] = text(&field).into(),
                4 => sketch["tags"].as_array_mut().unwrap().push(text(&field).into()),
                7 => {
                    for field in field.message().unwrap().fields().map(Result::unwrap) {
                        let name = ["", "ts", "cnt", "min", "max", "avg", "sum", "k", "n"][field.number as usize];
                        sketch[name] = match field.value {
                            Raw::Fixed64(bits) => f64::from_bits(bits).into(),
                            Raw::Bytes(list) => {
                                let mut values = Vec::new();
                                list.varints(|value| values.push(value)).unwrap();
                                let is_key = name == "k";
                                let zigzag = |value: u64| (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
                                let value = |value| if is_key { zigzag(value) } else { value.cast_signed() };
                                values.into_iter().map(value).collect()
                            }
                            _ => field.varint().unwrap().into(),
                        };
                    }
                }
                other => panic!("field {other} of a sketch"),
            }
        }
        sort_tags(&mut sketch);
        sketch
    })
}

/// The logs of parts.
pub(super) fn logs(parts: &[Part]) -> Vec<Value> {
    let parts = parts.iter().filter(|part| part.kind == Kind::Logs);
    let lists = parts.map(|part| [b"[", &part.bytes[..], b"]"].concat());
    lists.flat_map(|list| serde_json::from_slice::<Vec<Value>>(&list).unwrap()).collect()
}

fn items(parts: &[Part], kind: Kind, read: impl Fn(Message<'_>) -> Value) -> Vec<Value> {
    let mut items = Vec::new();
    for part in parts.iter().filter(|part| part.kind == kind) {
        let before = items.len();
        items.extend(Message::whole(&part.bytes).fields().map(|field| read(field.unwrap().message().unwrap())));
        assert_eq!(items.len() - before, part.items as usize, "a part says how many items it has");
    }
    items
}

fn sort_tags(item: &mut Value) {
    item["tags"].as_array_mut().unwrap().sort_by_key(|tag| tag.as_str().unwrap().to_owned());
}

fn text(field: &Field<'_>) -> String {
    String::from_utf8(field.message().unwrap().bytes.to_vec()).unwrap()
}

fn strings(field: &Field<'_>) -> Vec<String> {
    field.message().unwrap().fields().map(|field| text(&field.unwrap())).collect()
}
