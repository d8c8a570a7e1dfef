//! Messages of other parties, sanitised for display: short, on one line, and without our secrets, which an error may quote.

use crate::types::{Secret, printable};

/// Characters that are kept.
const LONGEST: usize = 300;

/// Puts a text from outside on one line, and cuts it to a readable length.
pub(super) fn clean(text: &str) -> String {
    let mut cleaned = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !cleaned.is_empty() {
            cleaned.push(' ');
        }
        cleaned.push_str(word);
    }
    let cleaned = printable(&cleaned);
    match cleaned.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &cleaned[..end]),
        None => cleaned.into_owned(),
    }
}

/// Like [`clean`], after redacting the secrets that were sent, plain or form-encoded.
pub(super) fn without(text: &str, secrets: &[&Secret]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().map(|secret| secret.expose()).filter(|secret| !secret.is_empty()) {
        let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        for form in [secret, &encoded] {
            text = text.replace(form, "[redacted]");
        }
    }
    clean(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_messages_are_short_and_redacted() {
        assert_eq!(clean(" a\r\n\tb\0c  "), "a b c");
        assert_eq!(clean("evil\u{202e}gpj"), "evil\\u{202e}gpj");
        assert_eq!(clean(&"é".repeat(400)).chars().count(), 301);
        let secret = Secret::new("s3/cr&t");
        assert_eq!(without("bad s3/cr&t or s3%2Fcr%26t", &[&secret]), "bad [redacted] or [redacted]");
        let cut = Secret::new("x".repeat(20));
        let text = format!("{}{}", "a".repeat(290), cut.expose());
        assert!(!without(&text, &[&cut]).contains("xx"), "a secret is taken out before the text is cut");
    }
}
