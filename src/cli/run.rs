//! `dogsled run`.

use super::{BAD_CONFIGURATION, complain};
use crate::daemon::logging::Levels;
use crate::daemon::{Daemon, logging, systemd};
use crate::metric::Recorder;
use crate::settings::Settings;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

/// Run the daemon
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file [default: /etc/dogsled/dogsled.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How long blocking threads may go on after the end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs the daemon until SIGTERM or SIGINT; a second one ends it at once. SIGHUP reloads the configuration. Exit codes:
/// 0 orderly shutdown, 1 failed, 2 bad configuration.
pub fn main(args: &Args) -> ExitCode {
    let settings = match Settings::load(args.config.as_deref()) {
        Ok(settings) => settings,
        Err(error) => {
            error.problems().iter().for_each(complain);
            return BAD_CONFIGURATION.into();
        }
    };
    let recorder = match Recorder::install() {
        Ok(recorder) => recorder,
        Err(error) => {
            complain(format_args!("metrics: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let log = match logging::init(&settings.log) {
        Ok(log) => log,
        Err(error) => {
            complain(error);
            return BAD_CONFIGURATION.into();
        }
    };
    for warning in &settings.warnings {
        warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!("the runtime could not be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run(settings, args.config.clone(), log.levels.clone(), recorder));
    // A disk that hangs must not keep the process.
    runtime.shutdown_timeout(PATIENCE);
    code
}

async fn run(settings: Settings, config: Option<PathBuf>, levels: Levels, recorder: Recorder) -> ExitCode {
    info!(version = env!("CARGO_PKG_VERSION"), tenants = settings.tenants.len(), "starting");
    // From here on none of them ends the process by itself.
    let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = signals else {
        error!("signals cannot be received: {:?}", signals.map(Result::err));
        return ExitCode::FAILURE;
    };
    let daemon = match Daemon::start(&settings, recorder).await {
        Ok(daemon) => daemon,
        Err(error) => {
            error!("{error}");
            return ExitCode::FAILURE;
        }
    };
    // The daemon has copies of its own, which a reload replaces.
    drop(settings);
    let reloader = daemon.reloader(config, levels);
    systemd::ready();
    let reloading = tokio::spawn(async move {
        let asked = async {
            while hangup.recv().await.is_some() {
                // Errors are in the log.
                let _ = reloader.reload().await;
            }
        };
        tokio::join!(asked, reloader.follow_secret_files());
    });
    let (count, signals) = watch::channel(0);
    let counting = tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            count.send_modify(|count| *count += 1);
        }
    });
    let nth = |wanted: u32| {
        let mut signals = signals.clone();
        async move {
            // The counting ends after this.
            let _ = signals.wait_for(|count| *count >= wanted).await;
        }
    };
    let first = async {
        nth(1).await;
        reloading.abort();
        systemd::stopping();
    };
    daemon.run(first, nth(2)).await;
    counting.abort();
    ExitCode::SUCCESS
}
