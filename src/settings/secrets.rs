//! Secrets: what they must look like, and the files that hold them.

use super::form::{Form, hidden, texts};
use super::problems::Problems;
use crate::types::Secret;
use config::ValueKind;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The most that a secret file may hold, in bytes: room for thousands of tokens, and little enough to read at once.
const MAX_FILE: u64 = 1 << 20;

/// Digits of a Datadog API key and of an ingest token.
const HEX_DIGITS: usize = 32;

/// Warns when the configuration file itself, which holds the secret of a key, can be read by every user of the machine.
pub(super) fn warn_if_open(key: &str, path: &Path, mode: u32, problems: &mut Problems) {
    if mode & 0o004 != 0 {
        let path = path.display();
        problems.warning(key, format!("{path} holds a secret and every user can read it: chmod o-r {path}"));
    }
}

/// What the mode of a file with a secret means: an error for one that other users can read or change, or a warning. The
/// group may read: systemd and Kubernetes hand secrets to a service so.
fn judge(mode: u32, in_memory: bool) -> Result<Option<&'static str>, &'static str> {
    match mode & 0o777 {
        mode if mode & 0o022 != 0 => {
            Err("can be changed by other users: chmod go-w it, and replace the secret if one may have")
        }
        mode if mode & 0o004 == 0 => Ok(None),
        // Container runtimes provide secrets in file systems of their own, readable by all of the container.
        _ if in_memory => {
            Ok(Some("can be read by every user of the container (for Kubernetes, set defaultMode: 0440)"))
        }
        _ => Err("can be read by every user: chmod o-r it, and replace the secret if one may have"),
    }
}

/// Whether a file is of a file system that is in memory only.
fn is_in_memory(file: &File) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    rustix::fs::fstatfs(file).is_ok_and(|system| [TMPFS, RAMFS].contains(&(system.f_type as u64)))
}

/// Whether a text has the form of a Datadog API key or an ingest token.
pub(super) fn is_hex_key(text: &str) -> bool {
    text.len() == HEX_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a text has the form of a master key, in hexadecimal or base64, rather than that of a path.
pub(super) fn looks_like_master_key(text: &str) -> bool {
    (43..=64).contains(&text.len())
        && !text.starts_with(['/', '.'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=-_".contains(&b))
}

/// The trimmed text of a file, and a warning about its mode.
///
/// # Errors
/// When it cannot be read, is empty, or is open to other users.
pub(super) fn read(path: &Path) -> Result<(String, Option<&'static str>), String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    let in_memory = is_in_memory(&file);
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let warning = judge(mode, in_memory).map_err(|why| format!("{why} (mode {:o})", mode & 0o777))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err("is too large to be a file of secrets".into());
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())?;
    match text.trim() {
        "" => Err("is empty".into()),
        text => Ok((text.to_owned(), warning)),
    }
}

/// A secret text, in a file of its own where that says so; a function says what it may look like. Empty text is none.
pub(crate) struct SecretText<const IN_FILE: bool>(pub fn(&str) -> Result<(), String>);

impl<const IN_FILE: bool> Form for SecretText<IN_FILE> {
    type Value = Option<Secret>;
    const SECRET: bool = true;
    const IN_FILE: bool = IN_FILE;

    fn read(&self, value: &ValueKind) -> Result<Option<Secret>, String> {
        let text = hidden(value)?;
        if text.is_empty() {
            return Ok(None);
        }
        (self.0)(text).map(|()| Some(Secret::new(text)))
    }

    fn print(&self, value: &Option<Secret>) -> Value {
        value.as_ref().map_or(Value::Null, |secret| secret.to_string().into())
    }

    fn schema(&self) -> Value {
        json!({ "type": "string", "writeOnly": true })
    }
}

/// Any secret.
pub(super) fn secret(_: &str) -> Result<(), String> {
    Ok(())
}

/// An API key of Datadog, or whatever a private endpoint takes as one.
pub(super) fn api_key(text: &str) -> Result<(), String> {
    if text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err("holds characters that no API key has, such as a space or a line break in it".into())
}

/// Ingest tokens: a list, or text in which commas or white space separate them.
pub(crate) struct Tokens;

impl Form for Tokens {
    type Value = Vec<Secret>;
    const SECRET: bool = true;
    const IN_FILE: bool = true;

    fn read(&self, value: &ValueKind) -> Result<Vec<Secret>, String> {
        let texts = texts(value)?;
        let wrong: Vec<_> =
            texts.iter().zip(1..).filter(|(text, _)| !is_hex_key(text)).map(|(_, n)| n.to_string()).collect();
        match &wrong[..] {
            [] => Ok(texts.into_iter().map(Secret::new).collect()),
            [one] => Err(format!("token {one} is not one: {TOKEN_ADVICE}")),
            several => Err(format!("tokens {} are none: {TOKEN_ADVICE}", several.join(", "))),
        }
    }

    fn print(&self, value: &Vec<Secret>) -> Value {
        value.iter().map(Secret::to_string).collect()
    }

    fn schema(&self) -> Value {
        json!({ "type": "array", "items": { "type": "string", "pattern": "^[0-9A-Fa-f]{32}$" }, "writeOnly": true })
    }
}

const TOKEN_ADVICE: &str = "a token is exactly 32 hexadecimal digits, such as `openssl rand -hex 16` prints";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_files_are_judged_by_who_can_read_and_change_them() {
        // As chmod 600 makes them, systemd's credentials and Kubernetes' with a group, and what runtimes make by default.
        for (mode, in_memory) in [(0o600, false), (0o400, true), (0o440, true), (0o640, false)] {
            assert_eq!(judge(mode, in_memory), Ok(None), "{mode:o}");
        }
        assert!(judge(0o644, true).unwrap().unwrap().contains("defaultMode"));
        assert!(judge(0o444, true).is_ok_and(|warning| warning.is_some()));
        for (mode, in_memory) in [(0o644, false), (0o604, false), (0o620, true), (0o602, true), (0o666, true)] {
            assert!(judge(mode, in_memory).is_err(), "{mode:o}");
        }
    }
}
