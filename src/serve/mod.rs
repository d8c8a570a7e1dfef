//! The one accept loop, for every HTTP listener: how many connections there may be and for how long, what ends them, and how
//! they end with the daemon.
//!
//! What answers the requests implements [`Service`]; [`serve`] runs it on any number of [`Listener`]s. An axum router, or any
//! other tower service, is called from there:
//!
//! ```ignore
//! struct Operator { router: axum::Router }
//!
//! impl serve::Service for Operator {
//!     type Body = axum::body::Body;
//!
//!     async fn call(self: Arc<Self>, request: Request<Incoming>, connection: Connection) -> Response<Self::Body> {
//!         // `oneshot` of tower's `ServiceExt`; the error is `Infallible`.
//!         match self.router.clone().oneshot(request).await { Ok(response) => response, Err(never) => match never {} }
//!     }
//!
//!     fn bounds(&self) -> Bounds { Bounds { name: "admin", connections: 64, ..Bounds::default() } }
//! }
//! ```
//!
//! A connection is idle while no request is in flight on it, which includes the sending of a header, however slowly. It ends
//! when it has been idle for [`Bounds::idle`], when its peer has not read for [`Bounds::write`] what was written, or when
//! all places are taken and another peer asks for one: then the longest idle one makes room, of those that have not shown a token
//! ([`Connection::trust`]) if there are any. A response counts as in flight until its body has ended, so that a stream
//! may last for as long as its peer reads it. Some places are kept for Unix sockets.

mod accept;
mod browser;
mod connection;
mod listen;
mod socket;
mod socket_file;
mod state;
mod stream;
mod tls;

pub use accept::serve;
pub use browser::{Browsers, NotHere};
pub use listen::Listener;
pub use socket_file::{ListenError, SocketFile};
pub use state::Connection;
pub use stream::Peer;
pub use tls::Tls;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::{Request, Response};
use std::sync::Arc;
use std::time::Duration;

/// What answers the requests of a listener.
pub trait Service: Send + Sync + 'static {
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Unpin + Send + 'static;

    /// Answers a request.
    fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Connection,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// The bounds of a new connection: asked for each, so that they may change.
    fn bounds(&self) -> Bounds;

    /// Notes that a connection was lost to a panic.
    fn panicked(&self) {}
}

/// What bounds the connections of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// What the listener is for, in the log.
    pub name: &'static str,
    /// Connections at once.
    pub connections: usize,
    /// How long a connection may be idle.
    pub idle: Duration,
    /// How long a peer may leave unread what was written.
    pub write: Duration,
    /// Bytes of a request's header. Of HTTP/1.1 also the read buffer: bodies that fit are not copied.
    pub header: usize,
    /// Whether a client that has closed its side of an HTTP/1.1 connection still gets its answer. The price is that a request
    /// goes on when its client has gone away.
    pub half_close: bool,
}

impl Default for Bounds {
    /// For a listener of few and small requests.
    fn default() -> Self {
        Self {
            name: "",
            connections: 64,
            idle: Duration::from_secs(30),
            write: Duration::from_secs(30),
            header: 32 << 10,
            half_close: true,
        }
    }
}
