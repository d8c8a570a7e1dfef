//! Answers of the admin API.

use crate::control::ControlError;
use crate::types::redacted;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

/// A whole answer.
pub(in crate::admin) type Answer = Response<Full<Bytes>>;

/// What every answer that is no success says.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// What went wrong and what to do about it.
    errors: Vec<String>,
    /// A name for programs.
    code: &'static str,
    #[serde(skip)]
    status: StatusCode,
    #[serde(skip)]
    allow: Option<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { errors: vec![message.into()], code, status, allow: None }
    }

    /// 400.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// 422: the configuration is wrong.
    pub(super) fn configuration(errors: Vec<String>) -> Self {
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "configuration", "") }
    }

    /// 401.
    pub(super) fn unauthorized() -> Self {
        let message = "send the token of admin.token in the state directory: Authorization: Bearer TOKEN";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// 404.
    pub(super) fn no_such_path() -> Self {
        let message = "nothing is served here; /admin/v1/openapi.json says what there is";
        Self::new(StatusCode::NOT_FOUND, "unknown_path", message)
    }

    /// 405.
    pub(super) fn method(allow: String) -> Self {
        let message = format!("use one of the methods {allow}");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", message) }
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, error.code(), error.to_string())
    }
}

impl From<Problem> for Answer {
    fn from(mut problem: Problem) -> Self {
        for error in &mut problem.errors {
            // It may quote names and values that were meant to be something else: a key in the place of a name, say.
            *error = redacted(error).into_owned();
        }
        let mut answer = json(problem.status, &problem);
        let headers = answer.headers_mut();
        match problem.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"dogsled\""));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        if let Some(Ok(allow)) = problem.allow.map(HeaderValue::try_from) {
            headers.insert(ALLOW, allow);
        }
        answer
    }
}

/// A JSON answer. There are secrets among them, so nobody on the way may keep any.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let (status, body) = match serde_json::to_vec(body) {
        Ok(body) => (status, body),
        // None of the types can fail.
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, serde_json::json!({ "errors": [error.to_string()] }).to_string().into())
        }
    };
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// 204.
pub(super) fn nothing() -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}
