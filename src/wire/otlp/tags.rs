//! A list of tags, kept as the fields that a series has for them.

use super::reason::Trouble;
use super::value::{Value, mended};
use crate::wire::encode;

/// The key of a `MetricSeries.tags` field.
const SERIES_KEY: u8 = 3 << 3 | 2;
/// The key of a `Sketch.tags` field.
const SKETCH_KEY: u8 = 4 << 3 | 2;

/// What stands for an empty value (`FormatKeyValueTag` in DataDog/datadog-agent, `otlp/metrics/internal/utils/tags.go`).
const NO_VALUE: &[u8] = b"n/a";

/// A list of tags.
#[derive(Debug, Default, Clone)]
pub(super) struct Tags {
    fields: Vec<u8>,
    /// Scratch: a value that is no text.
    text: Vec<u8>,
}

impl Tags {
    pub fn clear(&mut self) {
        self.fields.clear();
    }

    /// How long the list is as fields of a series or sketch.
    pub fn encoded_len(&self) -> usize {
        self.fields.len()
    }

    /// Appends `key:value`, with `n/a` for an empty value.
    pub fn push_attribute(&mut self, key: &[u8], value: Value<'_>) -> Result<(), Trouble> {
        match value {
            Value::Text(b"") | Value::Empty => self.push(&mended(key), NO_VALUE),
            Value::Text(text) => self.push(&mended(key), &mended(text)),
            other => {
                let mut text = std::mem::take(&mut self.text);
                text.clear();
                let written = other.write_text(&mut text);
                self.push(&mended(key), if text.is_empty() { NO_VALUE } else { &text });
                self.text = text;
                written?;
            }
        }
        Ok(())
    }

    /// Appends `key:value`, both UTF-8.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        self.fields.push(SERIES_KEY);
        encode::varint((key.len() + 1 + value.len()) as u64, &mut self.fields);
        self.fields.extend_from_slice(key);
        self.fields.push(b':');
        self.fields.extend_from_slice(value);
    }

    /// The tags, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.fields[..];
        std::iter::from_fn(move || {
            let mut length = 0;
            let mut shift = 0;
            // The key of the field is one byte.
            rest = rest.get(1..)?;
            while let [byte, tail @ ..] = rest {
                rest = tail;
                length |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if *byte < 0x80 {
                    break;
                }
            }
            let (tag, tail) = rest.split_at_checked(length)?;
            rest = tail;
            Some(tag)
        })
    }

    /// Appends the tags as fields of a series.
    pub fn write_series(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.fields);
    }

    /// Appends the tags as fields of a sketch.
    pub fn write_sketch(&self, out: &mut Vec<u8>) {
        for tag in self.iter() {
            out.push(SKETCH_KEY);
            encode::varint(tag.len() as u64, out);
            out.extend_from_slice(tag);
        }
    }
}
