//! Tests of the journal.

mod account;
mod damage;
mod garbage;
mod lost;
mod model;
mod quarantine;
mod room;
mod shell;
pub(crate) mod sim_disk;
