//! The listener of the operator's port.

use super::api::{self, Answer};
use super::{Exposition, Token};
use crate::control::{Control, ReloadedView};
use crate::deliver::Soon;
use crate::types::UnixMillis;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at once; operators are few.
const CONNECTIONS: usize = 64;

/// A connection without a request for this long is ended.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// Serves the operator's port until `end` comes, and until what was asked before is answered.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>, end: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = GracefulShutdown::new();
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
        let admin = admin.clone();
        let answer = service_fn(move |request| {
            let admin = admin.clone();
            async move { Ok::<_, Infallible>(admin.respond(request).await) }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
        let connection = connections.watch(http.serve_connection(TokioIo::new(stream), answer));
        tokio::spawn(async move {
            // What ends a connection is the client's affair.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    connections.shutdown().await;
}

impl Admin {
    async fn respond(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        if request.uri().path().starts_with(api::PREFIX) {
            api::answer(self, request).await
        } else {
            self.answer(&request)
        }
    }

    /// Why telemetry is not taken at present.
    pub(super) fn unready(&self) -> Option<&'static str> {
        if !self.ready.load(Ordering::Relaxed) {
            return Some("the daemon is shutting down");
        }
        if self.exposition.journal_fails() {
            return Some("the journal cannot be written; the daemon's log says why");
        }
        self.control.is_blind().then_some("no tenant is known: the store of tenants is out of reach; the log says why")
    }

    /// What is amiss although telemetry is taken.
    fn warning(&self) -> Option<&'static str> {
        let text = "the store of tenants is out of reach: those that are known go on, unknown ones are refused (503); the \
                    log says why";
        self.control.is_cut_off().then_some(text)
    }

    fn answer(&self, request: &Request<Incoming>) -> Answer {
        let reading = [Method::GET, Method::HEAD].contains(request.method());
        let (status, content_type, body) = match request.uri().path() {
            "/metrics" | "/healthz" | "/readyz" if !reading => {
                (StatusCode::METHOD_NOT_ALLOWED, JSON, r#"{"errors":["use GET"]}"#.to_owned())
            }
            "/metrics" => (StatusCode::OK, PROMETHEUS, self.exposition.render(UnixMillis::now())),
            "/healthz" => (StatusCode::OK, JSON, r#"{"status":"ok"}"#.to_owned()),
            "/readyz" => match self.unready() {
                None => {
                    let warning = self.warning().map(|text| format!(r#","warnings":["{text}"]"#)).unwrap_or_default();
                    (StatusCode::OK, JSON, format!(r#"{{"status":"ok"{warning}}}"#))
                }
                Some(why) => (StatusCode::SERVICE_UNAVAILABLE, JSON, format!(r#"{{"errors":["{why}"]}}"#)),
            },
            _ => {
                let body =
                    r#"{"errors":["nothing is served here; there are /metrics, /healthz, /readyz and /admin/v1/"]}"#;
                (StatusCode::NOT_FOUND, JSON, body.to_owned())
            }
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
