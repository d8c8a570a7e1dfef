//! What systemd is told: ready, stopping, and alive as long as the runtime turns.

use sd_notify::NotifyState;
use std::time::Duration;

/// Tells the service manager, if there is one, that the daemon takes telemetry, and keeps its watchdog fed from a task
/// of the runtime: should the runtime hang, systemd restarts the daemon.
pub fn ready() {
    // Without a service manager there is no socket to tell, which is no error.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    if let Some(period) = sd_notify::watchdog_enabled() {
        tokio::spawn(feed(period / 2));
    }
}

/// Tells that the configuration is being read again.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
    }
}

/// Tells that this is over. The service manager knows no failure of it, so that `status` says what is to be known.
pub fn reloaded(status: &str) {
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells that the daemon is ending.
pub fn stopping() {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}

async fn feed(every: Duration) {
    let mut turn = tokio::time::interval(every.max(Duration::from_millis(100)));
    loop {
        turn.tick().await;
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
    }
}
