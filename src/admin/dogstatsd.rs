//! What arrives by DogStatsD.

use super::Admin;
use super::answer::Json;
use crate::aggregate::{NameFigures, TenantFigures};
use crate::api::{DogstatsdErrorView, DogstatsdListenerView, DogstatsdNameView, DogstatsdTenantView, DogstatsdView};
use axum::extract::State;
use std::sync::Arc;

/// How many names are shown of each tenant.
const NAMES: usize = 5;

/// DogStatsD: its listeners, what was not taken and why, and the contexts of each tenant with the names that have most.
#[utoipa::path(
    get, path = "/dogstatsd", operation_id = "dogstatsd", tag = "daemon",
    responses((status = 200, description = "What arrived since the start", body = DogstatsdView))
)]
pub(super) async fn show(State(admin): State<Arc<Admin>>) -> Json<DogstatsdView> {
    let status = admin.dogstatsd.status(NAMES);
    let listeners = status.listeners.into_iter().map(|(name, tenant, kernel_drops)| {
        let tenant = tenant.map(|tenant| tenant.to_string());
        DogstatsdListenerView { name, tenant, kernel_drops }
    });
    let errors = status.errors.into_iter().map(|(reason, count, example)| DogstatsdErrorView {
        reason: reason.name().into(),
        meaning: reason.to_string(),
        count,
        example,
    });
    let name = |NameFigures { name, contexts }| DogstatsdNameView { name, contexts };
    let tenants = status.tenants.into_iter().map(|TenantFigures { tenant, contexts, refused, names }| {
        let names = names.into_iter().map(name).collect();
        DogstatsdTenantView { tenant: tenant.to_string(), contexts, refused, names }
    });
    Json(DogstatsdView {
        listeners: listeners.collect(),
        lines: status.lines,
        errors: errors.collect(),
        contexts: status.contexts,
        tenants: tenants.collect(),
    })
}
