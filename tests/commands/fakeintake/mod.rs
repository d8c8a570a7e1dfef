//! The stand-in for Datadog, as the real command on a real port.

mod faults;
mod harness;
mod oauth;
mod refusals;
mod submissions;
