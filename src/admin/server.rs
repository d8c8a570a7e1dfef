//! The listener of the operator's port.

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
    }
    drop(listener);
    connections.shutdown().await;
}
