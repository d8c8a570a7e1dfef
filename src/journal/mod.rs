//! The durable queue's log: an accepted record is in it until it is acked, whatever crashes in between.
//!
//! The journal knows bytes, lanes and sequence numbers, and nothing of Datadog. A **lane** is the caller's key for what
//! is read back together and in order; a **record** is appended with others as one, all or nothing, gets a [`Seq`],
//! and is live until that is acked. `docs/decisions/journal.md` has the format and the reasons.
//!
//! ```text
//! Journal::open(Options) -> (Journal, Recovery)            blocking; Recovery: what was found, what was damaged
//!   .append(Vec<Entry>, then).await -> Range<Seq>          `then(range)` runs on the committer thread, in log order,
//!                                                          before the future resolves
//!   .seal(Entry, Vec<Seq>, then).await -> Seq              one record in place of others, atomically
//!   .ack(seqs), .ack_holding(seqs, guard)                  never blocks; `guard` is dropped once the acks are written
//!   .lanes(), .backlog(lane) -> Backlog                    records, items, bytes, oldest
//!   .read(&mut Reader, max_bytes) -> Batch                 blocking (spawn_blocking); Reader::new(lane, from..to)
//! .take_lost() -> Vec<Lost>                              records found unreadable by cleaning, already out of the
//! journal
//!   .health() -> Health, .figures() -> Figures
//!   .flush().await, .close()                               all of it durable; close() also ends the threads (blocking)
//! inspect(dir, verify) -> Inspection                       read-only, for the command line
//! ```
//!
//! From the bottom up: `format`, `index`, `scan` and `segment` are pure; `disk` is the file system's
//! seam; `view` is what is live, shared by readers and the writer; `log` with `acks`, `sync` and `clean` is the only
//! writer, a state machine without threads; `committer` does what callers ask of it, on `threads` of its own, and
//! `handle` is what callers hold.

mod acks;
mod clean;
mod committer;
mod disk;
mod entry;
mod fetch;
mod format;
mod handle;
mod index;
mod inspect;
mod log;
pub(crate) mod metrics;
mod open;
mod options;
mod quarantine;
mod read;
mod scan;
mod segment;
mod sync;
mod threads;
mod view;

#[cfg(test)]
mod tests;

pub use committer::AckGuard;
#[cfg(test)]
pub(crate) use committer::{Committer, Runner, Todo};
pub use entry::{Backlog, Entry, Lost, Record, Seq, TooLarge};
pub use handle::Journal;
pub use inspect::{InspectedSegment, Inspection, inspect};
pub use open::Recovery;
pub use options::{AppendError, Figures, Fsync, Health, OpenError, Options};
pub use read::{Batch, Reader};
pub use scan::recover_bytes;
#[cfg(test)]
pub(crate) use sync::Round;
#[cfg(test)]
pub(crate) use tests::sim_disk::{Faults, SimDisk};
