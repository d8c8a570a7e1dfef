//! `dogsled dead-letter`: items that Datadog refused for good, in the files that the daemon keeps.

mod list;
mod purge;
mod replay;
mod show;

use super::text::{counted, printable};
use super::{BAD_CONFIGURATION, complain};
use crate::deliver::{DeadLetters, RewriteError};
use crate::settings::{Settings, parse_duration};
use crate::types::{Kind, TenantId, UnixMillis};
use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::{Value, json};
use std::io::{self, Write, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Look at items that Datadog refused for good, send them again, remove them
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// The daemon's configuration file [default: /etc/dogsled/dogsled.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Count dead letters by tenant and kind, with the latest reason
    List,
    /// Show a tenant's dead letters: when and why they were refused, and their items
    Show {
        #[command(flatten)]
        which: Which,
        /// Show the latest N; 0 for all
        #[arg(long, default_value_t = 10, value_name = "N")]
        limit: usize,
    },
    /// Send a tenant's dead letters again through the running daemon
    ///
    /// A letter leaves the file when the daemon has taken its items (HTTP 202). Items that Datadog refuses again become a
    /// new dead letter. If this command or the daemon is killed half-way, the letter in flight may be sent twice, and none is
    /// lost.
    Replay {
        #[command(flatten)]
        which: Which,
        /// Send letters that were accepted for an earlier tenant of that id, or for another organisation, to the present one too
        #[arg(long)]
        to_present_organisation: bool,
        /// How long to wait for a daemon that takes nothing at present (429, 503), such as 10s or 5m
        #[arg(long, default_value = "1m", value_parser = parse_duration, value_name = "TIME")]
        timeout: Duration,
    },
    /// Remove a tenant's dead letters for good
    Purge {
        #[command(flatten)]
        which: Which,
        /// Only letters refused longer ago than this, such as 12h or 30d
        #[arg(long, value_parser = parse_duration, value_name = "AGE")]
        before: Option<Duration>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// The letters to act on.
#[derive(Debug, clap::Args)]
struct Which {
    /// The tenant
    #[arg(long, value_parser = TenantId::new)]
    tenant: TenantId,
    /// Only letters of this kind
    #[arg(long, value_parser = kinds())]
    kind: Option<Kind>,
}

impl Which {
    fn wants(&self, kind: Kind) -> bool {
        self.kind.is_none_or(|wanted| wanted == kind)
    }

    /// "tenant acme" or "kind logs of tenant acme".
    fn words(&self) -> String {
        match self.kind {
            Some(kind) => format!("kind {kind} of tenant {}", self.tenant),
            None => format!("tenant {}", self.tenant),
        }
    }
}

fn kinds() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::name))
        .try_map(|name| Kind::from_name(&name).ok_or("not a kind of telemetry"))
}

/// What all actions share.
struct Place {
    settings: Settings,
    letters: DeadLetters,
    json: bool,
}

/// Why an action failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}{hint}", hint = hint(.0))]
    Read(io::Error),
    #[error("{0}{hint}", hint = match .0 { RewriteError::Io { source, .. } => hint(source), _ => "" })]
    Change(#[from] RewriteError),
    #[error("the output cannot be written: {0}")]
    Output(io::Error),
    #[error(
        "there is no terminal to ask at: give --yes to remove {letters} of {which} for good",
        letters = counted(*.letters, "letter")
    )]
    Unasked { letters: u64, which: String },
    #[error(transparent)]
    Replay(#[from] replay::Failure),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Unasked { .. } => ExitCode::from(BAD_CONFIGURATION),
            Self::Replay(failure) if failure.is_configuration() => ExitCode::from(BAD_CONFIGURATION),
            _ => ExitCode::FAILURE,
        }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run this as the user that runs the daemon, or as root",
        _ => "",
    }
}

/// Runs an action. Exit codes: 0 fine, 1 failed or not all letters replayed, 2 bad usage or configuration.
pub fn main(args: &Args) -> ExitCode {
    let settings = match Settings::load(args.config.as_deref()) {
        Ok(settings) => settings,
        Err(error) => {
            error.problems().iter().for_each(complain);
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let letters = DeadLetters::new(&settings.state.dir);
    let place = Place { settings, letters, json: args.json };
    let done = match &args.action {
        Action::List => list::run(&place).map(|()| true),
        Action::Show { which, limit } => show::run(&place, which, *limit).map(|()| true),
        Action::Replay { which, to_present_organisation, timeout } => {
            replay::run(&place, which, *to_present_organisation, *timeout)
        }
        Action::Purge { which, before, yes } => {
            let cutoff = before.map(|age| UnixMillis::now().minus(age));
            purge::run(&place, which, cutoff, *yes)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            if place.json {
                // Of what is written before this, nothing is a whole document.
                let _ = say(json!({ "error": failure.to_string() }));
            } else {
                complain(&failure);
            }
            failure.exit_code()
        }
    }
}

/// Writes a line to standard output.
fn say(line: impl std::fmt::Display) -> Result<(), Failure> {
    writeln!(stdout(), "{line}").map_err(Failure::Output)
}

/// Writes a warning to standard error.
fn warn(line: impl std::fmt::Display) {
    let _ = writeln!(stderr(), "warning: {line}");
}

/// Reports lines that are no letters.
fn warn_unreadable(place: &Place, tenant: &TenantId, unreadable: &[Unreadable]) {
    for Unreadable { line, why } in unreadable {
        let path = place.letters.path(tenant);
        warn(format_args!("{} line {line} cannot be read, and stays: {}", path.display(), printable(why)));
    }
}

/// A line that is no letter.
#[derive(Debug, serde::Serialize)]
struct Unreadable {
    line: u64,
    why: String,
}

/// A time as people read it.
fn time(millis: i64) -> String {
    jiff::Timestamp::from_second(millis.div_euclid(1000)).map_or_else(|_| millis.to_string(), |time| time.to_string())
}

/// The keys that every report on a tenant begins with.
fn head(place: &Place, tenant: &TenantId) -> Value {
    json!({ "tenant": tenant.as_str(), "file": place.letters.path(tenant) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_and_beyond_the_calendar_are_shown() {
        assert_eq!(time(1_700_000_000_999), "2023-11-14T22:13:20Z");
        assert_eq!(time(-1), "1969-12-31T23:59:59Z");
        assert_eq!(time(i64::MAX), i64::MAX.to_string());
    }
}
