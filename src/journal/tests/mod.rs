//! Tests of the journal.

mod shell;
