//! The listener of the operator's port.

use super::{Admin, router};
use crate::serve::{Bounds, Connection, Listener, Service, serve};
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::{Request, Response};
use std::sync::Arc;

/// Serves the operator's port until `end` comes, and until the requests in flight are answered.
pub async fn operate(listeners: Vec<Listener>, admin: Arc<Admin>, end: impl Future<Output = ()>) {
    serve(listeners, Arc::new(Port(router::router(admin))), end).await;
}

struct Port(Router);

impl Service for Port {
    type Body = Body;

    async fn call(self: Arc<Self>, mut request: Request<Incoming>, connection: Connection) -> Response<Body> {
        request.extensions_mut().insert(connection);
        router::respond(self.0.clone(), request).await
    }

    fn bounds(&self) -> Bounds {
        Bounds { name: "admin", ..Bounds::default() }
    }
}
