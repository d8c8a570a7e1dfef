//! Reads protobuf, apart from what writes it.

use serde_json::{Value as Json, json};

#[derive(Clone, Copy)]
pub enum Value<'a> {
    Int(u64),
    Double(f64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    pub fn bytes(self) -> &'a [u8] {
        let Self::Bytes(bytes) = self else { panic!("not a field with a length") };
        bytes
    }

    fn text(self) -> Json {
        json!(std::str::from_utf8(self.bytes()).unwrap())
    }

    fn number(self) -> Json {
        match self {
            Self::Int(value) => json!(value.cast_signed()),
            Self::Double(value) => json!(value),
            Self::Bytes(_) => panic!("not a number"),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

pub fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let key = varint(&mut bytes);
        let value = match key & 7 {
            0 => Value::Int(varint(&mut bytes)),
            1 => {
                let (head, rest) = bytes.split_first_chunk().unwrap();
                bytes = rest;
                Value::Double(f64::from_le_bytes(*head))
            }
            2 => {
                let length = varint(&mut bytes) as usize;
                let (head, rest) = bytes.split_at(length);
                bytes = rest;
                Value::Bytes(head)
            }
            _ => panic!("wire type {}", key & 7),
        };
        Some((key >> 3, value))
    })
}

fn packed(mut bytes: &[u8]) -> Vec<u64> {
    std::iter::from_fn(|| (!bytes.is_empty()).then(|| varint(&mut bytes))).collect()
}

pub fn series(item: &[u8]) -> Json {
    let mut series = json!({ "points": [], "tags": [], "resources": [], "host": "" });
    for (number, value) in fields(item) {
        match number {
            1 => {
                let mut resource = fields(value.bytes());
                let (kind, name) = (resource.next().unwrap().1.text(), resource.next().unwrap().1.text());
                if kind == "host" {
                    series["host"] = name.clone();
                }
                series["resources"].as_array_mut().unwrap().push(json!({ "type": kind, "name": name }));
            }
            2 => series["metric"] = value.text(),
            3 => series["tags"].as_array_mut().unwrap().push(value.text()),
            4 => {
                let mut point = fields(value.bytes());
                let (value, time) = (point.next().unwrap().1.number(), point.next().unwrap().1.number());
                series["points"].as_array_mut().unwrap().push(json!([time, value]));
            }
            5 => series["type"] = json!(["", "count", "rate", "gauge"][value.number().as_u64().unwrap() as usize]),
            6 => series["unit"] = value.text(),
            8 => series["interval"] = value.number(),
            _ => panic!("field {number}"),
        }
    }
    series
}

pub fn sketch(item: &[u8]) -> Json {
    let mut sketch = json!({ "tags": [], "host": "" });
    for (number, value) in fields(item) {
        match number {
            1 => sketch["metric"] = value.text(),
            2 => sketch["host"] = value.text(),
            4 => sketch["tags"].as_array_mut().unwrap().push(value.text()),
            7 => {
                for (number, value) in fields(value.bytes()) {
                    match number {
                        1..=6 => {
                            sketch[["ts", "cnt", "min", "max", "avg", "sum"][number as usize - 1]] = value.number()
                        }
                        7 => {
                            let keys = packed(value.bytes()).into_iter();
                            sketch["k"] =
                                keys.map(|key| (key >> 1).cast_signed() ^ -((key & 1).cast_signed())).collect();
                        }
                        8 => sketch["n"] = json!(packed(value.bytes())),
                        _ => panic!("field {number}"),
                    }
                }
            }
            _ => panic!("field {number}"),
        }
    }
    sketch
}
