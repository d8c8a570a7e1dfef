//! The operator's token, which every request to the admin API carries.

use crate::types::Secret;
use rand::Rng;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq;
use tracing::info;

/// Its file in the state directory.
const FILE: &str = "admin.token";

/// One that somebody wrote by hand has so many characters at least.
const SHORTEST: usize = 16;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = .path.display())]
pub struct TokenError {
    path: PathBuf,
    reason: String,
}

/// The operator's token.
#[derive(Debug)]
pub struct Token {
    secret: Secret,
    owner: u32,
}

impl Token {
    /// The token in the state directory; made when there is none.
    ///
    /// # Errors
    /// When it cannot be read or made, when others could read it, or when it is too short.
    pub fn open(state_dir: &Path) -> Result<Self, TokenError> {
        let path = state_dir.join(FILE);
        let failed = |reason: String| TokenError { path: path.clone(), reason };
        let text = match fs::read_to_string(&path) {
            Ok(text) => Secret::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = make(&path).map_err(|error| failed(error.to_string()))?;
                info!(file = %path.display(), "the token of the admin API was made");
                made
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        let metadata = fs::metadata(&path).map_err(|error| failed(error.to_string()))?;
        let mode = metadata.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(failed(format!("others may read it (mode {:o}): chmod 600 it", mode & 0o777)));
        }
        let token = text.expose().trim();
        if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(failed(format!(
                "it holds no token: write at least {SHORTEST} printable characters without spaces, or remove it, and one is made"
            )));
        }
        Ok(Self { secret: Secret::new(token), owner: metadata.uid() })
    }

    /// The user whom its file belongs to, which is the one that the daemon runs as.
    pub fn owner(&self) -> u32 {
        self.owner
    }

    /// Whether an `Authorization` header has it; how long that takes tells nothing of it but its length.
    pub fn admits(&self, authorization: &[u8]) -> bool {
        let Some((scheme, given)) = authorization.split_at_checked(BEARER.len()) else { return false };
        scheme.eq_ignore_ascii_case(BEARER) && bool::from(given.trim_ascii().ct_eq(self.secret.expose().as_bytes()))
    }
}

const BEARER: &[u8] = b"Bearer ";

/// Writes a new token, whole or not at all.
fn make(path: &Path) -> io::Result<Secret> {
    let mut random = zeroize::Zeroizing::new([0; 32]);
    rand::rng().fill_bytes(random.as_mut_slice());
    let text = Secret::new(random.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let draft = path.with_extension("token.new");
    // Left by a start that was cut off.
    let _ = fs::remove_file(&draft);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.expose().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_admits_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let token = Token::open(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        let header = format!("bearer {}", text.trim());
        assert!(token.admits(header.as_bytes()) && Token::open(dir.path()).unwrap().admits(header.as_bytes()));
        for wrong in ["", "Bearer", "Bearer ", text.trim(), &header[..header.len() - 1], &format!("{header}0")] {
            assert!(!token.admits(wrong.as_bytes()), "{wrong:?}");
        }
    }

    #[test]
    fn a_short_or_readable_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        fs::write(&path, "0123456789abcdef\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Token::open(dir.path()).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Token::open(dir.path()).unwrap().admits(b"Bearer 0123456789abcdef"));
        fs::write(&path, "short\n").unwrap();
        assert!(Token::open(dir.path()).unwrap_err().to_string().contains("at least 16"));
    }
}
