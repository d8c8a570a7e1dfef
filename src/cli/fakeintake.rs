//! `dogsled fakeintake`.

use crate::fakeintake::{FakeIntake, Options};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// A stand-in for Datadog, for development and tests
#[derive(Debug, clap::Args)]
#[command(
    after_help = "While it runs, `curl http://127.0.0.1:8290/` tells how to see what arrived and how to make it fail."
)]
pub struct Args {
    /// The address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8290", value_name = "ADDR")]
    listen: String,

    /// The API keys that are good, or `any` for all that have the form of one
    #[arg(long, default_value = "any", value_delimiter = ',', value_name = "KEYS")]
    keys: Vec<String>,

    /// Count what arrives, but keep no items to look at
    #[arg(long)]
    no_record: bool,

    /// Say nothing of faults and refusals
    #[arg(long)]
    quiet: bool,
}

pub fn main(args: &Args) -> ExitCode {
    let level = if args.quiet { tracing::Level::ERROR } else { tracing::Level::INFO };
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_max_level(level)
        .with_target(false)
        .compact()
        .init();
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            super::complain(format_args!("{}: {error}", args.listen));
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &Args) -> io::Result<()> {
    let any_key = args.keys.iter().any(|key| key == "any");
    let keys = args.keys.iter().filter(|key| *key != "any").cloned().collect();
    let defaults = Options::default();
    let record_bytes = defaults.record_bytes.filter(|_| !args.no_record);
    let fakeintake = FakeIntake::bind(&args.listen, Options { keys, any_key, record_bytes, ..defaults })?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on http://{}", fakeintake.addr())?;
    stdout.flush()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let told = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        fakeintake.serve(told).await
    })
}
