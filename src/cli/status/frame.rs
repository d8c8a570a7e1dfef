//! What one look shows, made for 80 columns. No I/O but to learn how the output is.

use super::rates::Rates;
use crate::api::{StatusView, TenantView};
use crate::cli::text::{can_colour, counted, cut, one_line, span};
use crate::tenancy::TenantState;
use std::io::{IsTerminal, stdout};

/// The most characters of a tenant's id, so that there is room for its error.
const ID: usize = 20;

/// Columns between those of the table.
const GAP: &str = "  ";

const BOLD: &str = "1";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

/// How it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Columns and lines of the terminal; none where there is no terminal, and nothing is cut.
    size: Option<(usize, usize)>,
    colour: bool,
}

/// One look.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) status: &'a StatusView,
    pub(super) rates: &'a Rates,
    /// Where the daemon is.
    pub(super) at: &'a str,
}

impl Style {
    /// As the standard output is.
    pub(super) fn of_output() -> Self {
        let terminal = stdout().is_terminal();
        let size = terminal_size::terminal_size()
            .map_or((80, 24), |(width, height)| (usize::from(width.0), usize::from(height.0)));
        Self { size: terminal.then_some(size), colour: can_colour() }
    }

    /// A text as wide as the terminal at most.
    pub(super) fn cut(self, text: &str) -> String {
        let text = one_line(text);
        self.size.map_or_else(|| text.clone(), |(width, _)| cut(&text, width))
    }

    /// As many lines as the terminal has, the last of them telling how many are missing.
    pub(super) fn fitted(self, mut lines: Vec<String>) -> Vec<String> {
        // The cursor stands below the last.
        let Some(room) = self.size.map(|(_, height)| height.saturating_sub(1)) else { return lines };
        if lines.len() > room && room > 0 {
            let missing = lines.len() - room + 1;
            lines.truncate(room - 1);
            lines.push(format!("… and {}", counted(missing as u64, "more line")));
        }
        lines
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Frame<'_> {
    /// The lines of it.
    pub(super) fn lines(&self, style: Style) -> Vec<String> {
        let mut lines = self.head(style);
        let mut tenants: Vec<&TenantView> = self.status.tenants.iter().collect();
        tenants.sort_by_key(|tenant| (urgency(tenant.state), tenant.id.as_str()));
        if tenants.is_empty() {
            lines.push("no tenants; add one with: dogsled tenant add".into());
            return lines;
        }
        lines.push(String::new());
        lines.extend(self.table(&tenants, style));
        let to_do = tenants.iter().filter_map(|tenant| {
            let to_do = tenant.to_do.as_deref()?;
            Some(format!("{}: {}", tenant.id, one_line(to_do)))
        });
        let to_do: Vec<_> = to_do.flat_map(|line| wrapped(&line, style)).collect();
        if !to_do.is_empty() {
            lines.extend([String::new(), style.paint(BOLD, "TO DO")]);
            lines.extend(to_do);
        }
        lines
    }

    fn head(&self, style: Style) -> Vec<String> {
        let StatusView { version, not_ready, store, oauth, queue, tenants } = self.status;
        let oldest = queue.oldest_seconds.map(|age| format!(", oldest {}", span(age as u64))).unwrap_or_default();
        let tenants = counted(tenants.len() as u64, "tenant");
        let queued = format!("{} queued{oldest}", counted(queue.items, "item"));
        let mut lines = vec![style.cut(&format!("dogsled {version} at {}: {tenants}, {queued}", self.at))];
        let place = &store.place;
        let troubles = [
            not_ready.as_ref().map(|why| format!("takes no telemetry: {why}")),
            store.error.as_ref().map(|why| format!("the store {place} cannot be used: {why}")),
            oauth.refused.as_ref().map(|why| format!("Datadog refuses the OAuth client: {why}")),
        ];
        for trouble in troubles.into_iter().flatten() {
            lines.extend(wrapped(&one_line(&trouble), style).iter().map(|line| style.paint(RED, line)));
        }
        lines
    }

    fn table(&self, tenants: &[&TenantView], style: Style) -> Vec<String> {
        let titles = ["TENANT", "STATE", "QUEUE", "OLDEST", "RATE/S", "KEY", "TOKEN", "LAST ERROR"].map(str::to_owned);
        let rows: Vec<_> = tenants.iter().map(|tenant| self.row(tenant)).collect();
        let width = |column: usize| {
            let cells = std::iter::once(&titles).chain(&rows).map(|row| row[column].chars().count());
            cells.max().unwrap_or_default()
        };
        let widths: [usize; 8] = std::array::from_fn(width);
        let line = |row: &[String; 8], colour: &str| {
            let mut left = style.size.map_or(usize::MAX, |(width, _)| width);
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let gap = if column == 0 { "" } else { GAP };
                let figure = (2..7).contains(&column);
                let wide = match (figure, column == 7) {
                    (true, _) => format!("{cell:>width$}", width = widths[column]),
                    (_, true) => cell.clone(),
                    _ => format!("{cell:<width$}", width = widths[column]),
                };
                let text = cut(&format!("{gap}{wide}"), left);
                left -= text.chars().count();
                // Titles are all of one colour, of other rows it is the state's.
                line += &if column == 1 || colour == BOLD { style.paint(colour, &text) } else { text };
            }
            line.trim_end().to_owned()
        };
        let lines = rows.iter().zip(tenants).map(|(row, tenant)| line(row, colour(tenant.state)));
        std::iter::once(line(&titles, BOLD)).chain(lines).collect()
    }

