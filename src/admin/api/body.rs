//! Reading what the operator sends, within bounds.

use super::answer::Problem;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Bytes of a body.
const LIMIT: usize = 64 * 1024;

/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A body that was read, and how it says it is written.
pub(super) struct Sent {
    bytes: Bytes,
    is_json: bool,
}

impl Sent {
    /// Reads the body of a request.
    pub(super) async fn read(headers: &HeaderMap, body: Incoming) -> Result<Self, Problem> {
        let too_large = || {
            let message = format!("the body is larger than {LIMIT} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
        };
        if body.size_hint().lower() > LIMIT as u64 {
            return Err(too_large());
        }
        let bytes = match tokio::time::timeout(PATIENCE, Limited::new(body, LIMIT).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
            Ok(Err(error)) => return Err(Problem::bad(format!("the body could not be read: {error}"))),
            Err(_) => {
                let message = format!("the body did not arrive within {} seconds", PATIENCE.as_secs());
                return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "slow", message));
            }
        };
        let encoded = headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity");
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        Ok(Self { bytes, is_json: kind.eq_ignore_ascii_case("application/json") && !encoded })
    }

    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if !self.is_json {
            let message = "the body must be JSON, not encoded: send Content-Type: application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", message));
        }
        // Arrays would be taken for the fields in their order.
        if !self.starts_with(b"{") {
            return Err(Problem::bad("the body is not as asked for: it must be a JSON object"));
        }
        // The error tells where. What it quotes is looked through when it is answered.
        serde_json::from_slice(&self.bytes)
            .map_err(|error| Problem::bad(format!("the body is not as asked for: {error}")))
    }

    /// The body as JSON, or what an empty one and `null` stand for.
    pub(super) fn json_if_any<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        let none = self.bytes.is_empty() || self.is_json && self.bytes.trim_ascii() == b"null";
        if none { Ok(T::default()) } else { self.json() }
    }

    fn starts_with(&self, prefix: &[u8]) -> bool {
        self.bytes.trim_ascii_start().starts_with(prefix)
    }
}
