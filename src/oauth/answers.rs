//! What Datadog's answers mean. Pure: the status and the body of an answer go in, a judgement comes out.
//! Datadog documents the endpoints and little of their errors, so everything here follows RFC 6749, 5.2, Datadog's
//! usual form `{"errors":["…"]}`, and the status where the body has neither.

use super::words::without;
use crate::types::Secret;
use serde_json::Value;
use std::time::Duration;

/// The life of an access token when the answer does not tell it
/// (docs.datadoghq.com/extend/authorization/oauth2_endpoints: one hour).
const USUAL_LIFE: Duration = Duration::from_secs(3_600);

/// The longest life that is believed.
const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Granted tokens.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub access: Secret,
    /// None on a refresh that does not rotate it.
    pub refresh: Option<Secret>,
    pub life: Duration,
    pub scopes: String,
}

/// Why no tokens were granted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoGrant {
    /// The code or the refresh token is invalid for good.
    Invalid(String),
    /// The client itself is refused: the partner must fix that, whatever the tenant.
    Partner(String),
    /// Refused for another reason; a retry would not help.
    Refused(String),
    /// A later attempt may succeed.
    Later(String),
}

/// The outcome of the request for an API key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Creation {
    /// The key, with Datadog's id of it. It is never shown again.
    Made(Secret, Option<String>),
    /// One exists already.
    Exists(String),
    /// Not allowed, or impossible for another reason: no key was created.
    Refused(String),
    /// The access token is invalid: no key was created.
    BadToken(String),
    /// The request was never sent: no key was created.
    NotSent(String),
    /// A key may have been created that nobody has seen.
    Lost(String),
}

/// The outcome of validating a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Validation {
    /// The key is valid; with its organisation's id where the site has the endpoint for it.
    Valid(Option<String>),
    /// Datadog refuses it.
    Invalid(String),
    /// Nothing is known.
    Unknown(String),
    /// The site lacks the endpoint that returns the organisation.
    NoSuchEndpoint,
}

/// An answer. Its body may hold secrets.
pub(super) struct Received {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Received {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// RFC 9110: time-out, rate limit, or trouble of the server's own.
    fn is_transient(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500..)
    }

    /// The status, and Datadog's own words for it.
    fn words(&self, secrets: &[&Secret]) -> String {
        let json = self.json();
        let first = &json["errors"][0];
        let text = [&json["error_description"], first, &first["detail"], &json["error"], &json["message"]]
            .into_iter()
            .find_map(Value::as_str);
        let body = String::from_utf8_lossy(&self.body);
        let text = match (text, json["error"].as_str()) {
            (Some(text), Some(error)) if error != text => format!("{error}: {text}"),
            (Some(text), _) => text.to_owned(),
            // A page of a proxy, say, of which the status tells more than its beginning.
            (None, _) if body.trim_start().starts_with('<') => String::new(),
            (None, _) => body.into_owned(),
        };
        without(&format!("{} {text}", self.status), secrets)
    }
}

/// Judges the answer to a request for tokens. Errors as of docs.datadoghq.com/extend/authorization/oauth2_endpoints.
pub(super) fn tokens(received: &Received, secrets: &[&Secret]) -> Result<Grant, NoGrant> {
    let json = received.json();
    if received.is_success() {
        let text = |name: &str| json[name].as_str().filter(|text| !text.is_empty());
        // Some servers write the number as text.
        let life = json["expires_in"].as_u64().or_else(|| json["expires_in"].as_str()?.parse().ok());
        return match text("access_token") {
            Some(access) => Ok(Grant {
                access: Secret::new(access),
                refresh: text("refresh_token").map(Secret::new),
                life: life.map_or(USUAL_LIFE, Duration::from_secs).min(LONGEST_LIFE),
                scopes: text("scope").unwrap_or_default().to_owned(),
            }),
            // Its body is not shown: it may hold tokens.
            None => Err(NoGrant::Later(format!("{} without an access token in it", received.status))),
        };
    }
    Err(refusal(received, secrets))
}

/// The errors of RFC 6749, 5.2.
fn refusal(received: &Received, secrets: &[&Secret]) -> NoGrant {
    let json = received.json();
    let words = received.words(secrets);
    let error = json["error"].as_str().or_else(|| json["errors"][0].as_str()).unwrap_or_default();
    match error {
        "invalid_grant" => NoGrant::Invalid(words),
        "invalid_client" | "unauthorized_client" => NoGrant::Partner(words),
        _ if received.status == 401 => NoGrant::Partner(words),
        _ if received.is_transient() => NoGrant::Later(words),
        _ => NoGrant::Refused(words),
    }
}

/// Judges the answer to a revocation (RFC 7009, 2.2).
pub(super) fn revocation(received: &Received, secrets: &[&Secret]) -> Result<(), NoGrant> {
    if received.is_success() { Ok(()) } else { Err(refusal(received, secrets)) }
}

/// Judges the answer to a request for an API key
/// (docs.datadoghq.com/extend/integrations/api_integration; 409 as seen by others).
pub(super) fn creation(received: &Received, access: &Secret) -> Creation {
    if received.is_success() {
        let data = &received.json()["data"];
        return match data["attributes"]["key"].as_str().filter(|key| !key.is_empty()) {
            Some(key) => Creation::Made(Secret::new(key), data["id"].as_str().map(str::to_owned)),
            None => Creation::Lost(format!("{} without a key in it", received.status)),
        };
    }
    let words = received.words(&[access]);
    match received.status {
        401 => Creation::BadToken(words),
        409 => Creation::Exists(words),
        // The request may have been carried out before the answer went wrong.
        _ if received.is_transient() => Creation::Lost(words),
        _ if words.contains("already exists") => Creation::Exists(words),
        _ => Creation::Refused(words),
    }
}

