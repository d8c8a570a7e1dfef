//! Where connections come from: TCP addresses and Unix sockets.

use super::socket_file::{ListenError, SocketFile};
use super::stream::Stream;
use super::tls::Tls;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::task::{Context, Poll};
use tokio::net::{TcpListener, UnixListener, UnixStream};

/// Something that connections come from.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    name: String,
    tls: Option<Tls>,
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener),
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
        Ok(Self { kind: Kind::Tcp(listener, address), name: address.to_string(), tls: None, _file: None })
    }

    /// Listens on a Unix socket at the path that the configuration key `key` names, with these permissions. A socket left behind
    /// by a process that ended is replaced; one that is served is not. The file is removed when the listener is dropped.
    ///
    /// # Errors
    /// When the path is taken or cannot be made.
    pub async fn unix(path: &Path, mode: u32, key: &'static str) -> Result<Self, ListenError> {
        let connect = async { UnixStream::connect(path).await.map(drop) };
        let (listener, file) = SocketFile::bind(path, mode, key, connect, || UnixListener::bind(path)).await?;
        Ok(Self { kind: Kind::Unix(listener), name: path.display().to_string(), tls: None, _file: Some(file) })
    }

    /// The same, with TLS on the connections over TCP.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
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
            Kind::Tcp(listener, _) => listener.poll_accept(context).map_ok(|(stream, _)| match &self.tls {
                Some(tls) => Stream::Tls(tls.accept(stream)),
                None => Stream::Tcp(stream),
            }),
            Kind::Unix(listener) => listener.poll_accept(context).map_ok(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

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
