//! `[metrics]`

use super::form::Text;
use super::ingest::listen;
use super::key::section;

section! {
    /// A port of their own for /metrics, /healthz and /readyz.
    pub struct Metrics {
        /// An address and a port, "" for none. Nothing else is served there; no token is needed.
        listen: String = String::new(), Text(listen, String::clone, "0.0.0.0:9090"), restart;
    }
}
