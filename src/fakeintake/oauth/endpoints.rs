//! The HTTP endpoints of the OAuth server.

use super::consent::{self, Authorization, Parameters};
use super::grants::{Client, Code, Grants, INVALID_CODE, Issued, Wrong, secret};
use crate::fakeintake::answer::{Answer, errors, json_body};
use crate::fakeintake::headers::header;
use crate::fakeintake::ids::uuid;
use crate::fakeintake::keys::Key;
use crate::fakeintake::state::Shared;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

const AUTHORIZE: &str = "/oauth2/v1/authorize";
const TOKEN: &str = "/oauth2/v1/token";
const REVOKE: &str = "/oauth2/v1/revoke";
const MARKETPLACE_KEY: &str = "/api/v2/api_keys/marketplace";

/// The answer, if the request is for the OAuth server.
pub(in crate::fakeintake) fn respond(shared: &Shared, request: &Parts, body: &[u8]) -> Option<Answer> {
    let post = request.method == Method::POST;
    let answer = match request.uri.path() {
        AUTHORIZE if request.method == Method::GET || post => authorize(shared, request, body),
        TOKEN if post => token(shared, request, body),
        REVOKE if post => revoke(shared, request, body),
        MARKETPLACE_KEY if post => marketplace_key(shared, request),
        AUTHORIZE | TOKEN | REVOKE | MARKETPLACE_KEY => errors(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
        _ => return None,
    };
    Some(answer)
}

fn form(bytes: &[u8]) -> Parameters {
    form_urlencoded::parse(bytes).into_owned().collect()
}

/// The page on GET, the customer's decision on POST: `decision` (`approve` or `deny`) and `org`.
fn authorize(shared: &Shared, request: &Parts, body: &[u8]) -> Answer {
    let mut parameters = form(request.uri.query().unwrap_or_default().as_bytes());
    parameters.extend(form(body));
    let get = |name: &str| parameters.get(name).map_or("", String::as_str);
    let mut grants = shared.oauth.grants();
    let Some(client) = grants.clients.get(get("client_id")).cloned() else {
        return consent::error("invalid_request - Invalid client_id parameter value");
    };
    let redirect_uri = get("redirect_uri");
    if !client.redirect_uris.iter().any(|known| known == redirect_uri) {
        return consent::error("invalid_request - Mismatching redirect URI");
    }
    let state = parameters.get("state").map(|state| ("state", state.as_str()));
    let back = |pairs: &[(&str, &str)]| redirect(redirect_uri, pairs.iter().copied().chain(state));
    let wrong = |error, description| back(&[("error", error), ("error_description", description)]);
    if get("response_type") != "code" {
        return wrong("unsupported_response_type", "response_type must be code");
    }
    if get("code_challenge_method") != "S256" || get("code_challenge").len() != 43 {
        return wrong("invalid_request", "a code_challenge with the method S256 is required");
    }
    if request.method == Method::GET {
        return consent::page(&Authorization { client: &client, redirect_uri, parameters: &parameters });
    }
    let org = match get("org") {
        "" => client.orgs.first(),
        id => client.orgs.iter().find(|org| org.id == id),
    };
    let Some(org) = org else { return consent::error("invalid_request - Unknown organisation") };
    if get("decision") != "approve" {
        return wrong("access_denied", "The user refused");
    }
    let code = grants.approve(Code {
        client_id: client.client_id.clone(),
        org: org.id.clone(),
        redirect_uri: redirect_uri.to_owned(),
        challenge: get("code_challenge").to_owned(),
        issued: Instant::now(),
    });
    back(&[
        ("code", &code),
        ("domain", &org.domain),
        ("site", &org.site),
        ("client_id", &client.client_id),
        ("dd_oid", &uuid(&org.id)),
        ("dd_org_name", &org.name),
    ])
}

fn redirect<'a>(to: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Answer {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let joint = if to.contains('?') { '&' } else { '?' };
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::FOUND;
    match HeaderValue::try_from(format!("{to}{joint}{query}")) {
        Ok(location) => drop(answer.headers_mut().insert(LOCATION, location)),
        Err(_) => return consent::error("invalid_request - Mismatching redirect URI"),
    }
    answer
}

/// The parameters of a client's request, and the client if it is authenticated.
fn client_request(grants: &Grants, request: &Parts, body: &[u8]) -> Result<(Client, Parameters), (StatusCode, Wrong)> {
    let content_type = header(&request.headers, CONTENT_TYPE).unwrap_or_default();
    let parameters = match content_type.split(';').next().unwrap_or_default().trim() {
        "application/x-www-form-urlencoded" => form(body),
        "application/json" => serde_json::from_slice(body).unwrap_or_default(),
        // What Datadog's troubleshooting page says happens.
        _ => return Err((StatusCode::BAD_REQUEST, INVALID_CODE)),
    };
    let id = parameters.get("client_id").map_or("", String::as_str);
    let Some(client) = grants.clients.get(id) else {
        return Err((StatusCode::BAD_REQUEST, ("invalid_client", "Invalid client_id parameter value")));
    };
    match (&client.client_secret, parameters.get("client_secret")) {
        // The one case for which the documentation has 401.
        (Some(_), None) => Err((StatusCode::UNAUTHORIZED, ("invalid_client", "client_secret is missing"))),
        (Some(secret), Some(given)) if secret != given => {
            Err((StatusCode::BAD_REQUEST, ("invalid_client", "Invalid client_secret")))
        }
        _ => Ok((client.clone(), parameters)),
    }
}

