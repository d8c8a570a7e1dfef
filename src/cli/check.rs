//! `dogsled check`.

use crate::settings::Settings;
use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

/// Validates the configuration and prints the effective one, secrets redacted
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file [default: /etc/dogsled/dogsled.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON instead of TOML
    #[arg(long)]
    json: bool,
}

/// Runs the command. Exit codes: 0 fine, 1 the output cannot be written, 2 bad configuration.
pub fn main(args: &Args) -> ExitCode {
    match Settings::load(args.config.as_deref()) {
        Ok(settings) => {
            for warning in &settings.warnings {
                let _ = writeln!(stderr(), "warning: {warning}");
            }
            let text = if args.json { format!("{:#}\n", settings.to_json()) } else { settings.to_toml() };
            match stdout().write_all(text.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            for problem in error.problems() {
                let _ = writeln!(stderr(), "error: {problem}");
            }
            ExitCode::from(2)
        }
    }
}
