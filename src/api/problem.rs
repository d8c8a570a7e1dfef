//! Refusals and failures.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What every answer that is no success says.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What went wrong and what to do about it.
    pub errors: Vec<String>,
    /// A name for programs.
    pub code: String,
}
