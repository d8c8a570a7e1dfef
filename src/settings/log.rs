//! `[log]`

use super::form::{Choice, Text};
use super::key::section;
use super::problems::nearest;
use tracing_subscriber::filter::Targets;

section! {
    /// The daemon's own log.
    pub struct Log {
        /// error, warn, info, debug, trace or off; or directives such as "info,dogsled::deliver=debug".
        level: String = "info".into(), Text(level, String::clone, "info,dogsled::deliver=debug");
        /// auto (human on a terminal, JSON otherwise), human or json.
        format: LogFormat = LogFormat::Auto, Choice(FORMATS), restart;
    }
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// For reading.
    Human,
    /// One JSON object a line.
    Json,
}

const FORMATS: &[(&str, LogFormat)] =
    &[("auto", LogFormat::Auto), ("human", LogFormat::Human), ("json", LogFormat::Json)];

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

fn level(level: &str) -> Result<String, String> {
    if let Err(error) = level.parse::<Targets>() {
        return Err(format!("{level:?} is no level and no list of directives: {error}"));
    }
    // A lone word that is no level would be taken as the name of a module, and everything of it be logged.
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    match level.split(',').map(str::trim).find(|word| !is_level(word) && !word.contains(['=', ':', '['])) {
        None => Ok(level.to_owned()),
        Some(word) => Err(match nearest(word, LEVELS) {
            Some(near) => format!("{word:?} is no level; did you mean {near:?}?"),
            None => {
                let levels = LEVELS.join(", ");
                format!(
                    "{word:?} is no level; write one of {levels}, or directives such as info,dogsled::deliver=debug"
                )
            }
        }),
    }
}
