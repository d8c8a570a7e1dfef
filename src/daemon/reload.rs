//! Reading the configuration again, when SIGHUP or the admin API says so.

use super::logging::Levels;
use super::systemd;
use crate::admin::Reload;
use crate::api::{DifferenceView, ReloadedView};
use crate::control::Control;
use crate::deliver::Soon;
use crate::ingest::{Handler, dogstatsd};
use crate::settings::{Plan, Settings, SettingsError};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

/// How often the files of secrets are looked at.
const SECRETS_PACE: Duration = Duration::from_secs(2);

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
        self.apply(plan, warnings).await
    }

    async fn apply(&self, plan: Plan, warnings: Vec<String>) -> Result<ReloadedView, NotReloaded> {
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

impl Reloader {
    /// Reads secrets again when their files change, and those of tenants whose key Datadog refuses. The configuration file itself
    /// is read again only when somebody says so. Never ends.
    pub async fn follow_secret_files(&self) {
        let mut look = tokio::time::interval(SECRETS_PACE);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen: BTreeMap<PathBuf, Option<Version>> = BTreeMap::new();
        loop {
            look.tick().await;
            let settings = self.control.settings();
            let files: BTreeSet<PathBuf> = settings.secret_files.values().cloned().collect();
            let Ok(found) = tokio::task::spawn_blocking(|| versions(files)).await else { continue };
            let is_new = |(file, version): &(&PathBuf, &Option<Version>)| seen.get(*file) != Some(*version);
            let changed: BTreeSet<PathBuf> = found.iter().filter(is_new).map(|(file, _)| file.clone()).collect();
            let refused = self.control.refused_key_files();
            if !changed.is_empty() || !refused.is_empty() {
                self.read_secrets_again(changed, refused).await;
            }
            seen = found;
        }
    }

    async fn read_secrets_again(&self, changed: BTreeSet<PathBuf>, refused: BTreeSet<PathBuf>) {
        let _turn = self.turn.lock().await;
        let running = self.control.settings();
        let again = tokio::task::spawn_blocking({
            let (running, changed) = (running.clone(), changed.clone());
            move || running.read_again(|file| changed.contains(file) || refused.contains(file))
        });
        let Ok((settings, problems)) = again.await else { return };
        // Once a change: a key that is refused has its file read again and again.
        if !changed.is_empty() {
            for problem in problems {
                error!("a file of secrets has changed, and the secret before stays in force: {problem}");
            }
        }
        let Ok(plan) = running.plan(&settings) else { return };
        if plan.changed.is_empty() {
            return;
        }
        match self.apply(plan, Vec::new()).await {
            Ok(reloaded) => {
                for DifferenceView { key, .. } in reloaded.changed {
                    info!(key, "read again from its file");
                }
            }
            Err(error) => error.reasons().iter().for_each(|reason| error!("{reason}")),
        }
    }
}

/// What tells one version of a file from another: device, file, length, and the times of its last changes.
type Version = (u64, u64, u64, (i64, i64), (i64, i64));

/// The versions of files; none of a file that cannot be looked at.
fn versions(files: BTreeSet<PathBuf>) -> BTreeMap<PathBuf, Option<Version>> {
    let version = |file: &Path| {
        let found = std::fs::metadata(file).ok()?;
        let (modified, changed) = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
        Some((found.dev(), found.ino(), found.len(), modified, changed))
    };
    files.into_iter().map(|file| (file.clone(), version(&file))).collect()
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
