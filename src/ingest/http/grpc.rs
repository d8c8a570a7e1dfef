//! OTLP over gRPC: two unary methods over HTTP/2, framed by hand (`docs/decisions/otlp.md` says why).
//!
//! Source: grpc/grpc, `doc/PROTOCOL-HTTP2.md`; open-telemetry/opentelemetry-proto, `docs/specification.md`.

use super::answer::Problem;
use super::encoding::Encodings;
use super::handler::Handler;
use super::otlp::{Form, NO_TRACES};
use crate::ingest::accept::Submit;
use crate::queue::Queues;
use crate::serve::{Bounds, Connection, Peer, Service};
use crate::types::redacted;
use crate::wire::otlp::{self, Encoding, Rejections, Signal};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Where the methods are, behind the prefix of a tenant if there is one.
const METRICS: &str = "opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const LOGS: &str = "opentelemetry.proto.collector.logs.v1.LogsService/Export";
const TRACES: &str = "opentelemetry.proto.collector.trace.v1.TraceService/Export";

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPTS: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Codes of gRPC (grpc/grpc, `doc/statuscodes.md`).
mod code {
    pub const OK: u32 = 0;
    pub const INVALID_ARGUMENT: u32 = 3;
    pub const PERMISSION_DENIED: u32 = 7;
    pub const RESOURCE_EXHAUSTED: u32 = 8;
    pub const UNIMPLEMENTED: u32 = 12;
    pub const UNAVAILABLE: u32 = 14;
    pub const UNAUTHENTICATED: u32 = 16;
}

/// Answers calls.
#[derive(Debug)]
pub struct Grpc<Q = Queues>(pub Arc<Handler<Q>>);

impl<Q: Submit> Service for Grpc<Q> {
    type Body = Reply;

    async fn call(self: Arc<Self>, request: Request<Incoming>, connection: Connection) -> Response<Reply> {
        let (head, mut body) = request.into_parts();
        let content_type = head.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        if !content_type.starts_with(b"application/grpc") {
            let mut answer = Response::new(Reply::default());
            *answer.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return answer;
        }
        let (peer, (tenant, method)) = (connection.peer(), method_of(head.uri.path()));
        let called = match method {
            METRICS => self.export(&head.headers, tenant, peer, &mut body, Signal::Metrics).await,
            LOGS => self.export(&head.headers, tenant, peer, &mut body, Signal::Logs).await,
            TRACES => Err(unimplemented(NO_TRACES)),
            _ => Err(unimplemented("there is no such method: call Export of MetricsService or LogsService")),
        };
        let mut answer = Response::new(match called {
            Ok((signal, rejections)) => Reply::of_message(&otlp::success(signal, Encoding::Protobuf, &rejections)),
            Err(problem) => Reply { message: None, trailers: Some(refusal(&problem)) },
        });
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        answer.headers_mut().insert(ACCEPTS, HeaderValue::from_static("identity,gzip,deflate,zstd"));
        answer
    }

    fn bounds(&self) -> Bounds {
        Bounds { name: "otlp gRPC", ..self.0.bounds() }
    }

    fn panicked(&self) {
        self.0.panicked();
    }
}

impl<Q: Submit> Grpc<Q> {
    async fn export(
        &self,
        headers: &HeaderMap,
        tenant: Option<&str>,
        peer: Peer,
        body: &mut Incoming,
        signal: Signal,
    ) -> Result<(Signal, Rejections), Problem> {
        let encodings = headers.get_all(ENCODING).iter().map(HeaderValue::as_bytes);
        let encodings = Encodings::parse(encodings).map_err(|unsupported| unimplemented(&unsupported.to_string()))?;
        let form = Form { signal, encoding: Encoding::Protobuf, encodings, is_framed: true };
        let rejections = self.0.otlp().take(headers, tenant, peer, body, form).await?;
        Ok((signal, rejections))
    }
}

/// The tenant that a path names, and the method.
fn method_of(path: &str) -> (Option<&str>, &str) {
    let path = path.trim_start_matches('/');
    match path.strip_prefix("tenants/").and_then(|prefixed| prefixed.split_once('/')) {
        Some((tenant, method)) => (Some(tenant), method),
        None => (None, path),
    }
}

fn unimplemented(message: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, message)
}

/// The trailers of a refused call.
fn refusal(problem: &Problem) -> HeaderMap {
    let code = match problem.status {
        _ if problem.retry_after.is_some() => code::UNAVAILABLE,
        StatusCode::UNAUTHORIZED => code::UNAUTHENTICATED,
        StatusCode::FORBIDDEN => code::PERMISSION_DENIED,
        StatusCode::NOT_FOUND => code::UNIMPLEMENTED,
        StatusCode::PAYLOAD_TOO_LARGE => code::RESOURCE_EXHAUSTED,
        status if status.is_server_error() => code::UNAVAILABLE,
        _ => code::INVALID_ARGUMENT,
    };
    // It may quote names that were meant to be tokens.
    let message = redacted(&problem.message);
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from(code));
    if let Ok(message) = HeaderValue::try_from(percent_encoded(&message)) {
        trailers.insert(MESSAGE, message);
    }
    if let Some(after) = problem.retry_after {
        // Whole seconds, rounded up: coming too early would be refused again.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        let details = STANDARD_NO_PAD.encode(otlp::retry_details(code, &message, seconds.max(1)));
        if let Ok(details) = HeaderValue::try_from(details) {
            trailers.insert(DETAILS, details);
        }
    }
    trailers
}

/// A message as `grpc-message` holds it: printable ASCII, all else as `%XX`.
fn percent_encoded(message: &str) -> String {
    message
        .bytes()
        .map(|byte| match byte {
            b'%' => "%25".to_owned(),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// The body of an answer: a message, if there is one, and the trailers, of which the status is one.
#[derive(Debug, Default)]
pub struct Reply {
    message: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Reply {
    fn of_message(message: &[u8]) -> Self {
        let mut frame = BytesMut::with_capacity(5 + message.len());
        frame.put_u8(0);
        // No answer is as long as 4 GiB.
        frame.put_u32(message.len() as u32);
        frame.extend_from_slice(message);
        let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from(code::OK))]);
        Self { message: Some(frame.freeze()), trailers: Some(trailers) }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let message = self.message.take().map(Frame::data);
        let frame = message.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.message.as_ref().map_or(0, |message| message.len() as u64))
    }
}
