//! Formatting of the commands' output for people.

use crate::types;
use std::io::{self, IsTerminal, Write, stderr, stdin, stdout};

/// Escapes a foreign text so that it cannot control a terminal.
pub(super) fn printable(text: &str) -> String {
    types::printable(text).into_owned()
}

/// The same on one line.
pub(super) fn one_line(text: &str) -> String {
    printable(&text.replace('\n', " "))
}

/// Whether standard output is a terminal that can be redrawn.
pub(super) fn can_draw() -> bool {
    stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether the standard output may have colours (<https://no-color.org>).
pub(super) fn can_colour() -> bool {
    can_draw() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// "no letters", "1 letter", "2 letters".
pub(super) fn counted(count: u64, what: &str) -> String {
    match count {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        more => format!("{more} {what}s"),
    }
}

/// Cuts a text to a number of characters, the last an ellipsis.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let Some(kept) = width.checked_sub(1) else { return String::new() };
    let kept: String = text.chars().take(kept).collect();
    format!("{kept}…")
}

/// The lines of a table, its columns as wide as needed and the last unpadded.
pub(super) fn table<const N: usize>(titles: &[&str; N], rows: &[[String; N]]) -> Vec<String> {
    let titles = titles.map(str::to_owned);
    let all = || std::iter::once(&titles).chain(rows);
    let widths: [usize; N] =
        std::array::from_fn(|column| all().map(|row| row[column].chars().count()).max().unwrap_or_default());
    let line = |row: &[String; N]| {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    all().map(line).collect()
}

/// A time span in the unit that suits it.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Asks a question on the terminal; `None` when there is no terminal.
///
/// # Errors
/// When the terminal cannot be written or read.
pub(super) fn confirmed(question: &str) -> io::Result<Option<bool>> {
    if !stdin().is_terminal() {
        return Ok(None);
    }
    let mut out = stderr();
    write!(out, "{question} [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(Some(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(printable("a\u{1b}[2J\tb\nc\u{9b}ä"), "a\\u{1b}[2J\\tb\nc\\u{9b}ä");
        assert_eq!(one_line("a\nb"), "a b");
    }

    #[test]
    fn a_cut_text_fits_with_an_ellipsis() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
        assert_eq!(cut("ä", 0), "");
    }

    #[test]
    fn columns_line_up_whatever_the_letters() {
        let rows = [["ä".to_owned(), "x".to_owned()], ["long".to_owned(), String::new()]];
        assert_eq!(table(&["a", "b"], &rows), ["a     b", "ä     x", "long"]);
    }

    #[test]
    fn spans_take_the_unit_that_tells_most() {
        let spans = [0, 59, 60, 3_599, 3_600, 172_799, 172_800].map(span);
        assert_eq!(spans, ["0s", "59s", "1m", "59m", "1h", "47h", "2d"]);
    }
}