fn error(status: StatusCode, (error, description): Wrong) -> Answer {
    json_body(status, &json!({ "error": error, "error_description": description }))
}

fn token(shared: &Shared, request: &Parts, body: &[u8]) -> Answer {
    let mut grants = shared.oauth.grants();
    let issued = client_request(&grants, request, body).and_then(|(client, parameters)| {
        let issued = issue(&mut grants, &client, &parameters).map_err(|wrong| (StatusCode::BAD_REQUEST, wrong))?;
        Ok(tokens(&client, issued))
    });
    issued.unwrap_or_else(|(status, wrong)| {
        grants.counts.refused += 1;
        tracing::warn!("{status} to {TOKEN}: {}", wrong.1);
        error(status, wrong)
    })
}

fn issue(grants: &mut Grants, client: &Client, parameters: &Parameters) -> Result<Issued, Wrong> {
    let get = |name: &str, missing| parameters.get(name).map(String::as_str).ok_or(("invalid_request", missing));
    match get("grant_type", "grant_type is missing")? {
        "authorization_code" => {
            let code = get("code", "code is missing")?;
            let redirect_uri = get("redirect_uri", "redirect_uri is missing")?;
            grants.exchange(client, code, redirect_uri, get("code_verifier", "code_verifier is missing")?)
        }
        "refresh_token" => grants.refresh(client, get("refresh_token", "refresh_token is missing")?),
        _ => Err(("unsupported_grant_type", "grant_type is neither authorization_code nor refresh_token")),
    }
}

fn tokens(client: &Client, issued: Issued) -> Answer {
    let scope = if client.may_create_keys { "api_keys_write" } else { "" };
    let mut body = json!({
        "access_token": issued.access, "expires_in": issued.expires_in, "token_type": "Bearer", "scope": scope,
    });
    if let Some(refresh) = issued.refresh {
        body["refresh_token"] = Value::String(refresh);
    }
    let mut answer = json_body(StatusCode::OK, &body);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// 200 for unknown tokens too (RFC 7009, 2.2).
fn revoke(shared: &Shared, request: &Parts, body: &[u8]) -> Answer {
    let mut grants = shared.oauth.grants();
    let (client, parameters) = match client_request(&grants, request, body) {
        Ok(request) => request,
        Err((status, wrong)) => return error(status, wrong),
    };
    let Some(token) = parameters.get("token") else {
        return error(StatusCode::BAD_REQUEST, ("invalid_request", "token is missing"));
    };
    grants.revoke(&client, token);
    json_body(StatusCode::OK, &json!({}))
}

/// Creates the one API key that a client may have in an organisation, for a bearer of an access token.
fn marketplace_key(shared: &Shared, request: &Parts) -> Answer {
    let mut grants = shared.oauth.grants();
    let bearer = header(&request.headers, AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    let Some((client, org)) = bearer.and_then(|token| grants.bearer(token)) else {
        return errors(StatusCode::UNAUTHORIZED, "Unauthorized");
    };
    if !client.may_create_keys {
        return errors(StatusCode::FORBIDDEN, "Forbidden");
    }
    let (client_id, org, name) = (client.client_id.clone(), org.to_owned(), client.name.clone());
    let key = Key { key: secret(), org, valid: true, client_id: Some(client_id) };
    if !shared.keys.create(key.clone()) {
        grants.counts.key_conflicts += 1;
        tracing::info!("organisation {} already has a key of client {}", key.org, client_id_of(&key));
        return errors(StatusCode::CONFLICT, "An API key with this name already exists");
    }
    grants.counts.keys_created += 1;
    let now = jiff::Timestamp::now().to_string();
    let user = json!({ "data": { "type": "users", "id": uuid(&format!("user {}", key.org)) } });
    let attributes = json!({
        "created_at": now, "modified_at": now, "key": key.key, "last4": key.key[28..],
        "name": format!("[{name}] OAuth Client API Key {}", uuid(client_id_of(&key))),
    });
    let data = json!({
        "type": "api_keys", "id": uuid(&format!("key {}", key.key)), "attributes": attributes,
        "relationships": { "created_by": user, "modified_by": user },
    });
    json_body(StatusCode::CREATED, &json!({ "data": data }))
}

fn client_id_of(key: &Key) -> &str {
    key.client_id.as_deref().unwrap_or_default()
}
