//! What arrives by DogStatsD, and what is not taken of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// DogStatsD since the daemon's start.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DogstatsdView {
    /// Where clients send.
    pub listeners: Vec<DogstatsdListenerView>,
    /// Lines that arrived, refused ones included.
    pub lines: u64,
    /// What was not taken, by reason; nothing of reasons that there were none of.
    pub errors: Vec<DogstatsdErrorView>,
    /// Contexts (name, tags, host and type of a tenant) at present.
    pub contexts: u32,
    /// Tenants that have contexts or were refused some.
    pub tenants: Vec<DogstatsdTenantView>,
}

/// A socket.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DogstatsdListenerView {
    /// Its address or path.
    pub name: String,
    /// The tenant of lines that name none, if it has one of its own.
    pub tenant: Option<String>,
    /// Datagrams that the kernel dropped because its receive buffer was full.
    pub kernel_drops: u64,
}

/// Why lines, or values, were not taken.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DogstatsdErrorView {
    /// The reason, as in `dogsled_dogstatsd_errors_total`.
    pub reason: String,
    /// What it means.
    pub meaning: String,
    /// How many.
    pub count: u64,
    /// The beginning of a line that was refused in the open bucket, if one was.
    pub example: Option<String>,
}

/// The contexts of a tenant.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DogstatsdTenantView {
    /// The tenant.
    pub tenant: String,
    /// How many there are.
    pub contexts: u32,
    /// New ones that were dropped because there were too many.
    pub refused: u64,
    /// The names with the most contexts.
    pub names: Vec<DogstatsdNameView>,
}

/// A metric's name, and its contexts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DogstatsdNameView {
    /// The name.
    pub name: String,
    /// How many contexts it has.
    pub contexts: u32,
}
