//! Escaping for the few pages that this program generates.

use super::printable;

/// Escapes text for HTML, attributes included.
pub fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in printable(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_text_stays_text() {
        assert_eq!(escape_html("<a b=\"c\" d='e'> & ü"), "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt; &amp; ü");
        assert_eq!(escape_html("a\u{202e}b"), "a\\u{202e}b");
    }
}
