//! Operations on the daemon itself.

use super::Admin;
use super::answer::{Json, Refusal};
use crate::api::{Problem, ReloadedView, StatusView};
use axum::extract::State;
use hyper::StatusCode;
use std::sync::Arc;

/// The daemon and all tenants at a glance.
#[utoipa::path(
    get, path = "/status", operation_id = "status", tag = "daemon",
    responses((status = 200, description = "How it is", body = StatusView))
)]
pub(super) async fn status(State(admin): State<Arc<Admin>>) -> Json<StatusView> {
    Json(admin.control.status(admin.not_ready()).await)
}

/// Reads the configuration again, as SIGHUP does.
///
/// What cannot change while the daemon runs waits for a restart. When something is wrong, the configuration that was in force
/// stays.
#[utoipa::path(
    post, path = "/reload", operation_id = "reload", tag = "daemon",
    responses(
        (status = 200, description = "What has changed, and what waits for a restart", body = ReloadedView),
        (status = 409, description = "This daemon was not started from a configuration file", body = Problem),
        (status = 422, description = "The configuration is wrong: every reason, with its place", body = Problem)
    )
)]
pub(super) async fn reload(State(admin): State<Arc<Admin>>) -> Result<Json<ReloadedView>, Refusal> {
    let Some(reload) = admin.reload.get() else {
        let message = "this daemon was not started from a configuration file: there is nothing to reload";
        return Err(Refusal::new(StatusCode::CONFLICT, "not_reloadable", message));
    };
    reload.reload().await.map(Json).map_err(Refusal::configuration)
}
