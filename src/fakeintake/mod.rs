//! A stand-in for Datadog: its submission endpoints, key validation and OAuth server on one local port, with faults on
//! demand.
//!
//! It exists so that the daemon can be shown, tested and measured without Datadog. It reads and checks requests with
//! code of its own, written from Datadog's documentation, so that the daemon's mistakes about a format are not repeated
//! here. Tests script it over HTTP under `/_fakeintake/`, programs in the same process by a [`Handle`].

mod answer;
mod body;
mod control;
mod decode;
mod endpoint;
mod faults;
mod headers;
mod ids;
mod keys;
mod oauth;
mod quota;
mod record;
mod server;
mod state;
mod submit;
mod validate;

pub use faults::{CloseWhen, Effect, Fault, Rule};
pub use keys::Key;
pub use oauth::{Client, OauthCounts, Org, Rotation};
pub use quota::{Quota, RetryAfter};
pub use record::{Counts, Filter, Item, KeyCounts, Received, Recording};
pub use state::{Handle, Options};

use crate::serve::Listener;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;

/// A stand-in with its port bound.
#[derive(Debug)]
pub struct FakeIntake {
    listener: TcpListener,
    addr: SocketAddr,
    handle: Handle,
}

impl FakeIntake {
    /// Binds the address. Connections wait until [`FakeIntake::serve`].
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(addr: impl ToSocketAddrs, options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        Ok(Self { listener, addr, handle: Handle(Arc::new(state::Shared::new(options))) })
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Scripts it and reads what it received.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until `shutdown`, then lets requests end for at most a second.
    ///
    /// # Errors
    /// When the listener cannot be registered with the runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let listener = Listener::of_tcp(tokio::net::TcpListener::from_std(self.listener)?)?;
        server::serve(listener, self.handle, shutdown).await;
        Ok(())
    }
}
