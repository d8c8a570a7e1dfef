//! The command line: one file a subcommand.

mod check;
mod intake;
mod run;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Carries the telemetry of many tenants to their own Datadog organisations.
#[derive(Debug, Parser)]
#[command(name = "dogsled", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Intake(intake::Args),
}

/// Parses the command line and does what it says. Exit codes: 0 fine, 1 failed, 2 bad usage or configuration.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::main(&args),
        Command::Check(args) => check::main(&args),
        Command::Intake(args) => intake::main(&args),
    }
}