/// Judges the answer of `GET /api/v2/validate`, or of `/api/v1/validate`, which tells no organisation
/// (docs.datadoghq.com/api/latest/key-management, docs.datadoghq.com/api/latest/authentication).
pub(super) fn validation(received: &Received, key: &Secret) -> Validation {
    if received.is_success() {
        let id = received.json()["data"]["id"].as_str().filter(|id| !id.is_empty()).map(str::to_owned);
        return Validation::Valid(id);
    }
    let words = received.words(&[key]);
    match received.status {
        401 | 403 => Validation::Invalid(words),
        404 | 405 | 410 | 501 => Validation::NoSuchEndpoint,
        _ => Validation::Unknown(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(status: u16, body: &str) -> Received {
        Received { status, body: body.into() }
    }

    fn refused(status: u16, body: &str) -> NoGrant {
        tokens(&received(status, body), &[&Secret::new("s3cret")]).unwrap_err()
    }

    #[test]
    fn a_grant_is_read_without_optional_parts() {
        let whole = r#"{"access_token":"a","refresh_token":"r","expires_in":60,"token_type":"Bearer","scope":"x y"}"#;
        let grant = tokens(&received(200, whole), &[]).unwrap();
        assert_eq!((grant.access.expose(), grant.life, grant.scopes.as_str()), ("a", Duration::from_secs(60), "x y"));
        assert_eq!(grant.refresh.unwrap().expose(), "r");
        let bare = tokens(&received(201, r#"{"access_token":"a","expires_in":"90"}"#), &[]).unwrap();
        assert_eq!((bare.refresh, bare.life), (None, Duration::from_secs(90)));
        let endless = tokens(&received(200, r#"{"access_token":"a","expires_in":18446744073709551615}"#), &[]).unwrap();
        assert_eq!(endless.life, LONGEST_LIFE);
    }

    #[test]
    fn refusals_are_told_apart_by_whose_they_are() {
        assert!(matches!(refused(400, r#"{"error":"invalid_grant"}"#), NoGrant::Invalid(_)));
        assert!(matches!(refused(400, r#"{"errors":["invalid_grant"]}"#), NoGrant::Invalid(_)));
        assert!(matches!(refused(401, r#"{"error":"invalid_grant"}"#), NoGrant::Invalid(_)));
        assert!(matches!(refused(400, r#"{"error":"invalid_client"}"#), NoGrant::Partner(_)));
        assert!(matches!(refused(400, r#"{"error":"unauthorized_client"}"#), NoGrant::Partner(_)));
        assert!(matches!(refused(401, "{}"), NoGrant::Partner(_)));
        assert!(matches!(refused(400, r#"{"error":"invalid_request"}"#), NoGrant::Refused(_)));
        assert!(matches!(refused(302, ""), NoGrant::Refused(_)));
        for status in [408, 429, 500, 502, 599] {
            assert!(matches!(refused(status, "<html>"), NoGrant::Later(_)), "{status}");
        }
        let NoGrant::Later(words) = refused(200, r#"{"token":"s3cret2"}"#) else { panic!("later") };
        assert!(!words.contains("s3cret"), "{words}");
    }

    #[test]
    fn datadogs_words_are_kept_without_our_secrets() {
        let both = refused(400, r#"{"error":"invalid_grant","error_description":"Invalid code s3cret"}"#);
        assert_eq!(both, NoGrant::Invalid("400 invalid_grant: Invalid code [redacted]".into()));
        let house = refused(400, r#"{"errors":[{"status":"400","title":"Bad Request","detail":"why"}]}"#);
        assert_eq!(house, NoGrant::Refused("400 why".into()));
        assert_eq!(refused(503, "<html>long page"), NoGrant::Later("503".into()));
    }

    #[test]
    fn only_explicit_answers_mean_no_key() {
        let judge = |status, body| creation(&received(status, body), &Secret::new("token"));
        let made = r#"{"data":{"type":"api_keys","id":"i","attributes":{"key":"k"}}}"#;
        assert_eq!(judge(201, made), Creation::Made(Secret::new("k"), Some("i".into())));
        assert!(matches!(judge(200, "{}"), Creation::Lost(_)));
        assert!(matches!(judge(409, "{}"), Creation::Exists(_)));
        assert!(matches!(judge(400, r#"{"errors":["A key with this name already exists"]}"#), Creation::Exists(_)));
        assert!(matches!(judge(403, r#"{"errors":["Forbidden"]}"#), Creation::Refused(_)));
        assert!(matches!(judge(401, ""), Creation::BadToken(_)));
        for status in [408, 429, 500, 504] {
            assert!(matches!(judge(status, ""), Creation::Lost(_)), "{status}");
        }
    }

    #[test]
    fn only_datadogs_refusal_makes_a_key_invalid() {
        let judge = |status, body| validation(&received(status, body), &Secret::new("key"));
        assert_eq!(
            judge(200, r#"{"data":{"id":"org","attributes":{"valid":true}}}"#),
            Validation::Valid(Some("org".into()))
        );
        assert_eq!(judge(200, r#"{"valid":true}"#), Validation::Valid(None));
        assert!(matches!(judge(403, ""), Validation::Invalid(_)));
        assert!(matches!(judge(429, ""), Validation::Unknown(_)));
        assert_eq!(judge(404, ""), Validation::NoSuchEndpoint);
    }
}
