//! Service checks: `_sc|<name>|<0..3>[|d:][|h:][|#...][|m:]`.

use super::fields::{fields, integer};
use super::reason::Reason;
use memchr::memchr;

/// A service check. Fields stand in any order, also behind the message; of a field that is given twice the last counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check<'a> {
    /// Its name, not empty.
    pub name: &'a [u8],
    /// 0 OK, 1 warning, 2 critical, 3 unknown.
    pub status: u8,
    /// When it ran, in Unix seconds.
    pub timestamp: Option<i64>,
    /// The host of the field `h:`, which counts more than that of a tag.
    pub host: Option<&'a [u8]>,
    /// The message, in which the Agent unescapes nothing.
    pub message: Option<&'a [u8]>,
    /// The tags as sent, comma-separated.
    pub tags: &'a [u8],
}

impl<'a> Check<'a> {
    /// Reads a line that begins with `_sc|`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &'a [u8]) -> Result<Self, Reason> {
        let rest = line.strip_prefix(b"_sc|").ok_or(Reason::CheckFields)?;
        let name = &rest[..memchr(b'|', rest).ok_or(Reason::CheckFields)?];
        if name.is_empty() {
            return Err(Reason::CheckNameEmpty);
        }
        let mut fields = fields(&rest[name.len()..]);
        let status = match fields.next() {
            Some([digit @ b'0'..=b'3']) => digit - b'0',
            _ => return Err(Reason::CheckStatus),
        };
        let mut check = Self { name, status, timestamp: None, host: None, message: None, tags: b"" };
        for field in fields {
            match field {
                [b'#', tags @ ..] => check.tags = tags,
                [b'd', b':', seconds @ ..] => check.timestamp = integer(seconds).or(check.timestamp),
                [b'h', b':', host @ ..] => check.host = Some(host),
                [b'm', b':', message @ ..] => check.message = Some(message),
                _ => {}
            }
        }
        Ok(check)
    }
}
