//! What each path does, and how that is documented.

use super::answer::{Answer, Problem, json, nothing};
use super::body::Sent;
use super::document;
use super::requests::{CallbackRequest, ConnectRequest, HeldRequest, NewTenant, NewToken, RemoveQuery, TenantPatch};
use crate::admin::Reload;
use crate::control::{
    BegunView, ConnectedView, Control, DisconnectedView, HeldView, NewTokenView, ReloadedView, RemovedView, StatusView,
    TenantList, TenantView, TokenList,
};
use crate::types::TenantId;
use hyper::StatusCode;
use hyper::header::{HeaderValue, LOCATION};

/// A request that was let in.
pub(super) struct Asked<'a> {
    pub control: &'a Control,
    pub query: &'a str,
    pub sent: Sent,
}

type Outcome = Result<Answer, Problem>;

fn ok(body: &impl serde::Serialize) -> Outcome {
    Ok(json(StatusCode::OK, body))
}

/// This document.
#[utoipa::path(
    get, path = "/admin/v1/openapi.json", operation_id = "openapi", tag = "daemon",
    responses(
        (status = 200, description = "The document", body = serde_json::Value)
    )
)]
pub(super) async fn openapi() -> Outcome {
    ok(&document::document())
}

/// The daemon and all tenants at a glance.
#[utoipa::path(
    get, path = "/admin/v1/status", operation_id = "status", tag = "daemon",
    responses(
        (status = 200, description = "How it is", body = StatusView)
    )
)]
pub(super) async fn status(asked: &Asked<'_>, unready: Option<&str>) -> Outcome {
    ok(&asked.control.status(unready).await)
}

/// Reads the configuration again, as SIGHUP does.
///
/// What cannot change while the daemon runs waits for a restart. When something is wrong, the configuration that was in force
/// stays.
#[utoipa::path(
    post, path = "/admin/v1/reload", operation_id = "reload", tag = "daemon",
    responses(
        (status = 200, description = "What has changed, and what waits for a restart", body = ReloadedView),
        (status = 409, description = "This daemon was not started from a configuration file", body = Problem),
        (status = 422, description = "The configuration is wrong: every reason, with its place", body = Problem)
    )
)]
pub(super) async fn reload(reload: Option<&dyn Reload>) -> Outcome {
    let Some(reload) = reload else {
        let message = "this daemon was not started from a configuration file: there is nothing to reload";
        return Err(Problem::new(StatusCode::CONFLICT, "not_reloadable", message));
    };
    ok(&reload.reload().await.map_err(Problem::configuration)?)
}

/// All tenants.
///
/// When the store fails, those of the configuration file, and why the others are missing.
#[utoipa::path(
    get, path = "/admin/v1/tenants", operation_id = "listTenants", tag = "tenants",
    responses(
        (status = 200, description = "The tenants", body = TenantList)
    )
)]
pub(super) async fn list(asked: &Asked<'_>) -> Outcome {
    ok(&asked.control.list().await)
}

/// Adds a tenant.
///
/// It is `pending`, and its telemetry is taken and held, until it is connected; with an API key it is `active` at once.
#[utoipa::path(
    post, path = "/admin/v1/tenants", operation_id = "createTenant", tag = "tenants",
    request_body = NewTenant,
    responses(
        (status = 201, description = "It was added", body = TenantView),
        (status = 400, description = "The request is not as asked for", body = Problem),
        (status = 409, description = "There is such a tenant already", body = Problem)
    )
)]
pub(super) async fn create(asked: &Asked<'_>) -> Outcome {
    let spec = asked.sent.json::<NewTenant>()?.spec()?;
    let place = HeaderValue::try_from(format!("/admin/v1/tenants/{}", spec.id));
    let mut answer = json(StatusCode::CREATED, &asked.control.create(spec).await?);
    if let Ok(place) = place {
        answer.headers_mut().insert(LOCATION, place);
    }
    Ok(answer)
}

/// One tenant.
#[utoipa::path(
    get, path = "/admin/v1/tenants/{id}", operation_id = "showTenant", tag = "tenants",
    params(("id" = String, Path, description = "The tenant's id", min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._-]+$")),
    responses(
        (status = 200, description = "The tenant", body = TenantView),
        (status = 400, description = "The request is not as asked for", body = Problem),
        (status = 404, description = "There is no such tenant", body = Problem)
    )
)]
pub(super) async fn show(asked: &Asked<'_>, id: &TenantId) -> Outcome {
    ok(&asked.control.show(id).await?)
}

/// Changes a tenant.
#[utoipa::path(
    patch, path = "/admin/v1/tenants/{id}", operation_id = "updateTenant", tag = "tenants",
    params(("id" = String, Path, description = "The tenant's id", min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._-]+$")),
    request_body = TenantPatch,
    responses(
        (status = 200, description = "The tenant, as it is now", body = TenantView),
        (status = 400, description = "The request is not as asked for", body = Problem),
        (status = 404, description = "There is no such tenant", body = Problem),
        (status = 409, description = "The tenant is of the configuration file, is connected through OAuth, or was changed at the same time", body = Problem)
    )
)]
pub(super) async fn update(asked: &Asked<'_>, id: &TenantId) -> Outcome {
    let changes = asked.sent.json::<TenantPatch>()?.changes();
    ok(&asked.control.update(id, changes).await?)
}

