//! Texts of others, as they may be shown to people.

use std::borrow::Cow;

/// A text of somebody else, in a form that can only be read: what a terminal obeys, what changes the order of the characters
/// beside it, and what cannot be seen is written as `\u{…}`. Line breaks stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| c != '\n' && is_unprintable(c)) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c != '\n' && is_unprintable(c) { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    Cow::Owned(escaped)
}

/// Whether a character is a control (Cc, of C0 and C1), a format character (Cf: bidirectional overrides and isolates, joiners, tags),
/// or a separator of lines or paragraphs. The table is that of Unicode 16.0, `DerivedGeneralCategory.txt`.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0001}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_is_escaped() {
        for (text, shown) in [
            ("a\u{1b}[2J\tb\nc\u{9b}ä", "a\\u{1b}[2J\\tb\nc\\u{9b}ä"),
            ("evil\u{202e}gpj.exe\u{2066}", "evil\\u{202e}gpj.exe\\u{2066}"),
            ("a\u{200b}b\u{2028}c\u{feff}\u{e0041}", "a\\u{200b}b\\u{2028}c\\u{feff}\\u{e0041}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn readable_text_of_any_script_stays() {
        for text in ["", "Müller & Söhne \"GmbH\"", "日本\u{3000}株式会社", "हिन्दी", "שלום", "e\u{301} \u{a0}", "🦀\n"]
        {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text:?}");
        }
    }
}
