//! The commands beside `run`, as a user runs them.

mod check;
mod dead_letters;
mod demo;
mod fakeintake;
mod journal;
mod send;
#[path = "../support/mod.rs"]
mod support;
