//! Events: `_e{<title bytes>,<text bytes>}:<title>|<text>[|d:][|h:][|k:][|p:][|s:][|t:][|#...]`.

use super::fields::{fields, integer};
use super::reason::Reason;
use memchr::memchr;

/// An event. Of a field that is given twice the last counts; one that cannot be read keeps its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The title as sent, in which the two characters `\n` stand for a line feed. Not empty.
    pub title: &'a [u8],
    /// The text, likewise; may be empty.
    pub text: &'a [u8],
    /// When it happened, in Unix seconds.
    pub timestamp: Option<i64>,
    /// The host of the field `h:`, which counts more than that of a tag.
    pub host: Option<&'a [u8]>,
    /// `k:`
    pub aggregation_key: Option<&'a [u8]>,
    /// `p:`, `normal` or `low`.
    pub priority: &'static str,
    /// `s:`
    pub source_type: Option<&'a [u8]>,
    /// `t:`, one of `info`, `success`, `warning`, `error`.
    pub alert_type: &'static str,
    /// The tags as sent, comma-separated.
    pub tags: &'a [u8],
}

impl<'a> Event<'a> {
    /// Reads a line that begins with `_e{`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &'a [u8]) -> Result<Self, Reason> {
        let colon = memchr(b':', line).ok_or(Reason::EventHeader)?;
        let (title_length, text_length) = lengths(&line[..colon]).ok_or(Reason::EventHeader)?;
        if title_length == 0 {
            return Err(Reason::EventTitleEmpty);
        }
        let body = &line[colon + 1..];
        // The byte between them is whatever it is: the lengths decide.
        let (title, text) = title_length
            .checked_add(1)
            .and_then(|start| Some((body.get(..title_length)?, body.get(start..start.checked_add(text_length)?)?)))
            .ok_or(Reason::EventTooShort)?;
        let mut event = Self {
            title,
            text,
            timestamp: None,
            host: None,
            aggregation_key: None,
            priority: "normal",
            source_type: None,
            alert_type: "info",
            tags: b"",
        };
        let behind = &body[title_length + 1 + text_length..];
        // What stands directly behind the text is no field.
        let start = memchr(b'|', behind).unwrap_or(behind.len());
        for field in fields(&behind[start..]) {
            event.read(field);
        }
        Ok(event)
    }

    fn read(&mut self, field: &'a [u8]) {
        match field {
            [b'#', tags @ ..] => self.tags = tags,
            [b'd', b':', seconds @ ..] => self.timestamp = integer(seconds).or(self.timestamp),
            [b'h', b':', host @ ..] => self.host = Some(host),
            [b'k', b':', key @ ..] => self.aggregation_key = Some(key),
            [b's', b':', source @ ..] => self.source_type = Some(source),
            b"p:low" => self.priority = "low",
            b"p:normal" => self.priority = "normal",
            b"t:info" => self.alert_type = "info",
            b"t:success" => self.alert_type = "success",
            b"t:warning" => self.alert_type = "warning",
            b"t:error" => self.alert_type = "error",
            _ => {}
        }
    }
}

/// The two lengths of `_e{5,4}`, in bytes of UTF-8 before anything is unescaped.
fn lengths(header: &[u8]) -> Option<(usize, usize)> {
    let inside = header.strip_prefix(b"_e{")?.strip_suffix(b"}")?;
    let comma = memchr(b',', inside)?;
    let length = |text: &[u8]| usize::try_from(integer(text)?).ok();
    Some((length(&inside[..comma])?, length(&inside[comma + 1..])?))
}
