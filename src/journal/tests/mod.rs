//! Tests of the journal.

mod damage;
mod garbage;
mod lost;
mod model;
mod shell;
pub(crate) mod sim_disk;
