//! Validation of API keys, in its three forms.

use super::answer::{Answer, errors, json_body};
use super::keys::Verdict;
use super::state::Shared;
use super::submit::header;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde_json::json;
use sha2::{Digest, Sha256};

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

/// The UUID (version 8) that always goes with this name.
pub(super) fn uuid(name: &str) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(name)[..16]);
    let bits = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | 0x8 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_uuid_of_a_name_has_version_and_variant() {
        let uuid = super::uuid("org");
        assert_eq!((uuid.len(), uuid.matches('-').count()), (36, 4));
        assert_eq!((&uuid[14..15], &uuid[19..20] >= "8" && &uuid[19..20] <= "b"), ("8", true));
    }
}
