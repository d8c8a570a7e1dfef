//! The parts of the end-to-end measurements.

// Every benchmark compiles this module for itself and uses a part of it.
#![allow(dead_code)]

pub mod backlog;
pub mod corpus;
pub mod daemon;
pub mod disk;
pub mod load;
pub mod process;
pub mod reference;
pub mod sink;
pub mod stamped;
pub mod verify;
