//! What was answered 202 arrives, whatever happens in between, on the real program and real sockets.

mod backlog;
mod crash;
mod damage;
mod disk;
mod leftovers;
mod load;
mod quotas;
mod read_only;
mod shutdown;

const LOGS: &str = "/api/v2/logs";
