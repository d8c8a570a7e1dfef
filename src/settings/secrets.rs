//! Secrets that are given in files.

use super::problems::Problems;
use super::reader::Section;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The most that a secret file may hold, in bytes: room for thousands of tokens, and little enough to read at once.
const MAX_FILE: u64 = 1 << 20;

/// Digits of a Datadog API key and of an ingest token.
pub(super) const HEX_DIGITS: usize = 32;

/// Reads the file that `key` of a section names; nothing when the key is absent or the file is no good, which is noted.
pub(super) fn from_file(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    let mut path = String::new();
    section.text(key, &mut path);
    if path.is_empty() {
        return None;
    }
    if is_hex_key(&path) {
        section.error(key, "looks like a secret itself, but must be the path of a file that holds it");
        return None;
    }
    match read(Path::new(&path)) {
        Ok((text, mode)) => {
            warn_if_open(section.path(key).as_str(), Path::new(&path), mode, section.problems());
            Some(text)
        }
        Err(why) => {
            section.error(key, format!("{path:?} {why}"));
            None
        }
    }
}

/// Warns when a file with secrets can be read by every user of the machine.
pub(super) fn warn_if_open(key: &str, path: &Path, mode: u32, problems: &mut Problems) {
    if mode & 0o004 != 0 {
        let path = path.display();
        problems.warning(key, format!("{path} holds a secret and every user can read it: chmod o-r {path}"));
    }
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

/// Whether a text can stand in an HTTP header as it is.
pub(super) fn fits_header(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The trimmed text of a file and its mode.
fn read(path: &Path) -> Result<(String, u32), String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err("is too large to be a file of secrets".into());
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())?;
    match text.trim() {
        "" => Err("is empty".into()),
        text => Ok((text.to_owned(), metadata.permissions().mode())),
    }
}
