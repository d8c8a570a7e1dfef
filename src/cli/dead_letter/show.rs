//! `dogsled dead-letter show`.

use super::{Failure, Place, Unreadable, Which, counted, head, printable, say, time, warn_unreadable};
use crate::deliver::{Content, Letter, Lines};
use crate::wire;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IsTerminal, Write, stdout};
use std::ops::Range;

/// Where the letters to show are.
#[derive(Debug, Default)]
struct Found {
    latest: VecDeque<(u64, Range<u64>)>,
    older: u64,
    unreadable: Vec<Unreadable>,
}

pub(super) fn run(place: &Place, which: &Which, limit: usize) -> Result<(), Failure> {
    let Some(mut lines) = place.letters.read(&which.tenant).map_err(Failure::Read)? else {
        if place.json {
            let mut report = head(place, &which.tenant);
            report["letters"] = json!([]);
            report["older"] = 0.into();
            report["unreadable"] = json!([]);
            return say(report);
        }
        return say(format_args!("no dead letters of {}", which.words()));
    };
    let found = find(&mut lines, which, limit).map_err(Failure::Read)?;
    if place.json { show_json(place, which, lines, &found) } else { show(place, which, lines, &found) }
}

/// Finds the latest letters, which are the last.
fn find(lines: &mut Lines<File>, which: &Which, limit: usize) -> io::Result<Found> {
    let mut found = Found::default();
    while let Some(line) = lines.read()? {
        match line.content {
            Content::Letter(letter) if which.wants(letter.kind) => {
                found.latest.push_back((line.number, line.range));
                if limit > 0 && found.latest.len() > limit {
                    found.latest.pop_front();
                    found.older += 1;
                }
            }
            Content::Letter(_) | Content::Replayed => {}
            Content::Unreadable(why) => found.unreadable.push(Unreadable { line: line.number, why }),
        }
    }
    Ok(found)
}

/// Calls with each letter found. One that has been replayed since is passed over.
fn each(
    mut lines: Lines<File>,
    found: &Found,
    mut show: impl FnMut(u64, &Letter<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for (number, range) in &found.latest {
        let line = lines.again(*number, range.clone()).map_err(Failure::Read)?;
        if let Content::Letter(letter) = &line.content {
            show(*number, letter)?;
        }
    }
    Ok(())
}

/// One document, written as it is read: there may be much of it.
fn show_json(place: &Place, which: &Which, lines: Lines<File>, found: &Found) -> Result<(), Failure> {
    #[derive(serde::Serialize)]
    struct Row<'a> {
        line: u64,
        #[serde(flatten)]
        letter: &'a Letter<'a>,
    }
    let Value::Object(mut report) = head(place, &which.tenant) else { return Ok(()) };
    report.insert("older".into(), found.older.into());
    report.insert("unreadable".into(), json!(found.unreadable));
    let report = Value::Object(report).to_string();
    let mut out = stdout().lock();
    let mut write = |text: &str| out.write_all(text.as_bytes()).map_err(Failure::Output);
    write(report.strip_suffix('}').unwrap_or(&report))?;
    write(",\"letters\":[")?;
    let mut separator = "";
    each(lines, found, |line, letter| {
        let row = serde_json::to_string(&Row { line, letter }).map_err(|error| Failure::Output(error.into()))?;
        write(std::mem::replace(&mut separator, ","))?;
        write(&row)
    })?;
    write("]}\n")
}

fn show(place: &Place, which: &Which, lines: Lines<File>, found: &Found) -> Result<(), Failure> {
    warn_unreadable(place, &which.tenant, &found.unreadable);
    if found.latest.is_empty() {
        return say(format_args!("no dead letters of {}", which.words()));
    }
    let pretty = stdout().is_terminal();
    if found.older > 0 {
        say(format_args!("{} not shown: give --limit\n", counted(found.older, "older letter")))?;
    }
    each(lines, found, |line, letter| {
        let Letter { refused_at, accepted_at, kind, items, status, reason, .. } = letter;
        let items = counted(u64::from(*items), "item");
        let (refused, accepted) = (time(*refused_at), time(*accepted_at));
        say(format_args!("line {line}: {kind}, {items}, accepted {accepted}, refused {refused}"))?;
        say(refusal(*status, reason))?;
        for item in texts(letter, pretty) {
            say(printable(&item))?;
        }
        say("")
    })
}

/// Why items were refused, in words.
fn refusal(status: Option<u16>, reason: &str) -> String {
    match status {
        Some(status) => format!("HTTP {status}: {}", printable(reason)),
        None => format!("not sent: {}", printable(reason)),
    }
}

/// The items as they are shown.
fn texts(letter: &Letter<'_>, pretty: bool) -> Vec<String> {
    let Some(body) = letter.json() else {
        let bytes = letter.plain().map_or(0, |plain| plain.len());
        return vec![format!("({bytes} bytes that are no JSON; --json shows them in base64)")];
    };
    let body = body.get();
    let kind = letter.kind;
    let run = body.strip_prefix(as_text(kind.prefix())).and_then(|rest| rest.strip_suffix(as_text(kind.suffix())));
    let Some(run) = run else { return vec![body.to_owned()] };
    let text = |range: Range<usize>| {
        let item = run.get(range).unwrap_or_default();
        // Read into a tree, so this may write numbers in another way: for people only.
        let tree = pretty.then(|| serde_json::from_str::<Value>(item).ok()).flatten();
        tree.map_or_else(|| item.to_owned(), |tree| format!("{tree:#}"))
    };
    wire::boundaries(kind, run.as_bytes()).into_iter().map(text).collect()
}

/// Everything around the items is ASCII.
fn as_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
