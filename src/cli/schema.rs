//! `dogsled schema`.

use super::complain;
use crate::settings::Settings;
use std::io::{Write, stdout};
use std::process::ExitCode;

/// Print the JSON Schema of the configuration file, for editors
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command. Exit codes: 0 fine, 1 the output cannot be written.
pub fn main(_: &Args) -> ExitCode {
    match writeln!(stdout(), "{:#}", Settings::schema()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}
