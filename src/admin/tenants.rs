//! Operations on tenants.

use super::Admin;
use super::answer::{Json, Refusal};
use super::document::{Invalid, NoTenant, NotOfStore};
use super::extract::{Path, Query};
use crate::api::{
    NewTenant, PREFIX, Problem, RemoveQuery, RemovedView, TenantList, TenantPatch, TenantPath, TenantView,
};
use axum::extract::State;
use axum::response::IntoResponse;
use hyper::StatusCode;
use hyper::header::LOCATION;
use std::sync::Arc;

/// All tenants.
///
/// When the store fails, those of the configuration file, and why the others are missing.
#[utoipa::path(
    get, path = "/tenants", operation_id = "listTenants", tag = "tenants",
    responses((status = 200, description = "The tenants", body = TenantList))
)]
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<TenantList> {
    Json(admin.control.list().await)
}

/// Adds a tenant.
///
/// It is `pending`, and its telemetry is taken and held, until it is connected; with an API key it is `active` at once.
#[utoipa::path(
    post, path = "/tenants", operation_id = "createTenant", tag = "tenants",
    request_body = NewTenant,
    responses(
        Invalid,
        (status = 201, description = "It was added", body = TenantView),
        (status = 409, description = "There is such a tenant already", body = Problem)
    )
)]
pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    Json(new): Json<NewTenant>,
) -> Result<impl IntoResponse, Refusal> {
    let tenant = admin.control.create(new).await?;
    let location = format!("{PREFIX}/tenants/{}", tenant.id);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(tenant)))
}

/// One tenant.
#[utoipa::path(
    get, path = "/tenants/{id}", operation_id = "showTenant", tag = "tenants",
    params(TenantPath),
    responses(NoTenant, (status = 200, description = "The tenant", body = TenantView))
)]
pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    Path(TenantPath { id }): Path<TenantPath>,
) -> Result<Json<TenantView>, Refusal> {
    Ok(Json(admin.control.show(&id).await?))
}

/// Changes a tenant.
#[utoipa::path(
    patch, path = "/tenants/{id}", operation_id = "updateTenant", tag = "tenants",
    params(TenantPath),
    request_body = TenantPatch,
    responses(
        NoTenant,
        (status = 200, description = "The tenant, as it is now", body = TenantView),
        (status = 409, description = "The tenant is in the configuration file, is connected through OAuth, or was changed at the same time", body = Problem)
    )
)]
pub(super) async fn update(
    State(admin): State<Arc<Admin>>,
    Path(TenantPath { id }): Path<TenantPath>,
    Json(patch): Json<TenantPatch>,
) -> Result<Json<TenantView>, Refusal> {
    Ok(Json(admin.control.update(&id, patch).await?))
}

/// Removes a tenant.
///
/// Its authorisation is revoked at Datadog, and its key, tokens and ingest tokens are forgotten. With `telemetry=purge`, what is
/// queued of a tenant that was removed before is dropped, too.
#[utoipa::path(
    delete, path = "/tenants/{id}", operation_id = "removeTenant", tag = "tenants",
    params(TenantPath, RemoveQuery),
    responses(NotOfStore, (status = 200, description = "It is gone", body = RemovedView))
)]
pub(super) async fn remove(
    State(admin): State<Arc<Admin>>,
    Path(TenantPath { id }): Path<TenantPath>,
    Query(RemoveQuery { telemetry }): Query<RemoveQuery>,
) -> Result<Json<RemovedView>, Refusal> {
    Ok(Json(admin.control.remove(&id, telemetry).await?))
}

/// Holds a tenant's telemetry: it is taken, and not delivered.
#[utoipa::path(
    post, path = "/tenants/{id}/pause", operation_id = "pauseTenant", tag = "tenants",
    params(TenantPath),
    responses(NotOfStore, (status = 200, description = "The tenant, as it is now", body = TenantView))
)]
pub(super) async fn pause(
    State(admin): State<Arc<Admin>>,
    Path(TenantPath { id }): Path<TenantPath>,
) -> Result<Json<TenantView>, Refusal> {
    Ok(Json(admin.control.set_paused(&id, true).await?))
}

/// Lets a tenant's telemetry go on.
#[utoipa::path(
    post, path = "/tenants/{id}/resume", operation_id = "resumeTenant", tag = "tenants",
    params(TenantPath),
    responses(NotOfStore, (status = 200, description = "The tenant, as it is now", body = TenantView))
)]
pub(super) async fn resume(
    State(admin): State<Arc<Admin>>,
    Path(TenantPath { id }): Path<TenantPath>,
) -> Result<Json<TenantView>, Refusal> {
    Ok(Json(admin.control.set_paused(&id, false).await?))
}
