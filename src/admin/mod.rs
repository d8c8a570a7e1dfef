//! The operator's port: metrics, liveness, readiness, and the API to tenants.
//!
//! `router` lists what is served; `daemon`, `dogstatsd`, `tenants`, `connecting`, `tokens` and `probes` are its handlers, which read
//! requests with `extract`, have [`Control`] do the work, and answer with `answer`. `document` adds to the OpenAPI
//! document what is true of all operations.

mod answer;
mod connecting;
mod daemon;
mod document;
mod dogstatsd;
mod extract;
mod metrics;
mod probes;
mod router;
mod server;
mod tenants;
mod token;
mod tokens;

pub use self::metrics::Exposition;
pub use server::Listeners;
pub use token::{Token, TokenError};

use crate::api::ReloadedView;
use crate::control::Control;
use crate::deliver::Soon;
use crate::ingest::dogstatsd::Hub;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

/// What the operator's port works with.
#[derive(Debug)]
pub struct Admin {
    /// The metrics.
    pub exposition: Exposition,
    /// Whether the daemon takes telemetry.
    pub ready: AtomicBool,
    /// What the operator can do.
    pub control: Arc<Control>,
    /// What takes DogStatsD.
    pub dogstatsd: Arc<Hub>,
    /// Who the operator is.
    pub token: Token,
    /// What reads the configuration again, if something does.
    pub reload: OnceLock<Arc<dyn Reload>>,
}

/// What reads the configuration again.
pub trait Reload: fmt::Debug + Send + Sync {
    /// Reads it and puts in force what can be.
    ///
    /// # Errors
    /// Everything that is wrong with it; nothing has changed then.
    fn reload(&self) -> Soon<'_, Result<ReloadedView, Vec<String>>>;
}
