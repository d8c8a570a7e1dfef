//! Files of Unix sockets: made in place of those that were left behind, and removed at the end.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is in use, not of this host, or not an address.
    #[error("cannot listen on {address}: {source}; free it or set {key} to another address")]
    Address {
        /// The address.
        address: String,
        /// The configuration key that names it.
        key: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("TLS on {address} cannot be set up: {reason}; check {key} and the key that belongs to it")]
    Tls {
        /// The address.
        address: String,
        /// The configuration key that names the certificate.
        key: &'static str,
        /// The file, and what is wrong.
        reason: String,
    },
    /// Another process serves the socket.
    #[error("cannot listen on {}: another process is serving this socket; end it or set {key} to another path", .path.display())]
    SocketInUse {
        /// The socket's path.
        path: PathBuf,
        /// The configuration key that names it.
        key: &'static str,
    },
    /// Something else has that path.
    #[error("cannot listen on {}: it exists and is not a socket; move it away or set {key} to another path", .path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
        /// The configuration key that names it.
        key: &'static str,
    },
    /// The file system does not permit it.
    #[error("cannot listen on {}: {source}; check {key} and the permissions of its directory", .path.display())]
    Socket {
        /// The socket's path.
        path: PathBuf,
        /// The configuration key that names it.
        key: &'static str,
        /// The system's word.
        source: io::Error,
    },
}

/// The file of a socket, removed on drop if it is still the same one.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Binds a socket at the path that the configuration key `key` names, with these permissions. A socket left behind by a
    /// process that ended is replaced; one to which `connect` finds that it is served is not.
    ///
    /// # Errors
    /// When the path is taken or cannot be made.
    pub async fn bind<T>(
        path: &Path,
        mode: u32,
        key: &'static str,
        connect: impl Future<Output = io::Result<()>>,
        bind: impl FnOnce() -> io::Result<T>,
    ) -> Result<(T, Self), ListenError> {
        let failed = |source| ListenError::Socket { path: path.to_owned(), key, source };
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(ListenError::NotASocket { path: path.to_owned(), key });
            }
            Ok(_) => match connect.await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                // Served, or full of waiting connections, or not ours to judge.
                Ok(()) | Err(_) => return Err(ListenError::SocketInUse { path: path.to_owned(), key }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let socket = bind().map_err(failed)?;
        let file = Self { path: path.to_owned(), identity: identity(path).map_err(failed)? };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        Ok((socket, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A successor may have put its own socket there.
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}
