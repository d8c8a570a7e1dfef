//! The OpenAPI document: what the handlers and their types say, and what is true of all of them.

use crate::api::Problem;
use std::collections::BTreeMap;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Dogsled admin API",
        description = "Tenants of a running Dogsled: who they are, how they stand with Datadog, what is queued. \
            The token is in `admin.token` in the state directory. Every answer that is no success is `{\"errors\": [\"...\"]}` \
            with a `code` for programs.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(Problem)),
    security(("token" = []))
)]
pub(super) struct Head;

/// Refusals of an operation that reads a tenant.
pub(super) enum NoTenant {}

/// Refusals of an operation on a tenant of the store.
pub(super) enum NotOfStore {}

/// Refusals of a request by itself.
pub(super) enum Invalid {}

type Responses = BTreeMap<String, RefOr<Response>>;

impl IntoResponses for Invalid {
    fn responses() -> Responses {
        refusals(&[("400", "The request is not as asked for", None)])
    }
}

impl IntoResponses for NoTenant {
    fn responses() -> Responses {
        let mut responses = Invalid::responses();
        responses.append(&mut refusals(&[("404", "There is no such tenant", None)]));
        responses
    }
}

impl IntoResponses for NotOfStore {
    fn responses() -> Responses {
        let mut responses = NoTenant::responses();
        let description = "The tenant is in the configuration file, and is changed there";
        responses.append(&mut refusals(&[("409", description, None)]));
        responses
    }
}

/// A status, its description, and a header with its description.
type Described<'a> = (&'a str, &'a str, Option<(&'a str, &'a str)>);

fn refusals(described: &[Described<'_>]) -> Responses {
    let refusal = |&(status, description, header): &Described<'_>| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let mut response = ResponseBuilder::new().description(description).content("application/json", content);
        if let Some((name, description)) = header {
            response = response.header(name, HeaderBuilder::new().description(Some(description)).build());
        }
        (status.to_owned(), RefOr::T(response.build()))
    };
    described.iter().map(refusal).collect()
}

/// Adds what every operation has.
pub(super) fn complete(document: &mut Document) {
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    let all = refusals(&[
        ("401", "The token is missing or wrong", Some(("WWW-Authenticate", "`Bearer`"))),
        ("403", "A web page asks, without a token; or on the Unix socket, a process of another user", None),
        ("421", "Without a token: the host is asked by a name that is not in `admin.allowed_hosts`", None),
        ("405", "The path has no such method", Some(("Allow", "The methods that it has"))),
        (
            "503",
            "The store cannot be used, something else is in progress for the tenant, the daemon is about to end, or Datadog \
            cannot be reached",
            Some(("Retry-After", "When to come again, in seconds")),
        ),
    ]);
    let of_body = refusals(&[
        ("408", "The body took too long", None),
        ("413", "The body is too large", None),
        ("415", "The body is no JSON", None),
    ]);
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten();
        for operation in operations {
            let of_body = of_body.iter().filter(|_| operation.request_body.is_some());
            for (status, response) in all.iter().chain(of_body) {
                let responses = &mut operation.responses.responses;
                responses.entry(status.clone()).or_insert_with(|| response.clone());
            }
        }
    }
}
