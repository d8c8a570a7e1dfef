//! Reading requests, within bounds; what cannot be read is refused in the form of this API.

use super::answer::{Json, Refusal};
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, RawPathParams, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::Body as _;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use hyper::http::request::Parts;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The largest body, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// The parameters of a path.
pub(super) struct Path<T>(pub T);

/// The parameters of a query.
pub(super) struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let parameters = RawPathParams::from_request_parts(parts, state).await;
        let parameters = parameters.map_err(|error| Refusal::bad_request(format!("the path is invalid: {error}")))?;
        parameters_of("path", parameters.iter()).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let query = parts.uri.query().unwrap_or_default();
        parameters_of("query", form_urlencoded::parse(query.as_bytes())).map(Self)
    }
}

fn parameters_of<T: DeserializeOwned>(
    what: &str,
    pairs: impl Iterator<Item = (impl Into<String>, impl Into<String>)>,
) -> Result<T, Refusal> {
    let mut fields = serde_json::Map::new();
    for (name, value) in pairs {
        let name = name.into();
        if fields.insert(name.clone(), value.into().into()).is_some() {
            return Err(Refusal::bad_request(format!("{name} is in the {what} more than once")));
        }
    }
    serde_json::from_value(fields.into())
        .map_err(|error| Refusal::bad_request(format!("the {what} is invalid: {error}")))
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let (head, body) = request.into_parts();
        object(&head.headers, &read(body).await?)
    }
}

/// A body that may be left out, or be `null`.
impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Option<Self>, Refusal> {
        let (head, body) = request.into_parts();
        let body = read(body).await?;
        let is_none = body.is_empty() || is_json(&head.headers) && body.trim_ascii() == b"null";
        if is_none { Ok(None) } else { object(&head.headers, &body).map(Some) }
    }
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    let too_large = || {
        let message = format!("the body is larger than {MAX_BODY} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    };
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Refusal::bad_request(format!("the body could not be read: {error}"))),
        Err(_) => {
            let message = format!("the body did not arrive within {} seconds", BODY_TIMEOUT.as_secs());
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "slow", message))
        }
    }
}

fn object<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<Json<T>, Refusal> {
    if !is_json(headers) {
        let message = "the body must be JSON, not encoded: send Content-Type: application/json";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", message));
    }
    // Arrays would be taken for the fields in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Refusal::bad_request("the body is invalid: it must be a JSON object"));
    }
    // The error tells where. What it quotes is redacted when it is answered.
    let read = serde_json::from_slice(body).map(Json);
    read.map_err(|error| Refusal::bad_request(format!("the body is invalid: {error}")))
}

fn is_json(headers: &HeaderMap) -> bool {
    let is_encoded = headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity");
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json") && !is_encoded
}
