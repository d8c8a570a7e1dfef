//! Operations on ingest tokens.

use super::Admin;
use super::answer::{Json, Refusal};
use super::document::NotOfStore;
use super::extract::Path;
use crate::api::{NewToken, NewTokenView, Problem, TenantPath, TokenList, TokenPath};
use axum::extract::State;
use hyper::StatusCode;
use std::sync::Arc;

/// A tenant's ingest tokens, without the tokens themselves.
#[utoipa::path(
    get, path = "/tenants/{id}/tokens", operation_id = "listTokens", tag = "ingest tokens",
    params(TenantPath),
    responses(NotOfStore, (status = 200, description = "The tokens", body = TokenList))
)]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Path(TenantPath { id }): Path<TenantPath>,
) -> Result<Json<TokenList>, Refusal> {
    Ok(Json(admin.control.tokens(&id).await?))
}

/// Makes an ingest token.
///
/// The application sends it as its API key; only its digest is kept, so it is shown this once.
#[utoipa::path(
    post, path = "/tenants/{id}/tokens", operation_id = "createToken", tag = "ingest tokens",
    params(TenantPath),
    request_body = Option<NewToken>,
    responses(NotOfStore, (status = 201, description = "It was made", body = NewTokenView))
)]
pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    Path(TenantPath { id }): Path<TenantPath>,
    request: Option<Json<NewToken>>,
) -> Result<(StatusCode, Json<NewTokenView>), Refusal> {
    let NewToken { label } = request.map(|Json(request)| request).unwrap_or_default();
    Ok((StatusCode::CREATED, Json(admin.control.create_token(&id, &label).await?)))
}

/// Revokes an ingest token.
#[utoipa::path(
    delete, path = "/tenants/{id}/tokens/{token}", operation_id = "revokeToken", tag = "ingest tokens",
    params(TokenPath),
    responses(
        NotOfStore,
        (status = 204, description = "It is revoked"),
        (status = 404, description = "There is no such tenant or token", body = Problem)
    )
)]
pub(super) async fn revoke(
    State(admin): State<Arc<Admin>>,
    Path(TokenPath { id, token }): Path<TokenPath>,
) -> Result<StatusCode, Refusal> {
    admin.control.revoke_token(&id, &token).await?;
    Ok(StatusCode::NO_CONTENT)
}
