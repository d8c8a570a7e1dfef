//! Validation of API keys, in its three forms.

use super::answer::{Answer, errors, json_body};
use super::headers::header;
use super::ids::uuid;
use super::keys::Verdict;
use super::state::Shared;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde_json::json;

/// The answer, if the request is one of these.
pub(super) fn respond(shared: &Shared, request: &Parts, key: Option<&str>) -> Option<Answer> {
    let path = request.uri.path();
    if !matches!(path, "/api/v1/validate" | "/api/v2/validate" | "/api/v2/validate_keys") {
        return None;
    }
    if request.method != Method::GET {
        return Some(errors(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"));
    }
    let org = match shared.keys.judge(key) {
        Verdict::Valid(org) => org,
        Verdict::Missing => return Some(errors(StatusCode::FORBIDDEN, "API key required")),
        Verdict::Malformed | Verdict::Unknown => return Some(errors(StatusCode::FORBIDDEN, "Forbidden")),
    };
    let body = match path {
        "/api/v1/validate" => json!({ "valid": true }),
        "/api/v2/validate" => {
            let key_id = uuid(&format!("key {}", key.unwrap_or_default()));
            let attributes = json!({ "valid": true, "api_key_id": key_id, "api_key_scopes": [] });
            json!({ "data": { "id": uuid(&org), "type": "validate_v2", "attributes": attributes } })
        }
        _ => match header(&request.headers, "dd-application-key") {
            Some(key) if key.len() == 40 => json!({ "status": "ok" }),
            Some(_) => return Some(errors(StatusCode::FORBIDDEN, "Forbidden")),
            None => return Some(errors(StatusCode::UNAUTHORIZED, "Unauthorized")),
        },
    };
    Some(json_body(StatusCode::OK, &body))
}