/// Removes a tenant.
///
/// Its authorisation is revoked at Datadog, and its key, tokens and ingest tokens are forgotten. With `telemetry=purge`, what waits
/// of a tenant that was removed before is dropped, too.
#[utoipa::path(
    delete, path = "/admin/v1/tenants/{id}", operation_id = "removeTenant", tag = "tenants",
    params(("id" = String, Path, description = "The tenant's id", min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._-]+$"), RemoveQuery),
    responses(
        (status = 200, description = "It is gone", body = RemovedView),
        (status = 400, description = "The request is not as asked for", body = Problem),
        (status = 404, description = "There is no such tenant", body = Problem),
        (status = 409, description = "The tenant is of the configuration file, and changed there", body = Problem)
    )
)]
pub(super) async fn remove(asked: &Asked<'_>, id: &TenantId) -> Outcome {
    let query: RemoveQuery = query(asked.query)?;
    ok(&asked.control.remove(id, query.telemetry.into()).await?)
}

/// Begins to connect a tenant through OAuth.
///
/// Send the customer's browser to the `authorize_url` of the answer within ten minutes. Datadog sends it back to the connect
/// listener, or to the application, which hands the query on to `/admin/v1/oauth/callback`.
#[utoipa::path(
    post, path = "/admin/v1/tenants/{id}/connect", operation_id = "connectTenant", tag = "connecting",
    params(("id" = String, Path, description = "The tenant's id", min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._-]+$")),
    request_body = Option<ConnectRequest>,
    responses(
        (status = 200, description = "The authorisation has begun", body = BegunView),
        (status = 400, description = "The request is not as asked for", body = Problem),
        (status = 404, description = "There is no such tenant", body = Problem),
        (status = 409, description = "The tenant is of the configuration file, or no OAuth client is configured", body = Problem)
    )
)]
pub(super) async fn connect(asked: &Asked<'_>, id: &TenantId) -> Outcome {
    let request: ConnectRequest = asked.sent.json_if_any()?;
    let begun = asked.control.connect(id, request.domain.as_deref(), request.site.as_deref()).await?;
    ok(&begun)
}

/// Revokes a tenant's authorisation and forgets its key; its telemetry is held from then on.
#[utoipa::path(
    post, path = "/admin/v1/tenants/{id}/disconnect", operation_id = "disconnectTenant", tag = "connecting",
    params(("id" = String, Path, description = "The tenant's id", min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._-]+$")),
    responses(
        (status = 200, description = "It is disconnected", body = DisconnectedView),
        (status = 400, description = "The request is not as asked for", body = Problem),
        (status = 404, description = "There is no such tenant", body = Problem),
        (status = 409, description = "The tenant is of the configuration file, and changed there", body = Problem)
    )
)]
pub(super) async fn disconnect(asked: &Asked<'_>, id: &TenantId) -> Outcome {
    ok(&asked.control.disconnect(id).await?)
}

/// Takes Datadog's answer to an authorisation from the application that got it.
#[utoipa::path(
    post, path = "/admin/v1/oauth/callback", operation_id = "oauthCallback", tag = "connecting",
    request_body = CallbackRequest,
    responses(
        (status = 200, description = "The tenant is connected", body = ConnectedView),
        (status = 400, description = "The request is not as asked for", body = Problem),
        (status = 403, description = "The customer did not approve, or the answer is for another tenant", body = Problem),
        (status = 404, description = "There is no such tenant", body = Problem),
        (status = 409, description = "No OAuth client is configured, another tenant has the organisation, or there is no key: the text says what the customer must do", body = Problem),
        (status = 410, description = "This authorisation was used before, or took too long", body = Problem),
        (status = 502, description = "Datadog refuses the authorisation code, or the client", body = Problem)
    )
)]
pub(super) async fn callback(asked: &Asked<'_>) -> Outcome {
    let request: CallbackRequest = asked.sent.json()?;
    let tenant = request.tenant.as_deref().map(TenantId::new).transpose();
    let tenant = tenant.map_err(|error| Problem::bad(format!("tenant: {error}")))?;
    ok(&asked.control.callback(&request.query, tenant.as_ref()).await?)
}

/// Holds a tenant's telemetry: it is taken, and not delivered.
#[utoipa::path(
    post, path = "/admin/v1/tenants/{id}/pause", operation_id = "pauseTenant", tag = "tenants",
    params(("id" = String, Path, description = "The tenant's id", min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._-]+$")),
    responses(
        (status = 200, description = "The tenant, as it is now", body = TenantView),
        (status = 400, description = "The request is not as asked for", body = Problem),
        (status = 404, description = "There is no such tenant", body = Problem),
        (status = 409, description = "The tenant is of the configuration file, and changed there", body = Problem)
    )
)]
pub(super) async fn pause(asked: &Asked<'_>, id: &TenantId) -> Outcome {
    ok(&asked.control.set_paused(id, true).await?)
}

