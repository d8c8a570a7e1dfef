//! Where connections come from: TCP addresses and Unix sockets.

use super::stream::Stream;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use tokio::net::{TcpListener, UnixListener, UnixStream};

/// Something that connections come from.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    name: String,
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener),
}

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

impl Listener {
    /// Listens on the TCP address that the configuration key `key` names; port 0 chooses a free one.
    ///
    /// # Errors
    /// When the address is not free or not one of this host.
    pub async fn tcp(address: &str, key: &'static str) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Address { address: address.to_owned(), key, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        Self::of_tcp(listener).map_err(failed)
    }

    /// Listens on a TCP socket that is bound already.
    ///
    /// # Errors
    /// When the system does not tell its address.
    pub fn of_tcp(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self { kind: Kind::Tcp(listener, address), name: address.to_string(), _file: None })
    }

    /// Listens on a Unix socket at the path that the configuration key `key` names, with these permissions. A socket left behind
    /// by a process that ended is replaced; one that is served is not. The file is removed when the listener is dropped.
    ///
    /// # Errors
    /// When the path is taken or cannot be made.
    pub async fn unix(path: &Path, mode: u32, key: &'static str) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Socket { path: path.to_owned(), key, source };
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(ListenError::NotASocket { path: path.to_owned(), key });
            }
            Ok(_) => match UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                // Served, or full of waiting connections, or not ours to judge.
                Ok(_) | Err(_) => return Err(ListenError::SocketInUse { path: path.to_owned(), key }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let file = SocketFile::of(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        Ok(Self { kind: Kind::Unix(listener), name: path.display().to_string(), _file: Some(file) })
    }

    /// The address (with the port chosen) or path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The TCP address; none of a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(_, address) => Some(*address),
            Kind::Unix(_) => None,
        }
    }

    /// The next connection.
    pub(super) fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        match &self.kind {
            Kind::Tcp(listener, _) => listener.poll_accept(context).map_ok(|(stream, _)| Stream::Tcp(stream)),
            Kind::Unix(listener) => listener.poll_accept(context).map_ok(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

/// The file of a socket, removed on drop if it is still the same one.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_the_file_is_removed_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listener = Listener::unix(&path, 0o660, "ingest.socket").await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_is_served_and_a_file_that_is_no_socket_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let served = dir.path().join("s");
        let _listener = Listener::unix(&served, 0o660, "ingest.socket").await.unwrap();
        assert!(matches!(Listener::unix(&served, 0o660, "ingest.socket").await, Err(ListenError::SocketInUse { .. })));
        assert!(served.exists());
        let file = dir.path().join("f");
        std::fs::write(&file, "x").unwrap();
        assert!(matches!(Listener::unix(&file, 0o660, "ingest.socket").await, Err(ListenError::NotASocket { .. })));
        assert_eq!(std::fs::read(&file).unwrap(), b"x");
    }

    #[tokio::test]
    async fn the_socket_of_a_successor_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let first = Listener::unix(&path, 0o660, "ingest.socket").await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let _second = Listener::unix(&path, 0o660, "ingest.socket").await.unwrap();
        drop(first);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn an_address_in_use_is_named_in_the_error() {
        let first = Listener::tcp("127.0.0.1:0", "ingest.listen").await.unwrap();
        let error = Listener::tcp(first.name(), "ingest.listen").await.unwrap_err().to_string();
        assert!(error.contains(first.name()) && error.contains("ingest.listen"), "{error}");
    }
}
