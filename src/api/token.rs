//! Ingest tokens.

use crate::types::{Secret, TenantId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// An ingest token to be made.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for.
    #[schema(max_length = 200)]
    #[serde(default)]
    pub label: String,
}

/// An ingest token, without the token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Names it.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// Its last four digits.
    pub last4: String,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// An ingest token that was made just now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewTokenView {
    /// The token. It is shown this once.
    #[schema(value_type = String)]
    #[serde(serialize_with = "super::exposed")]
    pub token: Secret,
    /// What else is known of it.
    #[serde(flatten)]
    pub info: TokenView,
}

/// Ingest tokens.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// The oldest first.
    pub tokens: Vec<TokenView>,
}

/// Names an ingest token of a tenant.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct TokenPath {
    /// The tenant's id
    #[param(value_type = String, min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._-]+$")]
    pub id: TenantId,
    /// The token's id, as of the listing
    #[param(min_length = 1, pattern = "^[0-9a-f]+$")]
    pub token: String,
}
