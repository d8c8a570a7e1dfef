//! A server whose answers a test makes up, and which notes when each request came: for what the stand-in cannot tell.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Response};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A request that came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its number among those to the same path, from 0.
    pub number: usize,
    /// When its headers had come.
    pub at: Instant,
    /// Its path.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; empty until it has come whole.
    pub body: Bytes,
}

type Reply = Pin<Box<dyn Future<Output = Response<String>> + Send>>;

/// A server with answers made up; it ends with this value.
pub struct Scripted {
    /// Where it listens, as `http://ADDRESS`.
    pub url: String,
    seen: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Scripted {
    /// Starts one that gives each request the answer of `script`.
    pub async fn start<F>(script: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<String>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<dyn Fn(Request) -> Reply + Send + Sync> = Arc::new(move |request| Box::pin(script(request)));
        let task = tokio::spawn(accept(listener, seen.clone(), script));
        Self { url, seen, task }
    }

    /// The requests to a path so far.
    pub fn seen(&self, path: &str) -> Vec<Request> {
        self.seen.lock().unwrap().iter().filter(|request| request.path == path).cloned().collect()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer with this status and an empty object.
pub fn answer(status: u16) -> Response<String> {
    Response::builder().status(status).header("content-type", "application/json").body("{}".into()).unwrap()
}

async fn accept(
    listener: TcpListener,
    seen: Arc<Mutex<Vec<Request>>>,
    script: Arc<dyn Fn(Request) -> Reply + Send + Sync>,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (seen, script) = (seen.clone(), script.clone());
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (seen, script) = (seen.clone(), script.clone());
            async move {
                let (parts, body) = request.into_parts();
                let (index, mut request) = {
                    let mut seen = seen.lock().unwrap();
                    let path = parts.uri.path().to_owned();
                    let number = seen.iter().filter(|earlier: &&Request| earlier.path == path).count();
                    let (at, body) = (Instant::now(), Bytes::new());
                    seen.push(Request { number, at, path, headers: parts.headers, body });
                    (seen.len() - 1, seen[seen.len() - 1].clone())
                };
                request.body = body.collect().await?.to_bytes();
                seen.lock().unwrap()[index].body = request.body.clone();
                Ok::<_, hyper::Error>(script(request).await.map(|text| Full::new(Bytes::from(text))))
            }
        });
        tokio::spawn(async move {
            // What ends a connection is the client's affair.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
