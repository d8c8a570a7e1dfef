//! `dogsled check`.

use super::journal::{describe_lost, to_json};
use super::{BAD_CONFIGURATION, complain};
use crate::journal::{Inspection, OpenError, inspect};
use crate::settings::Settings;
use serde_json::json;
use std::io::{self, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Validates the configuration and prints the effective one, secrets redacted; checks every record of the durable
/// queue, which it only reads
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file [default: /etc/dogsled/dogsled.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON instead of TOML; what was found of the journal is under "checked"
    #[arg(long)]
    json: bool,
}

/// Runs the command. Exit codes: 0 fine, 1 the journal is damaged or cannot be read or the output cannot be written,
/// 2 bad configuration.
pub fn main(args: &Args) -> ExitCode {
    let settings = match Settings::load(args.config.as_deref()) {
        Ok(settings) => settings,
        Err(error) => {
            error.problems().iter().for_each(complain);
            return BAD_CONFIGURATION.into();
        }
    };
    for warning in &settings.warnings {
        let _ = writeln!(stderr(), "warning: {warning}");
    }
    let dir = settings.journal_dir();
    let journal = verify(&dir);
    let text = if args.json {
        let mut json = settings.to_json();
        json["checked"] = json!({ "journal": journal.as_ref().ok().and_then(Option::as_ref).map(to_json) });
        format!("{json:#}\n")
    } else {
        // A comment: what is printed is a configuration.
        format!("{}\n# journal {}: {}\n", settings.to_toml(), dir.display(), describe(&journal))
    };
    let written = stdout().write_all(text.as_bytes()).is_ok();
    let sound = match journal {
        Ok(found) => found.is_none_or(|inspection| is_sound(&dir, &inspection)),
        Err(error) => {
            complain(error);
            false
        }
    };
    if written && sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Reads the journal; `None` if there is none yet.
fn verify(dir: &Path) -> Result<Option<Inspection>, OpenError> {
    match inspect(dir, true) {
        Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

fn describe(journal: &Result<Option<Inspection>, OpenError>) -> String {
    let inspection = match journal {
        Err(_) => return "cannot be read".into(),
        Ok(None) => return "none yet".into(),
        Ok(Some(inspection)) => inspection,
    };
    let (records, bytes) = (inspection.figures.records, inspection.figures.live_bytes);
    let mut text = format!(
        "{records} waiting records of {} lanes, {bytes} bytes of {}",
        inspection.lanes.len(),
        inspection.figures.bytes
    );
    if inspection.in_use {
        text += ", in use by a daemon";
    } else if inspection.torn_bytes > 0 {
        text += &format!(", {} bytes of writes that a crash cut short", inspection.torn_bytes);
    }
    text + if inspection.damaged.is_empty() { ", sound" } else { ", damaged" }
}

fn is_sound(dir: &Path, inspection: &Inspection) -> bool {
    for lost in &inspection.damaged {
        complain(format!(
            "{}: damaged: {}; the daemon copies it to quarantine/ and counts its items as dropped when it comes to it",
            dir.display(),
            describe_lost(lost)
        ));
    }
    inspection.damaged.is_empty()
}
