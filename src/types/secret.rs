//! A text that must not be shown.

use std::borrow::Cow;
use std::fmt;
use zeroize::Zeroizing;

/// An API key, token or password. Its `Debug` and `Display` hide the value, and the memory is zeroed on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// The value itself, to be put into a request and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl serde::Serialize for Secret {
    /// Writes `[redacted]` (or an empty text when there is none): a printed configuration holds no secrets.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { "[redacted]" })
    }
}

/// Hexadecimal digits of an API key or an ingest token, the shortest secrets that are written so
/// (docs.datadoghq.com/account_management/api-app-keys).
const DIGITS: usize = 32;

/// Redacts a text that quotes input: of everything that could be a key or a token only the last four digits remain.
pub fn redacted(text: &str) -> Cow<'_, str> {
    let mut out = Cow::Borrowed(text);
    let mut end = text.len();
    // From the back, so that what is still to be looked at stays where it is.
    for run in text.rsplit(|c: char| !c.is_ascii_hexdigit()) {
        let begin = end - run.len();
        if run.len() >= DIGITS {
            out.to_mut().replace_range(begin..end - 4, "…");
        }
        end = text[..begin].char_indices().next_back().map_or(0, |(at, _)| at);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn possible_keys_are_redacted() {
        let key = "0123456789abcdefABCDEF0123456789";
        for (text, shown) in [
            (String::new(), ""),
            ("tenant \"acme\"".into(), "tenant \"acme\""),
            (key[1..].into(), &key[1..]),
            (key.into(), "…6789"),
            (format!("key_{key}"), "key_…6789"),
            (format!("\u{1F6F7}{key}é/{key}0, ü {key}."), "\u{1F6F7}…6789é/…7890, ü …6789."),
            ("6f1c0000-0000-0000-0000-000000000001".into(), "6f1c0000-0000-0000-0000-000000000001"),
        ] {
            assert_eq!(redacted(&text), shown);
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::new("0123456789abcdef");
        assert_eq!(format!("{secret} {secret:?}"), "[redacted] [redacted]");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"[redacted]\"");
    }
}
