//! `[admin]`

use super::form::Text;
use super::ingest::listen;
use super::key::section;

section! {
    /// The operator's port: the admin API, /metrics, /healthz and /readyz.
    pub struct Admin {
        /// An address and a port, "" for none.
        listen: String = "127.0.0.1:8283".into(), Text(listen, String::clone, "127.0.0.1:9283"), restart;
    }
}
