//! `dogsled run`.

use std::process::ExitCode;

/// The daemon
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn main(args: &Args) -> ExitCode {
    let _ = args;
    ExitCode::from(1)
}
