//! What monitors ask for: metrics, liveness and readiness.

use super::Admin;
use super::answer::{Json, Refusal};
use crate::types::UnixMillis;
use axum::extract::State;
use axum::response::IntoResponse;
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], admin.exposition.render(UnixMillis::now()))
}

pub(super) async fn healthz() -> impl IntoResponse {
    Json(json!({ "status": "ok" }))
}

pub(super) async fn readyz(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    if let Some(why) = admin.not_ready() {
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", why));
    }
    let mut body = json!({ "status": "ok" });
    if let Some(warning) = admin.warning() {
        body["warnings"] = json!([warning]);
    }
    Ok(Json(body))
}

impl Admin {
    /// Why telemetry is not taken at present.
    pub(super) fn not_ready(&self) -> Option<&'static str> {
        if !self.ready.load(Ordering::Relaxed) {
            return Some("the daemon is shutting down");
        }
        if self.exposition.journal_fails() {
            return Some("the journal cannot be written; the daemon's log says why");
        }
        self.control.is_blind().then_some("no tenant is known: the store of tenants is out of reach; the log says why")
    }

    /// What is wrong although telemetry is taken.
    fn warning(&self) -> Option<&'static str> {
        let text = "the store of tenants is out of reach: known tenants are served, unknown ones are refused (503); the log says \
                    why";
        self.control.is_cut_off().then_some(text)
    }
}
