//! The listeners of the operator's port, of its Unix socket, and of the port that is only for monitors.

use super::{Admin, router};
use crate::serve::{Bounds, Connection, ListenError, Listener, Service, Tls, serve};
use crate::settings::Settings;
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::{Request, Response};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tracing::info;

/// The permissions of the socket: nobody else's.
const SOCKET_MODE: u32 = 0o600;

/// Where the operator and monitors are served.
#[derive(Debug)]
pub struct Listeners {
    port: Option<Listener>,
    socket: Listener,
    metrics: Option<Listener>,
}

impl Listeners {
    /// Listens wherever the configuration says.
    ///
    /// # Errors
    /// When an address or the socket cannot be had.
    pub async fn bind(settings: &Settings) -> Result<Self, ListenError> {
        let socket = Listener::unix(&settings.admin_socket(), SOCKET_MODE, "admin.socket").await?;
        let mut port = tcp(&settings.admin.listen, "admin.listen").await?;
        if let (Some(certificates), Some(key)) = (&settings.admin.tls_cert_file, &settings.admin.tls_key_file) {
            let failed = |reason| {
                let address = settings.admin.listen.clone();
                ListenError::Tls { address, key: "admin.tls_cert_file", reason }
            };
            let tls = Tls::open(certificates, key).map_err(failed)?;
            port = port.map(|port| port.with_tls(tls));
        }
        let metrics = tcp(&settings.metrics.listen, "metrics.listen").await?;
        Ok(Self { port, socket, metrics })
    }

    /// The address of the operator's port.
    pub fn address(&self) -> Option<SocketAddr> {
        self.port.as_ref()?.address()
    }

    /// Says in the log where.
    pub fn announce(&self) {
        let ports = [("admin", &self.port), ("metrics", &self.metrics)];
        let ports = ports.into_iter().filter_map(|(name, port)| Some((name, port.as_ref()?)));
        for (listener, at) in ports.chain([("admin.socket", &self.socket)]) {
            info!(listener, address = at.name(), "listening");
        }
    }

    /// Serves them until `end` comes, and until the requests in flight are answered.
    pub async fn serve(self, admin: Arc<Admin>, end: impl Future<Output = ()>) {
        let Self { port, socket, metrics } = self;
        let of_operator = port.into_iter().chain([socket]).collect();
        let (ending, ended) = watch::channel(());
        let end_of = |mut ended: watch::Receiver<()>| async move {
            // The sender is dropped, and never sends.
            let _ = ended.changed().await;
        };
        let operator = Port { name: "admin", router: router::operator(admin.clone()) };
        let monitor = Port { name: "metrics", router: router::monitor(admin) };
        tokio::join!(
            serve(of_operator, Arc::new(operator), end_of(ended.clone())),
            serve(metrics.into_iter().collect(), Arc::new(monitor), end_of(ended)),
            async {
                end.await;
                drop(ending);
            },
        );
    }
}

struct Port {
    name: &'static str,
    router: Router,
}

impl Service for Port {
    type Body = Body;

    async fn call(self: Arc<Self>, mut request: Request<Incoming>, connection: Connection) -> Response<Body> {
        request.extensions_mut().insert(connection);
        router::respond(self.router.clone(), request).await
    }

    fn bounds(&self) -> Bounds {
        Bounds { name: self.name, ..Bounds::default() }
    }
}

async fn tcp(address: &str, key: &'static str) -> Result<Option<Listener>, ListenError> {
    if address.is_empty() { Ok(None) } else { Listener::tcp(address, key).await.map(Some) }
}
