//! Operations that connect a tenant's organisation, and what follows from that.

use super::Admin;
use super::answer::{Json, Refusal};
use super::document::{NoTenant, NotOfStore};
use super::extract::Path;
use crate::api::{
    BegunView, CallbackRequest, ConfirmRequest, ConnectRequest, ConnectedView, DisconnectedView, HeldRequest, HeldView,
    Problem, TenantPath,
};
use axum::extract::State;
use std::sync::Arc;

/// Begins to connect a tenant through OAuth.
///
/// Send the customer's browser to the `authorize_url` of the answer within ten minutes. Datadog redirects it to the connect
/// listener, which sends it to `oauth.success_url` with a `ticket` for `confirm`; or to the application, which forwards the
/// query to `/admin/v1/oauth/callback`. Either way the application names the `session` that it named here.
#[utoipa::path(
    post, path = "/tenants/{id}/connect", operation_id = "connectTenant", tag = "connecting",
    params(TenantPath),
    request_body = Option<ConnectRequest>,
    responses(
        NoTenant,
        (status = 200, description = "The authorisation has begun", body = BegunView),
        (status = 409, description = "The tenant is in the configuration file, or no OAuth client is configured", body = Problem)
    )
)]
pub(super) async fn connect(
    State(admin): State<Arc<Admin>>,
    Path(TenantPath { id }): Path<TenantPath>,
    request: Option<Json<ConnectRequest>>,
) -> Result<Json<BegunView>, Refusal> {
    let request = request.map(|Json(request)| request).unwrap_or_default();
    Ok(Json(admin.control.connect(&id, &request).await?))
}

/// Confirms an authorisation that came back to the connect listener, from the session in which it was begun.
#[utoipa::path(
    post, path = "/tenants/{id}/connect/confirm", operation_id = "confirmConnection", tag = "connecting",
    params(TenantPath),
    request_body = ConfirmRequest,
    responses(
        NoTenant,
        (status = 200, description = "The tenant is connected", body = ConnectedView),
        (status = 403, description = "The authorisation was begun for another tenant or in another session", body = Problem),
        (status = 409, description = "No OAuth client is configured, another tenant has the organisation, or there is no key: the text says what the customer must do", body = Problem),
        (status = 410, description = "This ticket was used before, or took too long", body = Problem),
        (status = 502, description = "Datadog refuses the authorisation code, or the client", body = Problem)
    )
)]
pub(super) async fn confirm(
    State(admin): State<Arc<Admin>>,
    Path(TenantPath { id }): Path<TenantPath>,
    Json(request): Json<ConfirmRequest>,
) -> Result<Json<ConnectedView>, Refusal> {
    Ok(Json(admin.control.confirm(&id, &request).await?))
}

/// Revokes a tenant's authorisation and forgets its key; its telemetry is held from then on.
#[utoipa::path(
    post, path = "/tenants/{id}/disconnect", operation_id = "disconnectTenant", tag = "connecting",
    params(TenantPath),
    responses(NotOfStore, (status = 200, description = "It is disconnected", body = DisconnectedView))
)]
pub(super) async fn disconnect(
    State(admin): State<Arc<Admin>>,
    Path(TenantPath { id }): Path<TenantPath>,
) -> Result<Json<DisconnectedView>, Refusal> {
    Ok(Json(admin.control.disconnect(&id).await?))
}

/// Takes Datadog's answer to an authorisation from the application that got it.
#[utoipa::path(
    post, path = "/oauth/callback", operation_id = "oauthCallback", tag = "connecting",
    request_body = CallbackRequest,
    responses(
        NoTenant,
        (status = 200, description = "The tenant is connected", body = ConnectedView),
        (status = 403, description = "The customer did not approve, or the authorisation was begun for another tenant or in another session", body = Problem),
        (status = 409, description = "No OAuth client is configured, another tenant has the organisation, or there is no key: the text says what the customer must do", body = Problem),
        (status = 410, description = "This authorisation was used before, or took too long", body = Problem),
        (status = 502, description = "Datadog refuses the authorisation code, or the client", body = Problem)
    )
)]
pub(super) async fn callback(
    State(admin): State<Arc<Admin>>,
    Json(request): Json<CallbackRequest>,
) -> Result<Json<ConnectedView>, Refusal> {
    Ok(Json(admin.control.callback(&request).await?))
}

/// Decides about telemetry that was meant for another organisation.
///
/// What a tenant had queued when it was connected to another organisation is not sent there by itself. Hosts that share the
/// store follow the decision within seconds, or when they are started again; `dropped_items` are those of the host that is asked.
#[utoipa::path(
    post, path = "/tenants/{id}/held", operation_id = "decideHeld", tag = "connecting",
    params(TenantPath),
    request_body = HeldRequest,
    responses(
        NoTenant,
        (status = 200, description = "It is decided", body = HeldView),
        (status = 409, description = "Nothing of that kind is held, or the tenant is in the configuration file", body = Problem)
    )
)]
pub(super) async fn decide_held(
    State(admin): State<Arc<Admin>>,
    Path(TenantPath { id }): Path<TenantPath>,
    Json(HeldRequest { action }): Json<HeldRequest>,
) -> Result<Json<HeldView>, Refusal> {
    Ok(Json(admin.control.decide_held(&id, action).await?))
}
