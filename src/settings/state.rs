//! `[state]`

use super::form::Text;
use super::key::section;
use std::path::PathBuf;

const DIR: &str = "/var/lib/dogsled";

section! {
    /// What the daemon must not lose.
    pub struct State {
        /// The state directory, mode 0700.
        dir: PathBuf = DIR.into(), Text(dir, |dir| dir.display().to_string(), "/srv/dogsled"), restart;
    }
}

fn dir(text: &str) -> Result<PathBuf, String> {
    Ok(if text.is_empty() { DIR } else { text }.into())
}
