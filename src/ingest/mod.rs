//! The local HTTP port, where emitters post telemetry in the forms of Datadog's API.
//!
//! The way of a request: [`serve`] accepts its connection; `route` tells from the path what it is; [`crate::tenancy`]
//! tells from its head whose it is; `body` and `encoding` read and decode it within bounds; [`crate::wire`] splits it;
//! and when the [`crate::queue`] has taken every item, `answer` says so in Datadog's own words.

mod answer;
mod body;
mod budget;
mod encoding;
mod event;
mod handler;
mod listen;
mod query;
mod route;
mod server;
mod tickets;

pub use handler::{InvalidHeader, Shared, Submit};
pub use listen::{ListenError, Listener};
pub use server::serve;
