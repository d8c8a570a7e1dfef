//! `[admin]`

use super::form::{Text, optional_path};
use super::hosts::HostNames;
use super::ingest::{listen, socket};
use super::key::section;
use std::path::PathBuf;

section! {
    /// The operator's port: the admin API, /metrics, /healthz and /readyz.
    pub struct Admin {
        /// An address and a port, "" for none.
        listen: String = "127.0.0.1:8283".into(), Text(listen, String::clone, "127.0.0.1:9283"), restart;
        /// The same on a Unix socket, which the commands prefer: for the daemon's user and for root, who need no token there.
        /// "" for admin.sock in the state directory.
        socket: String = String::new(), Text(socket, String::clone, "/run/dogsled/admin.sock"), restart;
        /// Names of this host by which it may be asked without a token (for /metrics, say), besides addresses and localhost.
        /// Others are refused: a web page in a browser on this host could give its own name this address.
        allowed_hosts: Vec<String> = vec![], HostNames;
        /// A PEM file with the certificate of the port and those that vouch for it; "" for no TLS. Beyond loopback it is needed:
        /// the token would travel in clear. Read again when it changes.
        tls_cert_file: Option<PathBuf> = None, optional_path("/etc/dogsled/admin.crt"), restart;
        /// A PEM file with its private key.
        tls_key_file: Option<PathBuf> = None, optional_path("/etc/dogsled/admin.key"), restart;
    }
}
