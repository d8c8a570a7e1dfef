//! The OAuth server: consent, tokens, revocation, and the API key that a partner may create.
//!
//! After Datadog's pages "OAuth2 authorization endpoints" and "API-based integrations", and RFC 6749 and 7636 where
//! those are silent. `grants` is the server's state, `endpoints` its HTTP side, `consent` its pages.

mod consent;
mod endpoints;
pub(super) mod grants;

pub(super) use endpoints::respond;
pub use grants::{Client, OauthCounts, Org, Rotation};
