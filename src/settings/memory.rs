//! `[memory]`

use super::form::Size;
use super::key::section;

section! {
    /// Bounds on memory.
    pub struct Memory {
        /// Bytes of queued items that are kept in memory, too. The rest is read back from the journal.
        max_queue_bytes: usize = 128 << 20, Size(1 << 20..=1 << 40), restart;
    }
}
