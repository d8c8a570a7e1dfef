//! The OpenAPI document, made of the handlers and of the types that they read and write.

use super::answer::Problem;
use super::handlers;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Dogsled admin API",
        description = "Tenants of a running Dogsled: who they are, how they stand with Datadog, what waits. \
            The token is in `admin.token` in the state directory. Every answer that is no success is `{\"errors\": [\"...\"]}` \
            with a `code` for programs.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        handlers::openapi, handlers::status, handlers::reload, handlers::list, handlers::create, handlers::show, handlers::update,
        handlers::remove, handlers::connect, handlers::disconnect, handlers::callback, handlers::pause, handlers::resume,
        handlers::decide_held, handlers::list_tokens, handlers::create_token, handlers::revoke_token
    ),
    components(schemas(Problem)),
    security(("token" = [])),
    modifiers(&Everywhere)
)]
struct Api;

/// What every operation has.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        let problem = |description: &str, header: Option<(&str, &str)>| {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            let mut response = ResponseBuilder::new().description(description).content("application/json", content);
            if let Some((name, description)) = header {
                response = response.header(name, HeaderBuilder::new().description(Some(description)).build());
            }
            RefOr::T(response.build())
        };
        for item in document.paths.paths.values_mut() {
            let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete]
                .into_iter()
                .filter_map(Option::as_mut);
            for operation in operations {
                let mut more = vec![
                    ("401", "The token is missing or wrong", Some(("WWW-Authenticate", "`Bearer`"))),
                    ("405", "The path has no such method", Some(("Allow", "The methods that it has"))),
                    ("408", "The body took too long", None),
                    ("413", "The body is too large", None),
                    (
                        "503",
                        "The store cannot be used, something else is under way for the tenant, the daemon is about to end, \
                        or Datadog cannot be reached",
                        Some(("Retry-After", "When to come again, in seconds")),
                    ),
                ];
                if operation.request_body.is_some() {
                    more.push(("415", "The body is no JSON", None));
                }
                for (status, description, header) in more {
                    let answers = &mut operation.responses.responses;
                    answers.entry(status.to_owned()).or_insert_with(|| problem(description, header));
                }
            }
        }
    }
}

/// The document, made anew each time: it is asked for too seldom to be kept.
pub(super) fn document() -> Document {
    Api::openapi()
}