/// Lets a tenant's telemetry go on.
#[utoipa::path(
    post, path = "/admin/v1/tenants/{id}/resume", operation_id = "resumeTenant", tag = "tenants",
    params(("id" = String, Path, description = "The tenant's id", min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._-]+$")),
    responses(
        (status = 200, description = "The tenant, as it is now", body = TenantView),
        (status = 400, description = "The request is not as asked for", body = Problem),
        (status = 404, description = "There is no such tenant", body = Problem),
        (status = 409, description = "The tenant is of the configuration file, and changed there", body = Problem)
    )
)]
pub(super) async fn resume(asked: &Asked<'_>, id: &TenantId) -> Outcome {
    ok(&asked.control.set_paused(id, false).await?)
}

/// Decides about telemetry that was meant for another organisation.
///
/// What a tenant had waiting when it was connected to another organisation is not sent there by itself. Hosts that share the
/// store follow the decision within seconds, or when they are started again; `dropped_items` are those of the host that is asked.
#[utoipa::path(
    post, path = "/admin/v1/tenants/{id}/held", operation_id = "decideHeld", tag = "connecting",
    params(("id" = String, Path, description = "The tenant's id", min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._-]+$")),
    request_body = HeldRequest,
    responses(
        (status = 200, description = "It is decided", body = HeldView),
        (status = 400, description = "The request is not as asked for", body = Problem),
        (status = 404, description = "There is no such tenant", body = Problem),
        (status = 409, description = "Nothing of that kind is held, or the tenant is of the configuration file", body = Problem)
    )
)]
pub(super) async fn decide_held(asked: &Asked<'_>, id: &TenantId) -> Outcome {
    let request: HeldRequest = asked.sent.json()?;
    ok(&asked.control.decide_held(id, request.action.into()).await?)
}

/// A tenant's ingest tokens, without the tokens themselves.
#[utoipa::path(
    get, path = "/admin/v1/tenants/{id}/tokens", operation_id = "listTokens", tag = "ingest tokens",
    params(("id" = String, Path, description = "The tenant's id", min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._-]+$")),
    responses(
        (status = 200, description = "The tokens", body = TokenList),
        (status = 400, description = "The request is not as asked for", body = Problem),
        (status = 404, description = "There is no such tenant", body = Problem),
        (status = 409, description = "The tenant is of the configuration file, and changed there", body = Problem)
    )
)]
pub(super) async fn list_tokens(asked: &Asked<'_>, id: &TenantId) -> Outcome {
    ok(&asked.control.tokens(id).await?)
}

/// Makes an ingest token.
///
/// The application sends it as its API key; only its digest is kept, so it is shown this once.
#[utoipa::path(
    post, path = "/admin/v1/tenants/{id}/tokens", operation_id = "createToken", tag = "ingest tokens",
    params(("id" = String, Path, description = "The tenant's id", min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._-]+$")),
    request_body = Option<NewToken>,
    responses(
        (status = 201, description = "It was made", body = NewTokenView),
        (status = 400, description = "The request is not as asked for", body = Problem),
        (status = 404, description = "There is no such tenant", body = Problem),
        (status = 409, description = "The tenant is of the configuration file, and changed there", body = Problem)
    )
)]
pub(super) async fn create_token(asked: &Asked<'_>, id: &TenantId) -> Outcome {
    let request: NewToken = asked.sent.json_if_any()?;
    Ok(json(StatusCode::CREATED, &asked.control.create_token(id, &request.label).await?))
}

/// Revokes an ingest token.
#[utoipa::path(
    delete, path = "/admin/v1/tenants/{id}/tokens/{token}", operation_id = "revokeToken", tag = "ingest tokens",
    params(("id" = String, Path, description = "The tenant's id", min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._-]+$"), ("token" = String, Path, description = "The token's id, as of the listing", min_length = 1, pattern = "^[0-9a-f]+$")),
    responses(
        (status = 204, description = "It is revoked"),
        (status = 400, description = "The request is not as asked for", body = Problem),
        (status = 404, description = "There is no such tenant or token", body = Problem),
        (status = 409, description = "The tenant is of the configuration file, and changed there", body = Problem)
    )
)]
pub(super) async fn revoke_token(asked: &Asked<'_>, id: &TenantId, token: &str) -> Outcome {
    asked.control.revoke_token(id, token).await?;
    Ok(nothing())
}

/// Reads a query.
fn query<T: serde::de::DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let mut fields = serde_json::Map::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if fields.insert(name.to_string(), value.into_owned().into()).is_some() {
            return Err(Problem::bad(format!("{name} is in the query more than once")));
        }
    }
    serde_json::from_value(fields.into())
        .map_err(|error| Problem::bad(format!("the query is not as asked for: {error}")))
}
