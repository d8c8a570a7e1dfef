//! The bucket between its end and the moment when all of it is written.

/// A bucket that takes no more samples and is being written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closing {
    /// Its slot in the contexts.
    pub slot: usize,
    /// Where it begins, and where the next one does.
    pub start: i64,
    pub until: i64,
    /// The timestamp of its points, and of those of a bucket that begins `until`.
    pub stamp: i64,
    pub phase: i64,
    /// The context that is next.
    pub next: u32,
}
