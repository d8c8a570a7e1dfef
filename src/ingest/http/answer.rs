//! What an emitter is told: Datadog's own bodies on success, `{"errors":["..."]}` otherwise.

use super::body::BodyError;
use super::encoding::{DecodeError, Unsupported};
use super::route::Voice;
use crate::ingest::outcome::Rejection;
use crate::tenancy::Denied;
use crate::types::redacted;
use crate::wire::Refusal;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::json;
use std::time::Duration;

/// When to come again while too many bodies are being read.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// When to come again while the store of tenants is out of reach.
const STORE_RETRY: Duration = Duration::from_secs(5);

/// A whole answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// The status of the answer.
    pub status: StatusCode,
    /// What went wrong and what to do about it.
    pub message: String,
    /// When to come again.
    pub retry_after: Option<Duration>,
    /// The methods to use instead.
    pub allow: Option<&'static str>,
    /// Whether the connection is of no further use.
    pub close: bool,
}

impl Problem {
    /// A problem without further headers.
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None, allow: None, close: false }
    }

    /// 503: too much at once.
    pub(super) fn busy() -> Self {
        let message = "too many request bodies are being read at once: send this again, or send smaller requests";
        Self { retry_after: Some(BUSY_RETRY), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    /// 503: no tenant is known yet.
    pub(super) fn no_tenants() -> Self {
        let message = "no tenant is known: the store of tenants is out of reach at present";
        Self { retry_after: Some(STORE_RETRY), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    /// 408: the body took too long.
    pub(super) fn slow(limit: Duration) -> Self {
        let message = format!("the body did not arrive within {} seconds (ingest.body_timeout)", limit.as_secs_f64());
        Self { close: true, ..Self::new(StatusCode::REQUEST_TIMEOUT, message) }
    }

    /// 413: over `ingest.max_body`.
    pub(super) fn too_large(limit: usize) -> Self {
        let message =
            format!("the body is larger than {limit} bytes (ingest.max_body, decompressed): send less at once");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// 405.
    pub(super) fn method(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("use the method {allow}")) }
    }

    /// 500: a fault of this program.
    pub(super) fn internal() -> Self {
        let message = "an internal error of the daemon (its log says more); nothing of this request was taken";
        Self { close: true, ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, message) }
    }

    /// What went wrong while reading a body of at most `limit` bytes.
    pub(super) fn of_body(error: BodyError, limit: usize) -> Self {
        match error {
            BodyError::TooLarge => Self::too_large(limit),
            BodyError::Exhausted => Self::busy(),
            BodyError::Slow => {
                let message = "the body comes more slowly than 64 KiB a second: send it at once, or less";
                Self { close: true, ..Self::new(StatusCode::REQUEST_TIMEOUT, message) }
            }
            BodyError::Broken(reason) => Self {
                close: true,
                ..Self::new(StatusCode::BAD_REQUEST, format!("the body could not be read: {reason}"))
            },
        }
    }

    /// What went wrong while decoding a body to at most `limit` bytes.
    pub(super) fn of_decoding(error: DecodeError, limit: usize) -> Self {
        match error {
            DecodeError::TooLarge => Self::too_large(limit),
            DecodeError::Exhausted => Self::busy(),
            DecodeError::Corrupt(encoding, reason) => {
                Self::new(StatusCode::BAD_REQUEST, format!("the body is not valid {}: {reason}", encoding.name()))
            }
        }
    }
}

impl From<Unsupported> for Problem {
    fn from(unsupported: Unsupported) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, unsupported.to_string())
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let status = match &rejection {
            Rejection::Invalid(Refusal::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Rejection::Invalid(_) => StatusCode::BAD_REQUEST,
            Rejection::Denied(Denied::TokenMissing | Denied::Unnamed(_)) => StatusCode::UNAUTHORIZED,
            Rejection::Denied(Denied::Invalid(_)) => StatusCode::BAD_REQUEST,
            Rejection::Denied(_) => StatusCode::FORBIDDEN,
            Rejection::TooFast { .. } | Rejection::Full { .. } => StatusCode::TOO_MANY_REQUESTS,
            Rejection::StoreUnreachable | Rejection::Storage | Rejection::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self {
            retry_after: rejection.retry_after(),
            close: matches!(rejection, Rejection::Stopping),
            ..Self::new(status, rejection.to_string())
        }
    }
}

impl Problem {
    /// The answer, in the form of its path.
    pub(super) fn answer(self, voice: Voice) -> Answer {
        // It may quote names that were meant to be tokens.
        let message = redacted(&self.message);
        let status = self.status;
        let body = match voice {
            Voice::Texts => json!({ "errors": [message] }),
            Voice::Objects => {
                let title = status.canonical_reason().unwrap_or_default();
                json!({ "errors": [{ "status": status.as_str(), "title": title, "detail": message }] })
            }
            Voice::Code => json!({ "code": status.as_u16(), "message": message }),
        };
        let mut answer = json_answer(status, Bytes::from(body.to_string()));
        let headers = answer.headers_mut();
        if let Some(after) = self.retry_after {
            // Whole seconds, rounded up: coming too early would be refused again.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

/// A JSON answer.
pub(super) fn json_answer(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// A JSON answer that never changes.
pub(super) fn fixed(status: StatusCode, body: &'static str) -> Answer {
    json_answer(status, Bytes::from_static(body.as_bytes()))
}
