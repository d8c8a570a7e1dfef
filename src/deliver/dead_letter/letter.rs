//! What a line says.

use crate::types::{Generation, Kind, TenantId, UnixMillis};
use crate::wire;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::io;
use std::ops::Range;

/// Why a payload was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The HTTP status; none when the payload was never sent.
    pub status: Option<u16>,
    /// Datadog's message, or the daemon's own.
    pub message: String,
}

/// A run of refused items.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Letter<'a> {
    /// When Datadog refused them, in milliseconds since the epoch.
    pub refused_at: i64,
    /// When the daemon accepted the first of them, in milliseconds since the epoch.
    pub accepted_at: i64,
    /// What they are.
    #[serde(serialize_with = "name", deserialize_with = "named")]
    pub kind: Kind,
    /// The [`Generation`] that they were accepted for; 0 in letters of releases before 0.2.
    #[serde(default)]
    pub generation: u64,
    /// How many.
    pub items: u32,
    /// The HTTP status; none when they were never sent.
    pub status: Option<u16>,
    /// Datadog's words, or the daemon's own.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    /// The request body with the items.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    /// The same in base64, where it is no JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<Cow<'a, str>>,
}

impl<'a> Letter<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// When it is no letter; the error says why.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, String> {
        let letter: Self = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        if letter.body.is_none() && letter.base64.is_none() {
            return Err("it holds no items: neither `body` nor `base64`".into());
        }
        Ok(letter)
    }

    /// The body of a request with the items, as the local port takes it.
    ///
    /// # Errors
    /// When the base64 is none.
    pub fn plain(&self) -> Result<Cow<'a, [u8]>, String> {
        if let Some(body) = self.body {
            return Ok(Cow::Borrowed(body.get().as_bytes()));
        }
        let text = self.base64.as_deref().unwrap_or_default();
        STANDARD.decode(text).map(Cow::Owned).map_err(|error| format!("`base64` cannot be read: {error}"))
    }

    /// The items as JSON; nothing where they are kept in base64.
    pub fn json(&self) -> Option<&'a RawValue> {
        self.body
    }

    /// The items as bodies of requests, none of them larger than `max_body` bytes unless an item alone is, and none
    /// with more items than the kind's limit.
    ///
    /// # Errors
    /// When the items cannot be read.
    pub fn requests(&self, max_body: usize) -> Result<Vec<Vec<u8>>, String> {
        let plain = self.plain()?;
        let (prefix, suffix) = (self.kind.prefix(), self.kind.suffix());
        let most = self.kind.limits().items as usize;
        if plain.len() <= max_body && self.items as usize <= most {
            return Ok(vec![plain.into_owned()]);
        }
        let run = plain.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
        let run = run.ok_or_else(|| format!("the items are not in the form of {}", self.kind))?;
        let mut requests = Vec::new();
        let mut open: Option<(Range<usize>, usize)> = None;
        for item in wire::boundaries(self.kind, run) {
            open = match open {
                Some((range, items))
                    if items < most && item.end - range.start + prefix.len() + suffix.len() <= max_body =>
                {
                    Some((range.start..item.end, items + 1))
                }
                full => {
                    requests.extend(full.map(|(range, _)| range));
                    Some((item, 1))
                }
            };
        }
        requests.extend(open.map(|(range, _)| range));
        Ok(requests.into_iter().map(|range| [prefix, &run[range], suffix].concat()).collect())
    }
}

/// Items that are refused, as the body of a request.
#[derive(Debug)]
pub struct Items {
    /// Whose they are.
    pub tenant: TenantId,
    /// What they are, or should have been.
    pub kind: Kind,
    /// How many.
    pub items: u32,
    /// For whom they were accepted.
    pub generation: Generation,
    /// When the first of them was accepted.
    pub accepted: UnixMillis,
    /// With the kind's prefix and suffix.
    pub body: Vec<u8>,
}

/// The line of refused items.
pub(super) fn line(refused: Items, reason: &Reason, now: UnixMillis) -> io::Result<Vec<u8>> {
    let Items { kind, items, generation, accepted, body: mut plain, .. } = refused;
    // What this parser does not take for JSON must not be kept from the disk for it.
    let is_json = !kind.is_protobuf() && serde_json::from_slice::<&RawValue>(&plain).is_ok();
    if is_json {
        // Line feeds stand only between the tokens of valid JSON.
        plain.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    }
    let body = if is_json { serde_json::from_slice(&plain).ok() } else { None };
    let letter = Letter {
        refused_at: now.0,
        accepted_at: accepted.0,
        kind,
        generation: generation.0,
        items,
        status: reason.status,
        reason: Cow::Borrowed(&reason.message),
        body,
        base64: body.is_none().then(|| Cow::Owned(STANDARD.encode(&plain))),
    };
    let mut line = serde_json::to_vec(&letter)?;
    line.push(b'\n');
    Ok(line)
}

fn name<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    let name = Cow::<'de, str>::deserialize(deserializer)?;
    Kind::from_name(&name).ok_or_else(|| serde::de::Error::custom(format_args!("unknown kind {name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn logs(body: &str, items: usize) -> String {
        format!(
            "{{\"refused_at\":2,\"accepted_at\":1,\"kind\":\"logs\",\"items\":{items},\"status\":400,\"reason\":\"no\",\
             \"body\":{body}}}"
        )
    }

    proptest! {
        #[test]
        fn requests_hold_every_item_once_in_order(
            lengths in prop::collection::vec(0..300usize, 1..2500), max_body in 40..20_000usize
        ) {
            let all: Vec<Value> =
                lengths.iter().enumerate().map(|(id, length)| json!({ "id": id, "m": "x".repeat(*length) })).collect();
            let line = logs(&Value::from(all.clone()).to_string(), all.len());
            let letter = Letter::parse(line.as_bytes()).unwrap();
            let requests = letter.requests(max_body).unwrap();
            let mut found = Vec::new();
            for request in &requests {
                let items: Vec<Value> = serde_json::from_slice(request).unwrap();
                prop_assert!(items.len() == 1 || request.len() <= max_body);
                prop_assert!(items.len() <= 1000);
                found.extend(items);
            }
            prop_assert_eq!(found, all);
        }
    }

    #[test]
    fn broken_letters_are_explained() {
        for (line, words) in [
            (&logs("[]", 1)[..20], "EOF"),
            ("{}", "missing field"),
            (&logs("[]", 1).replace("logs", "traces"), "unknown kind \"traces\""),
            (&logs("[]", 1).replace("body", "bodi"), "neither `body` nor `base64`"),
        ] {
            let error = Letter::parse(line.as_bytes()).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
    }

    #[test]
    fn the_bytes_of_a_body_are_kept() {
        let line = logs("[ {\"n\": 1.10} ]", 1);
        let letter = Letter::parse(line.as_bytes()).unwrap();
        assert_eq!(&*letter.plain().unwrap(), b"[ {\"n\": 1.10} ]");
        let line = logs("null", 1).replace("\"body\":null", "\"base64\":\"AAEC\"");
        let letter = Letter::parse(line.as_bytes()).unwrap();
        assert_eq!(&*letter.plain().unwrap(), [0, 1, 2]);
    }
}
