//! A new connection, and who is at its other end.

use super::tls::TlsStream;
use std::net::IpAddr;
use tokio::net::{TcpStream, UnixStream};

/// A new connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(TlsStream),
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// Its TCP socket, if it has one.
    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Tls(stream) => stream.tcp(),
            Self::Unix(_) => None,
        }
    }
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A process, over TCP.
    Ip(IpAddr),
    /// A process of this host, over a Unix socket.
    Unix {
        /// The user it runs as; none where the system does not tell.
        uid: Option<u32>,
    },
}

impl Peer {
    pub(super) fn of(stream: &Stream) -> Self {
        if let Stream::Unix(stream) = stream {
            return Self::Unix { uid: stream.peer_cred().ok().map(|peer| peer.uid()) };
        }
        // Where it is gone already, its address does not matter.
        let address = stream.tcp().and_then(|stream| stream.peer_addr().ok());
        Self::Ip(address.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip()))
    }
}
