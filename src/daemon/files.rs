//! The limit on open files, which bounds the connections that the daemon can serve.

use crate::settings::Settings;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// Files besides connections: listeners, the journal, dead letters, what the runtime uses.
const OTHERS: u64 = 128;

/// Raises the limit on open files to what the system allows, if the configuration can need more than it is, and says
/// so where that is not enough. Soft limits are low for the sake of programs that use `select`
/// (systemd.exec, `LimitNOFILE`).
pub(super) fn raise_limit(settings: &Settings) {
    let connections = settings.ingest.max_connections.saturating_add(settings.delivery.concurrency.saturating_mul(2));
    let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
    match raise(needed) {
        Ok((before, now)) if now >= needed => {
            if now > before {
                info!(before, now, "the limit on open files was raised");
            }
        }
        Ok((_, limit)) => warn!(
            limit,
            needed,
            "fewer files may be open than ingest.max_connections = {} can need: raise the limit (LimitNOFILE in the \
             systemd unit, ulimit -n in a shell) or lower ingest.max_connections",
            settings.ingest.max_connections
        ),
        Err(error) => warn!(%error, needed, "the limit on open files is not known"),
    }
}

/// The limit before and after.
fn raise(needed: u64) -> std::io::Result<(u64, u64)> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // No number is no limit.
    let (soft, hard) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
    if soft >= needed || soft >= hard {
        return Ok((soft, soft));
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok((soft, hard))
}
