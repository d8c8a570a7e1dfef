//! `dogsled journal`.

use super::{BAD_CONFIGURATION, complain};
use crate::journal::{Backlog, Inspection, Lost, inspect};
use crate::settings::Settings;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

/// Read the durable queue offline, without changing it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show the queued records and their segments
    Inspect(Where),
    /// Read and check every record as well; exit with 1 if something is damaged
    Verify(Where),
}

#[derive(Debug, clap::Args)]
struct Where {
    /// The journal's directory, or the configuration file that says where it is [default:
    /// /etc/dogsled/dogsled.toml, if there is one]
    #[arg(value_name = "DIR|FILE")]
    path: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command. Exit codes: 0 fine, 1 damage was found or the journal cannot be read, 2 bad configuration.
pub fn main(args: &Args) -> ExitCode {
    let (place, verify) = match &args.what {
        What::Inspect(place) => (place, false),
        What::Verify(place) => (place, true),
    };
    let dir = match &place.path {
        Some(path) if path.is_dir() => path.clone(),
        config => match Settings::load(config.as_deref()) {
            Ok(settings) => settings.journal_dir(),
            Err(error) => {
                error.problems().iter().for_each(complain);
                return BAD_CONFIGURATION.into();
            }
        },
    };
    let inspection = match inspect(&dir, verify) {
        Ok(inspection) => inspection,
        Err(error) => {
            complain(error);
            return ExitCode::FAILURE;
        }
    };
    if inspection.in_use {
        complain("a running dogsled has this journal open: it was changing while it was read");
    }
    let out = if place.json { format!("{:#}\n", to_json(&inspection)) } else { to_text(&inspection, verify) };
    let written = stdout().write_all(out.as_bytes()).is_ok();
    if written && (!verify || inspection.damaged.is_empty()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What was found, for programs.
pub(super) fn to_json(inspection: &Inspection) -> Value {
    let segments = inspection.segments.iter().map(|segment| {
        json!({
            "file": segment.path, "first": segment.first, "records": segment.records, "live": segment.live,
            "bytes": segment.bytes, "live_bytes": segment.live_bytes, "closed": segment.closed,
        })
    });
    let lanes = inspection.lanes.iter().map(|(lane, Backlog { records, items, bytes, oldest })| {
        json!({ "lane": printable(lane), "records": records, "items": items, "bytes": bytes, "oldest_ms": oldest.0 })
    });
    let damaged = inspection.damaged.iter().map(|lost| {
        json!({
            "file": lost.file, "offset": lost.offset, "bytes": lost.bytes, "records": lost.records,
            "seq": lost.seq.map(|seq| seq.0), "lane": lost.lane.as_deref().map(printable), "items": lost.items,
        })
    });
    json!({
        "in_use": inspection.in_use,
        "records": inspection.figures.records,
        "bytes": inspection.figures.bytes,
        "live_bytes": inspection.figures.live_bytes,
        "torn_bytes": inspection.torn_bytes,
        "segments": segments.collect::<Vec<_>>(),
        "lanes": lanes.collect::<Vec<_>>(),
        "damaged": damaged.collect::<Vec<_>>(),
    })
}

fn to_text(inspection: &Inspection, verified: bool) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = describe(inspection, verified, &mut out);
    out
}

fn describe(inspection: &Inspection, verified: bool, out: &mut String) -> std::fmt::Result {
    let figures = inspection.figures;
    let segments = inspection.segments.len();
    writeln!(
        out,
        "{} waiting records, {} bytes of {} in {segments} segments",
        figures.records, figures.live_bytes, figures.bytes
    )?;
    for segment in &inspection.segments {
        let state = if segment.closed { "" } else { ", not closed" };
        let path = segment.path.display();
        writeln!(
            out,
            "  {path}: {} of {} records live, {} bytes{state}",
            segment.live, segment.records, segment.bytes
        )?;
    }
    if !inspection.lanes.is_empty() {
        writeln!(out, "waiting, by lane:")?;
    }
    for (lane, backlog) in &inspection.lanes {
        let Backlog { records, items, bytes, .. } = backlog;
        writeln!(out, "  {}: {items} items in {records} records, {bytes} bytes", printable(lane))?;
    }
    if inspection.torn_bytes > 0 {
        writeln!(out, "{} bytes at the end of a segment are an incomplete write of a crash", inspection.torn_bytes)?;
    }
    for lost in &inspection.damaged {
        writeln!(out, "damaged: {}", describe_lost(lost))?;
    }
    if verified && inspection.damaged.is_empty() {
        writeln!(out, "every record is sound")?;
    }
    Ok(())
}

/// What is damaged, for people.
pub(super) fn describe_lost(lost: &Lost) -> String {
    let mut text = format!("{}: {} bytes at {}", lost.file.display(), lost.bytes, lost.offset);
    if let Some(records) = lost.records {
        text += &format!(", {records} records");
    }
    if let Some(lane) = &lost.lane {
        text += &format!(", of {}", printable(lane));
    }
    if let Some(items) = lost.items {
        text += &format!(", {items} items");
    }
    text
}

/// A lane's key may be any bytes.
fn printable(lane: &[u8]) -> String {
    lane.escape_ascii().to_string()
}
