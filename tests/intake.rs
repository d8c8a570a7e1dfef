//! The stand-in for Datadog, as the real command on a real port.

#[path = "intake/faults.rs"]
mod faults;
#[path = "intake/harness.rs"]
mod harness;
#[path = "intake/oauth.rs"]
mod oauth;
#[path = "intake/refusals.rs"]
mod refusals;
#[path = "intake/submissions.rs"]
mod submissions;
