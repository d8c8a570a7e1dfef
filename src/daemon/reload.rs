//! Reading the configuration again, when SIGHUP or the admin API says so.

use super::logging::Levels;
use super::systemd;
use crate::admin::Reload;
use crate::api::{DifferenceView, ReloadedView};
use crate::control::Control;
use crate::deliver::Soon;
use crate::ingest::{Handler, dogstatsd};
use crate::settings::{Plan, Settings, SettingsError};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Mutex;
use tracing::{error, info, warn};

/// Reads the configuration again, and puts in force what can be.
#[derive(Debug)]
pub struct Reloader {
    config: Option<PathBuf>,
    levels: Levels,
    control: Arc<Control>,
    ingest: Arc<Handler>,
    dogstatsd: Arc<dogstatsd::Hub>,
    /// One after the other.
    turn: Mutex<()>,
}

/// Why the configuration that was in force stays.
#[derive(Debug, thiserror::Error)]
enum NotReloaded {
    #[error(transparent)]
    Configuration(#[from] SettingsError),
    #[error("{0}")]
    Other(String),
}

impl NotReloaded {
    fn reasons(&self) -> Vec<String> {
        match self {
            Self::Configuration(error) => error.problems().iter().map(ToString::to_string).collect(),
            Self::Other(why) => vec![why.clone()],
        }
    }
}

impl Reloader {
    pub(super) fn new(
        config: Option<PathBuf>,
        levels: Levels,
        control: Arc<Control>,
        ingest: Arc<Handler>,
        dogstatsd: Arc<dogstatsd::Hub>,
    ) -> Self {
        Self { config, levels, control, ingest, dogstatsd, turn: Mutex::default() }
    }

    /// Reads the configuration again and puts in force what can be; says in the log what that is, and what waits for a
    /// restart.
    ///
    /// # Errors
    /// Everything that is wrong with it. Nothing has changed then.
    pub async fn reload(&self) -> Result<ReloadedView, Vec<String>> {
        let _turn = self.turn.lock().await;
        systemd::reloading();
        let outcome = self.try_reload().await.map_err(|error| error.reasons());
        match &outcome {
            Ok(reloaded) => {
                systemd::reloaded("");
                tell(reloaded);
            }
            Err(reasons) => {
                systemd::reloaded("the configuration was not reloaded, see the log; the one before stays in force");
                for reason in reasons {
                    error!("the configuration is not reloaded, and the one before stays in force: {reason}");
                }
            }
        }
        outcome
    }

    async fn try_reload(&self) -> Result<ReloadedView, NotReloaded> {
        let (config, running) = (self.config.clone(), self.control.settings());
        let read = move || {
            let wanted = Settings::load(config.as_deref())?;
            Ok::<_, SettingsError>((running.plan(&wanted)?, wanted.warnings))
        };
        let read = tokio::task::spawn_blocking(read).await;
        let (plan, warnings) = read.map_err(|panic| NotReloaded::Other(panic.to_string()))??;
        let Plan { settings, changed, needs_restart } = plan;
        // Both were checked when the configuration was read, so that neither changes without the other.
        self.ingest.reload(&settings).map_err(|error| NotReloaded::Other(error.to_string()))?;
        self.levels.set(&settings.log.level).map_err(|error| NotReloaded::Other(error.to_string()))?;
        self.dogstatsd.reload(&settings);
        let notes = self.control.reload(settings).await;
        let view = |differences: Vec<_>| differences.into_iter().map(DifferenceView::from).collect();
        Ok(ReloadedView { changed: view(changed), needs_restart: view(needs_restart), warnings, notes })
    }
}

impl Reload for Reloader {
    fn reload(&self) -> Soon<'_, Result<ReloadedView, Vec<String>>> {
        Box::pin(self.reload())
    }
}

fn tell(reloaded: &ReloadedView) {
    let ReloadedView { changed, needs_restart, warnings, notes: _ } = reloaded;
    for warning in warnings {
        warn!("{warning}");
    }
    for DifferenceView { key, from, to } in changed {
        info!(key, from, to, "reloaded");
    }
    for DifferenceView { key, from, to } in needs_restart {
        warn!(key, from, to, "comes into force with a restart only");
    }
    info!(changed = changed.len(), needs_restart = needs_restart.len(), "the configuration was reloaded");
}
