//! What was answered 202 arrives, whatever happens in between, on the real program and real sockets.

#[path = "../support/mod.rs"]
mod support;

mod crash;
mod load;
mod shutdown;
