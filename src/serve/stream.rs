//! A new connection, and who is at its other end.

use std::net::IpAddr;
use tokio::net::{TcpStream, UnixStream};

/// A new connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
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
        match stream {
            // Where it is gone already, its address does not matter.
            Stream::Tcp(stream) => Self::Ip(stream.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip())),
            Stream::Unix(stream) => Self::Unix { uid: stream.peer_cred().ok().map(|peer| peer.uid()) },
        }
    }
}
