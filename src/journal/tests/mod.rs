//! Tests of the journal.

mod model;
mod shell;
mod sim_disk;
