//! Where connections come from: TCP addresses and Unix sockets.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Who may connect to a Unix socket: its owner and group.
const SOCKET_MODE: u32 = 0o660;

/// Something that connections come from.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    name: String,
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A new connection.
#[derive(Debug)]
pub(super) enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is in use, not of this host, or not an address.
    #[error("cannot listen on {address}: {source}; free it or set ingest.listen to another address")]
    Address {
        /// The address.
        address: String,
        /// The system's word.
        source: io::Error,
    },
    /// Another process serves the socket.
    #[error("cannot listen on {}: another process is serving this socket; end it or set ingest.socket to another path", .0.display())]
    SocketInUse(PathBuf),
    /// Something else has that path.
    #[error("cannot listen on {}: it exists and is not a socket; move it away or set ingest.socket to another path", .0.display())]
    NotASocket(PathBuf),
    /// The file system does not permit it.
    #[error("cannot listen on {}: {source}; check ingest.socket and the permissions of its directory", .path.display())]
    Socket {
        /// The socket's path.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

impl Listener {
    /// Listens on `address`, as `ingest.listen` gives it; port 0 chooses a free one.
    ///
    /// # Errors
    /// When the address is not free or not one of this host.
    pub async fn tcp(address: &str) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Address { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let name = listener.local_addr().map_err(failed)?.to_string();
        Ok(Self { kind: Kind::Tcp(listener), name, _file: None })
    }

    /// Listens on a Unix socket at `path` with mode 0660. A socket left behind by a process that ended is replaced;
    /// one that is served is not. The file is removed when the listener is dropped.
    ///
    /// # Errors
    /// When the path is taken or cannot be made.
    pub async fn unix(path: &Path) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Socket { path: path.to_owned(), source };
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.file_type().is_socket() => return Err(ListenError::NotASocket(path.to_owned())),
            Ok(_) => match UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                // Served, or full of waiting connections, or not ours to judge.
                Ok(_) | Err(_) => return Err(ListenError::SocketInUse(path.to_owned())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let file = SocketFile::of(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        Ok(Self { kind: Kind::Unix(listener), name: path.display().to_string(), _file: Some(file) })
    }

    /// The address (with the port chosen) or path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next connection.
    pub(super) fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        match &self.kind {
            Kind::Tcp(listener) => listener.poll_accept(context).map_ok(|(stream, _)| Stream::Tcp(stream)),
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
        let listener = Listener::unix(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_is_served_and_a_file_that_is_no_socket_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let served = dir.path().join("s");
        let _listener = Listener::unix(&served).await.unwrap();
        assert!(matches!(Listener::unix(&served).await, Err(ListenError::SocketInUse(_))));
        assert!(served.exists());
        let file = dir.path().join("f");
        std::fs::write(&file, "x").unwrap();
        assert!(matches!(Listener::unix(&file).await, Err(ListenError::NotASocket(_))));
        assert_eq!(std::fs::read(&file).unwrap(), b"x");
    }

    #[tokio::test]
    async fn the_socket_of_a_successor_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let first = Listener::unix(&path).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let _second = Listener::unix(&path).await.unwrap();
        drop(first);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn an_address_in_use_is_named_in_the_error() {
        let first = Listener::tcp("127.0.0.1:0").await.unwrap();
        let error = Listener::tcp(first.name()).await.unwrap_err().to_string();
        assert!(error.contains(first.name()) && error.contains("ingest.listen"), "{error}");
    }
}
