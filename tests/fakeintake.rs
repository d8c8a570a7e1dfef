//! The stand-in for Datadog, as the real command on a real port.

#[path = "fakeintake/faults.rs"]
mod faults;
#[path = "fakeintake/harness.rs"]
mod harness;
#[path = "fakeintake/oauth.rs"]
mod oauth;
#[path = "fakeintake/refusals.rs"]
mod refusals;
#[path = "fakeintake/submissions.rs"]
mod submissions;
