//! What the operator's port answers.

<<<<<<< HEAD
use super::{Admin, router};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at once; operators are few.
const CONNECTIONS: usize = 64;

/// A connection without a request for this long is ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves the operator's port until `end` comes, and until what was asked before is answered.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>, end: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = GracefulShutdown::new();
    let router = router::router(admin);
    let mut end = pin!(end);
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections on the admin port just now");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let router = router.clone();
        let respond = service_fn(move |request| {
            let router = router.clone();
            async move { Ok::<_, Infallible>(router::respond(router, request).await) }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
        let connection = connections.watch(http.serve_connection(TokioIo::new(stream), respond));
        tokio::spawn(async move {
            // What ends a connection is the client's affair.
            let _ = connection.await;
            drop(place);
        });
=======
use super::api::{self, Answer};
use super::{Exposition, Token};
use crate::control::{Control, ReloadedView};
use crate::deliver::Soon;
use crate::serve::{Bounds, Connection, Service};
use crate::types::UnixMillis;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::{Method, Request, Response, StatusCode};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// What the operator's port shows.
#[derive(Debug)]
pub struct Admin {
    /// The metrics.
    pub exposition: Exposition,
    /// Whether the daemon takes telemetry.
    pub ready: AtomicBool,
    /// What the operator can do.
    pub control: Arc<Control>,
    /// Who the operator is.
    pub token: Token,
    /// What reads the configuration again, if something does.
    pub reload: OnceLock<Arc<dyn Reload>>,
}

/// What reads the configuration again.
pub trait Reload: fmt::Debug + Send + Sync {
    /// Reads it and puts in force what can be.
    ///
    /// # Errors
    /// Everything that is wrong with it; nothing has changed then.
    fn reload(&self) -> Soon<'_, Result<ReloadedView, Vec<String>>>;
}

impl Service for Admin {
    type Body = Full<Bytes>;

    async fn call(self: Arc<Self>, request: Request<Incoming>, _: Connection) -> Answer {
        self.respond(request).await
    }

    fn bounds(&self) -> Bounds {
        Bounds { name: "admin", ..Bounds::default() }
>>>>>>> 9254aa0 (One accept loop for all HTTP listeners, with time-outs of writing and places for who needs them)
    }
}
