//! What the spectator sees: a story, line by line, and below it on a terminal a table that changes in place. Fits into
//! 80 columns.

use super::stage::TENANTS;
use crate::cli::text::{can_colour, can_draw};
use crate::ledger::Balance;
use crate::tenancy::TenantState;
use std::fmt::Write as _;
use std::io::{Write as _, stdout};
use std::time::Duration;

/// Columns of a story line.
const WIDTH: usize = 79;

/// Where the text of a story line begins.
const INDENT: usize = 19;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

/// Where the story is told.
#[derive(Debug)]
pub(super) struct Screen {
    /// Whether lines can be taken back.
    terminal: bool,
    colour: bool,
    /// Lines of the table that is on the terminal now.
    drawn: usize,
}

/// One tenant in the table.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Its state.
    pub(super) state: TenantState,
    /// Its figures.
    pub(super) balance: Balance,
    /// What happened to it last.
    pub(super) last: &'static str,
}

impl Screen {
    /// The standard output.
    pub(super) fn new() -> Self {
        Self { terminal: can_draw(), colour: can_colour(), drawn: 0 }
    }

    /// Whether there is a table that changes in place.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// The next line of the story, about a tenant or all of them.
    pub(super) fn say(&mut self, at: Duration, tenant: &str, text: &str) {
        let mut out = self.erased();
        let time = self.paint(DIM, &format!("{:>5.1} s", at.as_secs_f64()));
        let tenant = self.paint(BOLD, &format!("{tenant:<8}"));
        for (index, line) in wrap(text, WIDTH - INDENT).iter().enumerate() {
            let margin = if index == 0 { format!("{time}  {tenant}  ") } else { " ".repeat(INDENT) };
            let _ = writeln!(out, "{margin}{line}");
        }
        put(&out);
    }

    /// A line outside of the story.
    pub(super) fn note(&mut self, text: &str) {
        let out = self.erased();
        put(&format!("{out}{text}\n"));
    }

    /// The state of things: the table on a terminal, one line elsewhere. `whole` is how long it will take.
    pub(super) fn show(&mut self, at: Duration, whole: Duration, rows: &[Row]) {
        if self.terminal {
            self.draw(at, whole, rows);
            return;
        }
        let told = rows.iter().zip(TENANTS).map(|(Row { state, balance, .. }, tenant)| {
            let state = if *state == TenantState::Active { String::new() } else { format!(" {}", state.name()) };
            format!("{tenant}{state} {}/{}", balance.delivered, balance.accepted)
        });
        let told: Vec<_> = told.collect();
        self.say(at, "all", &format!("delivered: {}", told.join(", ")));
    }

    fn draw(&mut self, at: Duration, whole: Duration, rows: &[Row]) {
        // A table that wraps could not be taken back by counting lines.
        let mut out = format!("{}\x1b[?7l\n", self.erased());
        let head = "tenant   state         accepted  delivered   queued  dead  now";
        let _ = writeln!(out, "{}", self.paint(BOLD, head));
        for (Row { state, balance, last }, tenant) in rows.iter().zip(TENANTS) {
            let Balance { accepted, delivered, queued, dead_lettered, .. } = balance;
            let colour = match state {
                TenantState::Active => GREEN,
                TenantState::Unauthorized => RED,
                _ => YELLOW,
            };
            let state = self.paint(colour, &format!("{:<12}", state.name()));
            let figures = format!("{accepted:>9}  {delivered:>9}  {queued:>7}  {dead_lettered:>4}");
            let _ = writeln!(out, "{tenant:<8} {state} {figures}  {last}");
        }
        let clock = format!("{:.0} s of about {} s; Ctrl-C ends it", at.as_secs_f64(), whole.as_secs());
        let _ = writeln!(out, "{}", self.paint(DIM, &clock));
        out.push_str("\x1b[?7h");
        put(&out);
        self.drawn = rows.len() + 3;
    }

    /// One thing that was checked, in green or red.
    pub(super) fn verdict(&mut self, holds: bool, words: &str) {
        let mark = if holds { self.paint(GREEN, "ok  ") } else { self.paint(RED, "FAIL") };
        self.note(&format!("{mark}  {words}"));
    }

    /// A heading.
    pub(super) fn head(&mut self, text: &str) {
        let text = self.paint(BOLD, text);
        self.note(&text);
    }

    /// Takes the table off the terminal.
    fn erased(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Writes to the standard output; whether anyone reads it does not change the outcome.
fn put(text: &str) {
    let mut out = stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Breaks a text into lines of at most so many characters, a longer word in a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("one two  three four", 9), ["one two", "three", "four"]);
        assert_eq!(wrap("incomprehensible", 5), ["incomprehensible"]);
        assert!(wrap("", 5).is_empty());
    }
}
