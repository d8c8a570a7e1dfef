//! The typed configuration.

mod model;
mod sites;

pub use model::{
    Admin, Batch, Compression, Datadog, Delivery, Ingest, Log, LogFormat, Memory, Settings, Shutdown, State,
    StaticTenant, Tenancy,
};
pub use sites::{Site, SiteHosts, Sites};
