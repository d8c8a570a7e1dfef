//! Items that Datadog refuses for good, kept on disk with its words.
//!
//! One file a tenant, `dead-letters/<tenant>.ndjson`, one line a refused run of items. The items of JSON kinds stand in
//! the line as they are, so that `jq` reads them; those of protobuf kinds stand in base64.

use crate::payload::Payload;
use crate::types::UnixMillis;
use base64::Engine;
use serde::Serialize;
use serde_json::value::RawValue;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The place of all dead letters.
#[derive(Debug)]
pub struct DeadLetters {
    dir: PathBuf,
}

/// Why a payload was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The HTTP status; none when the payload was never sent.
    pub status: Option<u16>,
    /// Datadog's words, or ours.
    pub words: String,
}

#[derive(Serialize)]
struct Line<'a> {
    refused_at: i64,
    accepted_at: i64,
    kind: &'static str,
    items: u32,
    status: Option<u16>,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl DeadLetters {
    /// Dead letters in that directory, which is made (0700) at first use.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Appends a payload's items and waits until they are on disk. Of one tenant, one at a time.
    ///
    /// # Errors
    /// When the file cannot be written, naming it. The payload is then still the caller's to keep.
    pub fn write(&self, payload: &Payload, reason: &Reason, now: UnixMillis) -> io::Result<()> {
        let path = self.path(payload.tenant.as_str());
        let line = line(payload, reason, now)?;
        append(&self.dir, &path, &line)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    /// The file of a tenant.
    pub fn path(&self, tenant: &str) -> PathBuf {
        self.dir.join(format!("{tenant}.ndjson"))
    }
}

fn line(payload: &Payload, reason: &Reason, now: UnixMillis) -> io::Result<Vec<u8>> {
    let mut plain = payload.unpack()?;
    if !payload.kind.is_protobuf() {
        // Line feeds stand only between the tokens of valid JSON.
        plain.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    }
    // What this parser does not take for JSON must not be kept from the disk for it.
    let body = if payload.kind.is_protobuf() { None } else { serde_json::from_slice(&plain).ok() };
    let line = Line {
        refused_at: now.0,
        accepted_at: payload.accepted.0,
        kind: payload.kind.name(),
        items: payload.items,
        status: reason.status,
        reason: &reason.words,
        body,
        base64: body.is_none().then(|| base64::engine::general_purpose::STANDARD.encode(&plain)),
    };
    let mut line = serde_json::to_vec(&line)?;
    line.push(b'\n');
    Ok(line)
}

fn append(dir: &Path, path: &Path, line: &[u8]) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    let length = file.seek(SeekFrom::End(0))?;
    if length == 0 {
        File::open(dir)?.sync_all()?;
    } else if last_byte(&mut file)? != b'\n' {
        // A crash or a full disk left a part of a line.
        file.write_all(b"\n")?;
    }
    let written = file.write_all(line).and_then(|()| file.sync_data());
    if written.is_err() {
        // Best effort: a part of a line that stays is harmless, see above.
        let _ = file.set_len(length);
    }
    written
}

fn last_byte(file: &mut File) -> io::Result<u8> {
    let mut byte = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut byte)?;
    Ok(byte[0])
}
