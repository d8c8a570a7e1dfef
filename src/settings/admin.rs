//! `[admin]`

use super::form::Text;
use super::ingest::{listen, socket};
use super::key::section;

section! {
    /// The operator's port: the admin API, /metrics, /healthz and /readyz.
    pub struct Admin {
        /// An address and a port, "" for none.
        listen: String = "127.0.0.1:8283".into(), Text(listen, String::clone, "127.0.0.1:9283"), restart;
        /// The same on a Unix socket, which the commands prefer: for the daemon's user and for root, who need no token there.
        /// "" for admin.sock in the state directory.
        socket: String = String::new(), Text(socket, String::clone, "/run/dogsled/admin.sock"), restart;
    }
}
