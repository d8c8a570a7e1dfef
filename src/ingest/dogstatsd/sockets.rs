//! Opening the sockets that DogStatsD's clients send to.

use super::datagrams::Datagrams;
use crate::serve::{ListenError, SocketFile};
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};

/// How long a reading waits before it is looked whether the thread is to stop.
const LOOK: Duration = Duration::from_millis(250);

/// Who may send to a Unix socket: everyone, as with the Agent's (DataDog/datadog-agent,
/// `comp/dogstatsd/listeners/uds_common.go`).
const SOCKET_MODE: u32 = 0o722;

/// What clients send to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Udp(SocketAddr),
    Datagram(PathBuf),
    Stream(PathBuf),
}

/// A socket that is bound.
#[derive(Debug)]
pub(super) enum Socket {
    Datagrams(Datagrams),
    Stream(UnixListener),
}

/// How sockets are opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// The receive buffer asked of the kernel, in bytes; 0 leaves it alone.
    pub receive_buffer: usize,
    /// The longest packet, in bytes.
    pub longest: usize,
}

impl Address {
    /// An address as it is configured: `127.0.0.1:8125`, a path or `unixgram://` and a path, `unixstream://` and a path.
    pub fn parse(text: &str) -> Vec<Self> {
        if let Some(path) = text.strip_prefix("unixstream://") {
            return vec![Self::Stream(path.into())];
        }
        let path = text.strip_prefix("unixgram://").or_else(|| text.starts_with('/').then_some(text));
        match path {
            Some(path) => vec![Self::Datagram(path.into())],
            // A name may be several addresses: localhost is both loopbacks.
            None => text.to_socket_addrs().into_iter().flatten().map(Self::Udp).collect(),
        }
    }

    /// Opens the socket, with the name by which it can be reached.
    pub async fn open(
        &self,
        listener: usize,
        room: Room,
        key: &'static str,
    ) -> Result<(Socket, String, Option<SocketFile>), ListenError> {
        match self {
            Self::Udp(address) => {
                let failed = |source| ListenError::Address { address: address.to_string(), key, source };
                let socket = UdpSocket::bind(address).map_err(failed)?;
                let name = socket.local_addr().map_err(failed)?.to_string();
                // What is dropped is told with what is not.
                setsockopt(&socket, sockopt::RxqOvfl, &1).map_err(|error| failed(error.into()))?;
                let datagrams = datagrams(socket.into(), listener, true, room).map_err(failed)?;
                tell_room(&datagrams.socket, &name, room);
                Ok((Socket::Datagrams(datagrams), name, None))
            }
            Self::Datagram(path) => {
                let failed = |source| ListenError::Socket { path: path.clone(), key, source };
                let connect = async { UnixDatagram::unbound()?.connect(path) };
                let (socket, file) =
                    SocketFile::bind(path, SOCKET_MODE, key, connect, || UnixDatagram::bind(path)).await?;
                let datagrams = datagrams(socket.into(), listener, false, room).map_err(failed)?;
                Ok((Socket::Datagrams(datagrams), format!("unixgram://{}", path.display()), Some(file)))
            }
            Self::Stream(path) => {
                let connect = async { UnixStream::connect(path).await.map(drop) };
                let (socket, file) =
                    SocketFile::bind(path, SOCKET_MODE, key, connect, || UnixListener::bind(path)).await?;
                Ok((Socket::Stream(socket), format!("unixstream://{}", path.display()), Some(file)))
            }
        }
    }
}

fn datagrams(socket: OwnedFd, listener: usize, is_udp: bool, room: Room) -> io::Result<Datagrams> {
    if room.receive_buffer > 0 {
        enlarge(&socket, room.receive_buffer)?;
    }
    let look = nix::sys::time::TimeVal::new(0, LOOK.subsec_micros().into());
    setsockopt(&socket, sockopt::ReceiveTimeout, &look)?;
    Ok(Datagrams { socket, listener, is_udp, longest: room.longest })
}

/// Asks for a receive buffer. The kernel takes a privileged process at its word, and gives others up to
/// `net.core.rmem_max`.
fn enlarge(socket: &impl AsFd, bytes: usize) -> io::Result<()> {
    if setsockopt(socket, sockopt::RcvBufForce, &bytes).is_err() {
        setsockopt(socket, sockopt::RcvBuf, &bytes)?;
    }
    Ok(())
}

/// Says when the kernel gave less than was asked for, and what to do.
fn tell_room(socket: &impl AsFd, name: &str, room: Room) {
    // The kernel doubles what it is asked for, for its own needs (socket(7)).
    let given = nix::sys::socket::getsockopt(socket, sockopt::RcvBuf).unwrap_or_default() / 2;
    if given < room.receive_buffer {
        tracing::info!(
            listener = name,
            asked = room.receive_buffer,
            given,
            "the kernel gave a smaller receive buffer than dogstatsd.so_rcvbuf asks for: under load, raise net.core.rmem_max"
        );
    }
}
