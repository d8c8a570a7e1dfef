//! Items that Datadog refuses for good, kept on disk with its words.
//!
//! One file a tenant, `dead-letters/<tenant>.ndjson`, one line a refused run of items. The items of JSON kinds stand in
//! the line as they are, so that `jq` reads them; those of protobuf kinds stand in base64.
//!
//! The daemon appends to these files while `dogsled dead-letter` takes letters out of them. The daemon opens the file by
//! its name for each letter and locks it; the command (see [`Rewrite`]) locks it only while it puts a shorter one in its
//! place.

mod directory;
mod file;
mod letter;
mod lines;
mod rewrite;

pub use directory::{DeadLetters, WriteError};
pub use letter::{Items, Letter, Reason};
pub use lines::{Content, Line, Lines};
pub use rewrite::{Rewrite, RewriteError};
