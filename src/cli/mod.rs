//! The command line: one file a subcommand.

mod admin;
mod check;
mod dead_letter;
mod demo;
mod exit;
mod fakeintake;
mod journal;
mod local;
mod run;
mod schema;
mod send;
mod status;
mod store;
mod tenant;
mod text;

use clap::{Parser, Subcommand};
use exit::{BAD_CONFIGURATION, complain};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
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
    Demo(demo::Args),
    Check(check::Args),
    Fakeintake(fakeintake::Args),
    Send(send::Args),
    Journal(journal::Args),
    DeadLetter(dead_letter::Args),
    Store(store::Args),
    Tenant(tenant::Args),
    Status(status::Args),
    Schema(schema::Args),
}

/// Parses and runs the command line. Exit codes: 0 fine, 1 failed, 2 bad usage or configuration.
pub fn main() -> ExitCode {
    // Memory holds keys, and a core dump would carry them to the disk.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        complain(format_args!("core dumps cannot be forbidden ({error}): a crash may write keys to the disk"));
    }
    match Cli::parse().command {
        Command::Run(args) => run::main(&args),
        Command::Demo(args) => demo::main(&args),
        Command::Check(args) => check::main(&args),
        Command::Fakeintake(args) => fakeintake::main(&args),
        Command::Send(args) => send::main(&args),
        Command::Journal(args) => journal::main(&args),
        Command::DeadLetter(args) => dead_letter::main(&args),
        Command::Store(args) => store::main(&args),
        Command::Tenant(args) => tenant::main(&args),
        Command::Status(args) => status::main(&args),
        Command::Schema(args) => schema::main(&args),
    }
}
