//! Answers of the operator's port, refusals above all.

use crate::api::Problem;
use crate::control::ControlError;
use crate::serve::NotHere;
use crate::types::redacted;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use serde::Serialize;

/// JSON: the body of an answer, or of a request once it was read.
#[derive(Debug)]
pub(super) struct Json<T>(pub T);

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    problem: Problem,
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
            // None of the types can fail.
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, problem: Problem { errors: vec![message.into()], code: code.to_owned() } }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(super) fn configuration(errors: Vec<String>) -> Self {
        let problem = Problem { errors, code: "configuration".to_owned() };
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, problem }
    }

    pub(super) fn unauthorized() -> Self {
        let message = "send the token of admin.token in the state directory: Authorization: Bearer TOKEN";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    pub(super) fn other_user(daemon: u32) -> Self {
        let message = format!(
            "this socket is for the user that runs the daemon (uid {daemon}) and for root: run the command as one of them"
        );
        Self::new(StatusCode::FORBIDDEN, "other_user", message)
    }

    pub(super) fn unknown_path(message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_path", message)
    }

    pub(super) fn internal() -> Self {
        let message = "an internal error of the daemon; its log says more";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, error.code(), error.to_string())
    }
}

impl From<NotHere> for Refusal {
    fn from(error: NotHere) -> Self {
        Self::new(error.status(), error.code(), error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, mut problem } = self;
        for error in &mut problem.errors {
            // It may quote names and values that were meant to be something else: a key in the place of a name, say.
            *error = redacted(error).into_owned();
        }
        let mut response = (status, Json(problem)).into_response();
        let header = match status {
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer realm=\"dogsled\"")),
            StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, "5")),
            _ => None,
        };
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// What every answer of this port has in common, those that the router itself gives included.
pub(super) fn finished(mut response: Response<Body>) -> Response<Body> {
    if response.status() == StatusCode::METHOD_NOT_ALLOWED
        && let Some(allow) = response.headers_mut().remove(ALLOW)
    {
        let methods = allow.to_str().unwrap_or_default().replace(',', ", ");
        let message = format!("use one of the methods {methods}");
        response = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", message).into_response();
        response.headers_mut().insert(ALLOW, allow);
    }
    let headers = response.headers_mut();
    // There are secrets among them, so nobody on the way may keep any.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Nor may a browser take what others have said in them for a page or a script.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
