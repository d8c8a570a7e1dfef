//! `/admin/v1/`: the operator's API. Paths and methods are matched here; what they do is in `handlers`, which is also
//! what `document` makes the OpenAPI document of.

mod answer;
mod body;
mod document;
mod handlers;
mod requests;

pub(super) use answer::Answer;

use super::Admin;
use crate::types::TenantId;
use answer::Problem;
use body::Sent;
use handlers::Asked;
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request, StatusCode};
use std::borrow::Cow;
use std::sync::Arc;
use tracing::error;

/// Where the API begins.
pub(super) const PREFIX: &str = "/admin/v1/";

/// Answers a request to the API. What has begun is finished, also when the operator goes away meanwhile.
pub(super) async fn answer(admin: Arc<Admin>, request: Request<Incoming>) -> Answer {
    let answering = tokio::spawn(async move { respond(&admin, request).await });
    match answering.await {
        Ok(answered) => answered.unwrap_or_else(Answer::from),
        Err(panic) => {
            error!(%panic, "answering a request of the admin API failed");
            let message = "an internal error of the daemon; its log says more";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message).into()
        }
    }
}

async fn respond(admin: &Admin, request: Request<Incoming>) -> Result<Answer, Problem> {
    let mut authorization = request.headers().get_all(AUTHORIZATION).iter();
    let admitted = authorization.next().is_some_and(|header| admin.token.admits(header.as_bytes()));
    if !admitted || authorization.next().is_some() {
        return Err(Problem::unauthorized());
    }
    let (head, body) = request.into_parts();
    let path = head.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let segments = path.split('/').map(decoded).collect::<Result<Vec<_>, _>>()?;
    let segments: Vec<&str> = segments.iter().map(|segment| &**segment).collect();
    let Some(methods) = methods(&segments) else { return Err(Problem::no_such_path()) };
    // What answers GET answers HEAD too; hyper leaves the body out.
    let method = if head.method == Method::HEAD { Method::GET } else { head.method };
    if !methods.contains(&method) {
        let mut allow: Vec<&str> = methods.iter().map(Method::as_str).collect();
        if allow.contains(&"GET") {
            allow.push("HEAD");
        }
        return Err(Problem::method(allow.join(", ")));
    }
    let sent = Sent::read(&head.headers, body).await?;
    let asked = Asked { control: &admin.control, query: head.uri.query().unwrap_or_default(), sent };
    let get = method == Method::GET;
    match segments.as_slice() {
        ["openapi.json"] => handlers::openapi().await,
        ["status"] => handlers::status(&asked, admin.unready()).await,
        ["reload"] => handlers::reload(admin.reload.get().map(|reload| &**reload)).await,
        ["tenants"] if get => handlers::list(&asked).await,
        ["tenants"] => handlers::create(&asked).await,
        ["oauth", "callback"] => handlers::callback(&asked).await,
        ["tenants", id, rest @ ..] => {
            let id = TenantId::new(id).map_err(|error| Problem::bad(error.to_string()))?;
            match rest {
                [] if get => handlers::show(&asked, &id).await,
                [] if method == Method::PATCH => handlers::update(&asked, &id).await,
                [] => handlers::remove(&asked, &id).await,
                ["connect"] => handlers::connect(&asked, &id).await,
                ["disconnect"] => handlers::disconnect(&asked, &id).await,
                ["pause"] => handlers::pause(&asked, &id).await,
                ["resume"] => handlers::resume(&asked, &id).await,
                ["held"] => handlers::decide_held(&asked, &id).await,
                ["tokens"] if get => handlers::list_tokens(&asked, &id).await,
                ["tokens"] => handlers::create_token(&asked, &id).await,
                ["tokens", token] => handlers::revoke_token(&asked, &id, token).await,
                _ => Err(Problem::no_such_path()),
            }
        }
        _ => Err(Problem::no_such_path()),
    }
}

/// The methods of a path; none for a path that is not there.
fn methods(segments: &[&str]) -> Option<&'static [Method]> {
    const GET: &[Method] = &[Method::GET];
    const POST: &[Method] = &[Method::POST];
    match segments {
        ["openapi.json" | "status"] => Some(GET),
        ["tenants"] | ["tenants", _, "tokens"] => Some(&[Method::GET, Method::POST]),
        ["tenants", _] => Some(&[Method::GET, Method::PATCH, Method::DELETE]),
        ["reload"] => Some(POST),
        ["oauth", "callback"] | ["tenants", _, "connect" | "disconnect" | "pause" | "resume" | "held"] => Some(POST),
        ["tenants", _, "tokens", _] => Some(&[Method::DELETE]),
        _ => None,
    }
}

/// A segment of a path without percent signs.
fn decoded(segment: &str) -> Result<Cow<'_, str>, Problem> {
    if !segment.contains('%') {
        return Ok(Cow::Borrowed(segment));
    }
    let wrong = || Problem::bad("the path has a percent sign that does not stand for UTF-8");
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
                u8::try_from(high * 16 + low).map_err(|_| wrong())?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| wrong())
}
