//! `MetricPayload` and `SketchPayload`, decoded to JSON.
//!
//! Field numbers: github.com/DataDog/agent-payload, `proto/metrics/agent_payload.proto`.

use super::metrics::{check_name, check_resources, check_tags, check_times, check_type, refused};
use super::{Items, Refused};
use serde_json::{Value, json};

/// A body of `/api/v2/series`.
pub(super) fn series(body: &[u8], now: i64, items: &mut Items) -> Result<(), Refused> {
    let mut index = 0;
    for field in Fields(body) {
        if let (1, Field::Bytes(message)) = field.map_err(malformed)? {
            let json = one_series(message, now).map_err(|reason| refused(index, &reason))?;
            items.push_with(|| json.to_string());
            index += 1;
        }
    }
    Ok(())
}

/// A body of `/api/beta/sketches`.
pub(super) fn sketches(body: &[u8], now: i64, items: &mut Items) -> Result<(), Refused> {
    let mut index = 0;
    for field in Fields(body) {
        if let (1, Field::Bytes(message)) = field.map_err(malformed)? {
            let json = one_sketch(message, now).map_err(|reason| refused(index, &reason))?;
            items.push_with(|| json.to_string());
            index += 1;
        }
    }
    Ok(())
}

fn malformed(reason: String) -> Refused {
    Refused::Bad(format!("Payload is not in the expected format: {reason}"))
}

fn one_series(message: &[u8], now: i64) -> Result<Value, String> {
    let (mut metric, mut unit, mut source) = ("", "", "");
    let (mut resources, mut tags, mut points) = (Vec::new(), Vec::new(), Vec::new());
    let (mut kind, mut interval) = (0, 0);
    for field in Fields(message) {
        match field? {
            (1, Field::Bytes(resource)) => resources.push(one_resource(resource)?),
            (2, Field::Bytes(bytes)) => metric = text(bytes)?,
            (3, Field::Bytes(bytes)) => tags.push(text(bytes)?),
            (4, Field::Bytes(point)) => points.push(one_point(point)?),
            (5, Field::Varint(value)) => kind = value,
            (6, Field::Bytes(bytes)) => unit = text(bytes)?,
            (7, Field::Bytes(bytes)) => source = text(bytes)?,
            (8, Field::Varint(value)) => interval = value.cast_signed(),
            _ => {}
        }
    }
    check_name(metric)?;
    check_times(points.iter().map(|(time, _)| *time), now)?;
    check_type(kind)?;
    check_resources(resources.iter().copied())?;
    check_tags(tags.iter().copied())?;
    let points: Vec<_> = points.iter().map(|(time, value)| json!({ "timestamp": time, "value": value })).collect();
    let resources: Vec<_> = resources.iter().map(|(kind, name)| json!({ "type": kind, "name": name })).collect();
    Ok(json!({
        "metric": metric, "type": kind, "interval": interval, "unit": unit, "source_type_name": source,
        "points": points, "tags": tags, "resources": resources,
    }))
}

fn one_resource(message: &[u8]) -> Result<(&str, &str), String> {
    let (mut kind, mut name) = ("", "");
    for field in Fields(message) {
        match field? {
            (1, Field::Bytes(bytes)) => kind = text(bytes)?,
            (2, Field::Bytes(bytes)) => name = text(bytes)?,
            _ => {}
        }
    }
    Ok((kind, name))
}

fn one_point(message: &[u8]) -> Result<(i64, f64), String> {
    let (mut time, mut value) = (0, 0.0);
    for field in Fields(message) {
        match field? {
            (1, Field::Fixed64(bits)) => value = finite(bits)?,
            (2, Field::Varint(seconds)) => time = seconds.cast_signed(),
            _ => {}
        }
    }
    Ok((time, value))
}

fn one_sketch(message: &[u8], now: i64) -> Result<Value, String> {
    let (mut metric, mut host) = ("", "");
    let (mut tags, mut sketches) = (Vec::new(), Vec::new());
    for field in Fields(message) {
        match field? {
            (1, Field::Bytes(bytes)) => metric = text(bytes)?,
            (2, Field::Bytes(bytes)) => host = text(bytes)?,
            (4, Field::Bytes(bytes)) => tags.push(text(bytes)?),
            (7, Field::Bytes(sketch)) => sketches.push(one_dogsketch(sketch)?),
            _ => {}
        }
    }
    check_name(metric)?;
    check_times(sketches.iter().map(|(time, _)| *time), now)?;
    check_resources([("host", host)].into_iter())?;
    check_tags(tags.iter().copied())?;
    let sketches: Vec<_> = sketches.into_iter().map(|(_, sketch)| sketch).collect();
    Ok(json!({ "metric": metric, "host": host, "tags": tags, "dogsketches": sketches }))
}

fn one_dogsketch(message: &[u8]) -> Result<(i64, Value), String> {
    let (mut time, mut count) = (0, 0);
    let mut numbers = [0.0; 4];
    let (mut keys, mut counts) = (Vec::new(), Vec::new());
    for field in Fields(message) {
        match field? {
            (1, Field::Varint(value)) => time = value.cast_signed(),
            (2, Field::Varint(value)) => count = value.cast_signed(),
            (number @ 3..=6, Field::Fixed64(bits)) => numbers[number as usize - 3] = finite(bits)?,
            (7, field) => {
                each_varint(field, |value| keys.push((value >> 1).cast_signed() ^ -(value & 1).cast_signed()))?
            }
            (8, field) => each_varint(field, |value| counts.push(value))?,
            _ => {}
        }
    }
    if keys.len() != counts.len() {
        return Err(format!("a sketch has {} keys and {} counts", keys.len(), counts.len()));
    }
    if !keys.is_sorted() {
        return Err("the keys of a sketch are not in order".into());
    }
    let [min, max, avg, sum] = numbers;
    let sketch = json!({
        "ts": time, "cnt": count, "min": min, "max": max, "avg": avg, "sum": sum, "k": keys, "n": counts,
    });
    Ok((time, sketch))
}

