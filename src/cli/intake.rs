//! `dogsled intake`.

use std::process::ExitCode;

/// A stand-in for Datadog, for development and tests
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn main(args: &Args) -> ExitCode {
    let _ = args;
    ExitCode::from(1)
}
