//! The systemd unit is one that systemd takes, and is as closed as promised. Needs `systemd-analyze`; without it these
//! tests say so and pass.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Ten times the highest exposure that `systemd-analyze security` may find.
const HIGHEST_EXPOSURE: &str = "19";

fn unit() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/dogsled.service");
    std::fs::read_to_string(path).unwrap()
}

/// A copy of the unit whose program exists here.
fn unit_copy(dir: &tempfile::TempDir) -> PathBuf {
    let path = dir.path().join("dogsled.service");
    let text = unit();
    assert!(text.contains("ExecStart=/usr/bin/dogsled run\n"), "the unit runs the installed program");
    std::fs::write(&path, text.replace("/usr/bin/dogsled", env!("CARGO_BIN_EXE_dogsled"))).unwrap();
    path
}

/// Runs `systemd-analyze` on a unit; nothing when it is not installed.
fn analyze(arguments: &[&str], unit: &Path) -> Option<(bool, String)> {
    match Command::new("systemd-analyze").args(arguments).arg(unit).output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
        }
        Err(error) => {
            eprintln!("SKIPPED: systemd-analyze cannot be run here ({error})");
            None
        }
    }
}

#[test]
fn the_unit_is_one_that_systemd_takes() {
    let dir = tempfile::tempdir().unwrap();
    let Some((fine, text)) = analyze(&["--man=no", "verify"], &unit_copy(&dir)) else { return };
    assert!(fine, "{text}");
    // Unknown settings are only warned of. What older versions do not know, and may ignore, the unit says.
    let told: Vec<_> = text.lines().filter(|line| line.contains("dogsled.service")).collect();
    let expected = |line: &str| line.ends_with("Failed to parse service type, ignoring: notify-reload");
    assert!(told.iter().all(|line| expected(line)), "{text}");
    assert!(unit().contains("\nType=notify\nType=notify-reload\n"), "the older type is what is left then");
    assert!(unit().contains("\nExecReload=kill -HUP $MAINPID\n"), "which does not send the signal by itself");
}

#[test]
fn the_unit_is_hardened_to_an_exposure_below_two() {
    let dir = tempfile::tempdir().unwrap();
    let threshold = format!("--threshold={HIGHEST_EXPOSURE}");
    let arguments = ["--no-pager", "security", "--offline=true", &threshold];
    let Some((fine, text)) = analyze(&arguments, &unit_copy(&dir)) else { return };
    assert!(fine, "{text}");
}

#[test]
fn the_unit_allows_no_core_dumps() {
    assert!(unit().lines().any(|line| line == "LimitCORE=0"));
}

#[test]
fn systemd_waits_longer_than_the_daemon_takes_to_end() {
    let timeout = unit().lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.strip_suffix('s')?.parse().ok());
    let settings = dogsled::settings::Settings::default();
    let takes = settings.shutdown.accept + settings.shutdown.grace + settings.delivery.timeout;
    assert!(std::time::Duration::from_secs(timeout.unwrap()) > takes);
}