    fn row(&self, tenant: &TenantView) -> [String; 8] {
        let age = |seconds: Option<u64>| seconds.map_or_else(|| "-".to_owned(), span);
        let error = tenant.last_error.as_ref().map(|error| one_line(&error.message)).unwrap_or_default();
        [
            cut(&tenant.id, ID),
            tenant.state.name().to_owned(),
            short(tenant.queue.items as f64),
            age(tenant.queue.oldest_seconds.map(|seconds| seconds as u64)),
            self.rates.of(&tenant.id).map_or_else(|| "-".to_owned(), short),
            age(tenant.key.as_ref().and_then(|key| key.age_seconds)),
            age(tenant.tokens.as_ref().map(|tokens| tokens.age_seconds)),
            error,
        ]
    }
}

/// Those in trouble come first.
fn urgency(state: TenantState) -> u8 {
    match state {
        TenantState::Unauthorized => 0,
        TenantState::Retrying => 1,
        TenantState::Throttled => 2,
        TenantState::Paused => 3,
        TenantState::Pending => 4,
        TenantState::Active => 5,
    }
}

fn colour(state: TenantState) -> &'static str {
    match state {
        TenantState::Active => GREEN,
        TenantState::Unauthorized => RED,
        _ => YELLOW,
    }
}

/// A number in five characters.
fn short(number: f64) -> String {
    match number {
        ..0.05 => "0".into(),
        ..9.95 => format!("{number:.1}").trim_end_matches(".0").to_owned(),
        ..99_999.5 => format!("{number:.0}"),
        ..999_500.0 => format!("{:.0}k", number / 1e3),
        ..999.5e6 => format!("{:.0}M", number / 1e6),
        _ => format!("{:.0}G", number / 1e9),
    }
}

