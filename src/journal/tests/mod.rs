//! Tests of the journal.

mod damage;
mod model;
mod shell;
mod sim_disk;
