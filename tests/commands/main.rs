//! The commands beside `run`, as a user runs them.

// What clippy.toml forbids, tests may do.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod check;
mod dead_letters;
mod demo;
mod fakeintake;
mod journal;
mod send;
#[path = "../support/mod.rs"]
mod support;