/// A text in lines as wide as the terminal, those after the first indented.
fn wrapped(text: &str, style: Style) -> Vec<String> {
    let Some((width, _)) = style.size else { return vec![text.to_owned()] };
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().map(|line| (line.chars().count(), line));
        match line {
            Some((0, line)) => line.push_str(word),
            Some((used, line)) if used + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("  {word}")),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const PLAIN: Style = Style { size: Some((80, 24)), colour: false };

    fn tenant(id: &str, state: &str, more: Value) -> Value {
        let mut tenant = json!({
            "id": id, "display_name": "", "site": "datadoghq.com", "source": "store", "state": state, "status": "fine",
            "paused": false, "queue": { "items": 0, "bytes": 0 }, "rate_limits": [], "limits": {}, "journal": {},
            "in_effect": { "limits": {}, "journal": {} },
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            tenant[key] = value.clone();
        }
        tenant
    }

    fn lines(tenants: &[Value], style: Style) -> Vec<String> {
        let status = json!({
            "version": "1.2.3", "store": { "place": "tenants.db", "open": true }, "oauth": { "configured": true },
            "tenants": tenants,
            "queue": { "items": 7, "bytes": 70, "oldest_seconds": 61.5, "held_items": 0 },
        });
        let status = serde_json::from_value(status).unwrap();
        Frame { status: &status, rates: &Rates::default(), at: "http://127.0.0.1:8283" }.lines(style)
    }

    fn troubled() -> Value {
        let words = "HTTP 403: Forbidden\u{1b}[2J, and much more that will not fit into the columns that are left";
        tenant(
            "globex",
            "unauthorized",
            json!({
                "queue": { "items": 123_456, "bytes": 1, "oldest_seconds": 7_200.0 },
                "key": { "origin": "oauth", "age_seconds": 260_000 }, "to_do": "ask the customer to connect again",
                "tokens": { "expires_at": "", "granted_at": "", "age_seconds": 90, "scopes": "" },
                "last_error": { "at": "", "endpoint": "", "message": words },
            }),
        )
    }

    #[test]
    fn tenants_in_trouble_come_first() {
        let lines = lines(&[tenant("acme", "active", json!({})), troubled()], PLAIN);
        assert_eq!(lines[0], "dogsled 1.2.3 at http://127.0.0.1:8283: 2 tenants, 7 items queued, oldest 1m");
        let columns = |line: &str| line.split_whitespace().take(7).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(columns(&lines[3]), ["globex", "unauthorized", "123k", "2h", "-", "3d", "1m"]);
        assert_eq!(columns(&lines[4]), ["acme", "active", "0", "-", "-", "-", "-"]);
        assert_eq!(lines.last().unwrap(), "globex: ask the customer to connect again");
    }

    #[test]
    fn lines_fit_the_width_and_escape_control_characters() {
        let long = tenant(&"x".repeat(100), "active", json!({}));
        for width in [20, 80, 200] {
            let style = Style { size: Some((width, 24)), colour: false };
            for line in lines(&[troubled(), long.clone()], style) {
                assert!(!line.contains('\u{1b}') && line.chars().count() <= width, "{width}: {line}");
            }
        }
        let whole = lines(&[troubled()], Style { size: None, colour: false });
        assert!(whole.iter().any(|line| line.ends_with("that are left")), "{whole:?}");
    }

    #[test]
    fn colours_change_nothing_else() {
        let coloured = lines(&[troubled()], Style { colour: true, ..PLAIN }).join("\n");
        assert!(coloured.contains("\u{1b}[31m"), "{coloured}");
        let bare = [BOLD, RED, "0"].iter().fold(coloured, |text, code| text.replace(&format!("\u{1b}[{code}m"), ""));
        assert_eq!(bare, lines(&[troubled()], PLAIN).join("\n"));
    }

    #[test]
    fn lines_beyond_the_height_are_counted() {
        let style = Style { size: Some((80, 4)), colour: false };
        let lines: Vec<_> = (0..10).map(|line| line.to_string()).collect();
        assert_eq!(style.fitted(lines), ["0", "1", "… and 8 more lines"]);
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.04, 0.5, 9.0, 9.96, 1234.4, 99_999.0, 123_456.0, 12_345_678.0, 5e9].map(short);
        assert_eq!(shown, ["0", "0", "0.5", "9", "10", "1234", "99999", "123k", "12M", "5G"]);
    }
}
