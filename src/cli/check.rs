//! `dogsled check`.

use std::process::ExitCode;

/// Validates the configuration and prints the effective one, secrets redacted
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn main(args: &Args) -> ExitCode {
    let _ = args;
    ExitCode::from(1)
}