/// A repeated integer, packed or not.
fn each_varint(field: Field<'_>, mut with: impl FnMut(u64)) -> Result<(), String> {
    match field {
        Field::Varint(value) => with(value),
        Field::Bytes(mut packed) => {
            while !packed.is_empty() {
                with(varint(&mut packed)?);
            }
        }
        Field::Fixed64(_) | Field::Fixed32 => return Err("a list of integers has the wrong wire type".into()),
    }
    Ok(())
}

fn finite(bits: u64) -> Result<f64, String> {
    let value = f64::from_bits(bits);
    if value.is_finite() { Ok(value) } else { Err(format!("value {value} is not a finite number")) }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8".into())
}

/// A protobuf field without its number.
enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    /// No message here has one that matters.
    Fixed32,
}

/// The fields of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<(u64, Field<'a>), String> {
        let tag = varint(&mut self.0)?;
        let field = match tag & 7 {
            0 => Field::Varint(varint(&mut self.0)?),
            1 => {
                let (bits, rest) = self.0.split_first_chunk().ok_or("a fixed 64-bit field is cut short")?;
                self.0 = rest;
                Field::Fixed64(u64::from_le_bytes(*bits))
            }
            2 => {
                let len = usize::try_from(varint(&mut self.0)?).map_err(|error| error.to_string())?;
                let (bytes, rest) = self.0.split_at_checked(len).ok_or("a length-delimited field is cut short")?;
                self.0 = rest;
                Field::Bytes(bytes)
            }
            5 => {
                self.0 = self.0.get(4..).ok_or("a fixed 32-bit field is cut short")?;
                Field::Fixed32
            }
            other => return Err(format!("wire type {other} is unknown")),
        };
        match tag >> 3 {
            0 => Err("field number 0".into()),
            number => Ok((number, field)),
        }
    }
}

fn varint(from: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for (index, &byte) in from.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *from = &from[index + 1..];
            return Ok(value);
        }
    }
    Err("a varint is cut short or too long".into())
}

#[cfg(test)]
mod tests {
    use super::super::items;
    use super::*;
    use crate::fakeintake::endpoint::Form;

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn decoded(form: Form, body: &[u8]) -> Vec<Value> {
        let items = items(form, body, 1_700_000_000, true).unwrap();
        items.texts.unwrap().iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    const SERIES: &str = "0a460a0a0a04686f737412026831120c6170702e72657175657374731a08656e763a70726f641a0b\
        736572766963653a776562220f0900000000000029401080e2cfaa062801400a";
    const SKETCH: &str = "0a590a0b6170702e6c6174656e6379120268312208656e763a70726f643a3c0880e2cfaa061005190000\
        00000000f03f210000000000005940296666666666663540310000000000c05a403a08f414ce158216c619420402010101";

    #[test]
    fn a_series_of_the_reference_is_decoded() {
        let body = unhex(SERIES).repeat(2);
        let series = json!({
            "metric": "app.requests", "type": 1, "interval": 10, "unit": "", "source_type_name": "",
            "points": [{ "timestamp": 1_700_000_000, "value": 12.5 }], "tags": ["env:prod", "service:web"],
            "resources": [{ "type": "host", "name": "h1" }],
        });
        assert_eq!(decoded(Form::Series2Proto, &body), [series.clone(), series]);
    }

    #[test]
    fn a_reference_sketch_is_decoded() {
        let mut body = unhex(SKETCH);
        body.extend([0x12, 0x00]);
        let sketch = json!({
            "metric": "app.latency", "host": "h1", "tags": ["env:prod"],
            "dogsketches": [{ "ts": 1_700_000_000, "cnt": 5, "min": 1.0, "max": 100.0, "avg": 21.4, "sum": 107.0,
                "k": [1338, 1383, 1409, 1635], "n": [2, 1, 1, 1] }],
        });
        assert_eq!(decoded(Form::Sketches, &body), [sketch]);
    }

    #[test]
    fn negative_keys_are_unfolded() {
        let sketch = one_dogsketch(&unhex("3a05f31400f4144203010101")).unwrap().1;
        assert_eq!(sketch["k"], json!([-1338, 0, 1338]));
    }

    #[test]
    fn every_truncation_is_refused() {
        for (form, hex) in [(Form::Series2Proto, SERIES), (Form::Sketches, SKETCH)] {
            let body = unhex(hex);
            for end in 1..body.len() {
                assert!(items(form, &body[..end], 1_700_000_000, false).is_err(), "{form:?} cut at {end}");
            }
        }
    }

    #[test]
    fn nan_is_refused() {
        let mut body = unhex(SERIES);
        let at = body.windows(8).position(|window| window == 12.5f64.to_le_bytes()).unwrap();
        body[at..at + 8].copy_from_slice(&f64::NAN.to_le_bytes());
        let refused = items(Form::Series2Proto, &body, 1_700_000_000, false).unwrap_err();
        assert!(matches!(refused, Refused::Bad(reason) if reason.contains("NaN")));
    }
}
