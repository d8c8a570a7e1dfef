//! What is served on the operator's port, and by which handler.

use super::answer::{Json, Refusal, finished};
use super::document::{self, Head};
use super::{Admin, connecting, daemon, dogstatsd, probes, tenants, tokens};
use crate::api::PREFIX;
use crate::serve::{Browsers, Connection, Peer};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap};
use std::sync::Arc;
use tower_service::Service;
use tracing::error;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Every operation of the admin API: a line a path, with the handlers of its methods.
fn operations() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::default()
        .routes(routes!(openapi))
        .routes(routes!(daemon::status))
        .routes(routes!(daemon::reload))
        .routes(routes!(dogstatsd::show))
        .routes(routes!(tenants::list, tenants::create))
        .routes(routes!(tenants::show, tenants::update, tenants::remove))
        .routes(routes!(tenants::pause))
        .routes(routes!(tenants::resume))
        .routes(routes!(connecting::connect))
        .routes(routes!(connecting::confirm))
        .routes(routes!(connecting::disconnect))
        .routes(routes!(connecting::decide_held))
        .routes(routes!(connecting::callback))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "daemon",
    responses((status = 200, description = "The document", body = serde_json::Value))
)]
async fn openapi() -> impl IntoResponse {
    // Made anew each time: it is asked for too seldom to be kept.
    let mut document = OpenApiRouter::with_openapi(Head::openapi()).nest(PREFIX, operations()).into_openapi();
    document::complete(&mut document);
    Json(document)
}

/// The admin API, for whom it knows, and what monitors ask for, for all.
pub(super) fn operator(admin: Arc<Admin>) -> Router {
    let (api, _) = operations().split_for_parts();
    let api = api
        .fallback(async || Refusal::unknown_path("nothing is served here; /admin/v1/openapi.json says what there is"))
        .layer(from_fn_with_state(admin.clone(), authenticate));
    probes()
        .nest(PREFIX, api)
        .fallback(async || {
            Refusal::unknown_path("nothing is served here; there are /metrics, /healthz, /readyz and /admin/v1/")
        })
        .layer(from_fn_with_state(admin.clone(), keep_pages_out))
        .with_state(admin)
}

/// What monitors ask for, alone.
pub(super) fn monitor(admin: Arc<Admin>) -> Router {
    probes()
        .fallback(async || Refusal::unknown_path("nothing is served here; there are /metrics, /healthz and /readyz"))
        .layer(from_fn_with_state(admin.clone(), keep_pages_out))
        .with_state(admin)
}

fn probes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/metrics", get(probes::metrics))
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
}

/// Answers a request. Once begun, an operation is finished, also when the operator goes away in the meantime.
pub(super) async fn respond(mut router: Router, request: Request<Incoming>) -> Response<Body> {
    let response = match tokio::spawn(router.call(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(panic) => {
            error!(%panic, "answering a request of the admin API failed");
            Refusal::internal().into_response()
        }
    };
    finished(response)
}

/// Whoever shows the token is no web page; anybody else is looked at.
async fn keep_pages_out(
    State(admin): State<Arc<Admin>>,
    Extension(connection): Extension<Connection>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let is_local = matches!(connection.peer(), Peer::Unix { .. });
    if !is_local && !has_token(&admin, request.headers()) {
        let names = &admin.control.settings().admin.allowed_hosts;
        Browsers { names, key: "admin.allowed_hosts", navigation: false }.check(&request)?;
    }
    Ok(next.run(request).await)
}

/// Lets the operator in: over TCP by the token, over the Unix socket by the user that asks.
async fn authenticate(
    State(admin): State<Arc<Admin>>,
    Extension(connection): Extension<Connection>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    match connection.peer() {
        Peer::Unix { uid } if !uid.is_some_and(|uid| uid == 0 || uid == admin.token.owner()) => {
            return Err(Refusal::other_user(admin.token.owner()));
        }
        Peer::Ip(_) if !has_token(&admin, request.headers()) => return Err(Refusal::unauthorized()),
        Peer::Unix { .. } | Peer::Ip(_) => {}
    }
    connection.trust();
    Ok(next.run(request).await)
}

fn has_token(admin: &Admin, headers: &HeaderMap) -> bool {
    let mut authorization = headers.get_all(AUTHORIZATION).iter();
    let is_admitted = authorization.next().is_some_and(|header| admin.token.admits(header.as_bytes()));
    is_admitted && authorization.next().is_none()
}
