//! `dogsled demo`: shows in seconds, without a Datadog account, what the daemon is for.
//!
//! Everything in it is the real thing but Datadog: applications that post over HTTP, the daemon as `dogsled run` starts
//! it, and the stand-in of `dogsled fakeintake` with its OAuth server and its faults. They share one process, so that nothing can be left behind.
//! What the story claims is read from the ledger and from what the stand-in received.

mod audit;
mod connect;
mod item_id;
mod play;
mod screen;
mod script;
mod stage;
mod traffic;

use super::complain;
use play::Play;
use stage::{Stage, StageError};
use std::io;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Watch the daemon at work on loopback: three tenants connect, and meet 429s, revoked keys and more; needs no Datadog account
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long, in seconds
    #[arg(long, default_value_t = 15, value_name = "N", value_parser = clap::value_parser!(u64).range(5..=300))]
    seconds: u64,
}

/// Why there was no demonstration, or no end of it.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error("the runtime could not be started: {0}")]
    Runtime(#[from] io::Error),
    #[error("interrupted before the end, so nothing is proven")]
    Interrupted,
}

/// Plays. Exit codes: 0 everything arrived where it belongs, 1 something did not, or there was no demonstration.
pub fn main(args: &Args) -> ExitCode {
    match run(Duration::from_secs(args.seconds)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

fn run(whole: Duration) -> Result<bool, DemoError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let stage = Stage::open().await?;
        let fine = tokio::select! {
            fine = Play::new(&stage, whole).play() => fine.map_err(DemoError::Stage),
            _ = interrupt.recv() => Err(DemoError::Interrupted),
            _ = terminate.recv() => Err(DemoError::Interrupted),
            _ = hang_up.recv() => Err(DemoError::Interrupted),
        };
        stage.close().await;
        fine
    })
}
